"""Rows that ask for recall between rows of text: exact to take up again, and only answers count."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from statespan.errors import ConfigError, InputError, UnknownNameError
from statespan.training.documents import DocumentSource
from statespan.training.recall_rows import MixedStream, RecallConfig, recall_source
from statespan.training.text import (
    NO_LABEL,
    StreamPosition,
    TextEncoder,
    TextStream,
    batch_rows,
    open_text,
)

START, END = 300, 301
ENCODER = TextEncoder(lambda text: list(text.encode()), leading=(START,), end=END)
LENGTH = 2_000
COLORS = ("red", "old", "big", "dim", "low", "wet", "hot")
PLACES = ("hill", "road", "gate", "tree", "wood", "door", "lake")
WORDS = [color + place for color in COLORS for place in PLACES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("novels")
    for seed in range(2):
        rng = Random(seed)
        lines = (" ".join(rng.choices(WORDS, k=7)).capitalize() + "." for _ in range(400))
        (folder / f"{seed}.txt").write_text("\n".join(lines), "utf-8")
    return folder


@pytest.fixture(scope="module")
def documents(folder: Path) -> DocumentSource:
    return recall_source(open_text(folder), ENCODER)


def mixed(
    folder: Path,
    documents: DocumentSource,
    share: float,
    position: StreamPosition | None = None,
    *,
    pack: bool = True,
) -> MixedStream:
    given = 0 if position is None else position.mixed
    if position is not None:
        position = StreamPosition(
            epoch=position.epoch,
            unit=position.unit,
            document=position.document,
            piece=position.piece,
            given=position.given,
        )
    text = TextStream(open_text(folder), ENCODER, LENGTH, seed=3, position=position)
    config = RecallConfig(share=share)
    return MixedStream(text, documents, config, pack=pack, given=given, seed=3)


def test_a_stream_goes_on_from_any_position(folder: Path, documents: DocumentSource) -> None:
    whole = mixed(folder, documents, 0.5).next_rows(24)
    for done in (0, 1, 7, 20):
        before = mixed(folder, documents, 0.5)
        assert before.next_rows(done) == whole[:done]
        after = mixed(folder, documents, 0.5, before.position)
        assert after.next_rows(24 - done) == whole[done:]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_rows_is_what_was_asked_for(
    folder: Path, documents: DocumentSource, share: float
) -> None:
    rows = mixed(folder, documents, share).next_rows(100)
    number = sum(row.predicted is not None for row in rows)
    assert abs(number - 100 * share) <= 15 * (0 < share < 1)


def test_rows_of_text_are_those_of_the_text_alone(folder: Path, documents: DocumentSource) -> None:
    rows = [r for r in mixed(folder, documents, 0.5).next_rows(20) if r.predicted is None]
    assert rows == TextStream(open_text(folder), ENCODER, LENGTH, seed=3).next_rows(len(rows))


@pytest.mark.parametrize("pack", [False, True])
def test_only_answers_are_predicted_and_they_stand_in_the_document(
    folder: Path, documents: DocumentSource, pack: bool
) -> None:
    sizes = []
    for row in mixed(folder, documents, 1.0, pack=pack).next_rows(30):
        batch = batch_rows([row], LENGTH)
        labels = batch.labels[0].tolist()
        assert sum(label != NO_LABEL for label in labels) == row.num_labels > 0
        assert len(row.pieces) == 1 or pack
        sizes.append(row.num_tokens)
        begin = 0
        for piece in row.pieces:
            assert (piece[0], piece[-1]) == (START, END)
            check_answers(piece, labels[begin : begin + len(piece)])
            begin += len(piece)
    assert max(sizes) <= LENGTH
    assert (sum(sizes) / len(sizes) > 0.7 * LENGTH) == pack


def check_answers(tokens: tuple[int, ...], labels: list[int]) -> None:
    places = [place for place, label in enumerate(labels) if label != NO_LABEL]
    assert places
    answers, text = "", bytes(token for token in tokens if token < 256).decode()
    for place in places:
        assert labels[place] == tokens[place]
        answers += ("" if place - 1 in places else "\n") + chr(labels[place])
    for answer in answers.split("\n")[1:]:
        values = [value.strip(" .") for value in answer.split(",")]
        assert all(text.count(value) >= 2 for value in values), answers


def test_bad_settings_are_told() -> None:
    with pytest.raises(ConfigError, match=r"recall\.kinds needs a kind"):
        RecallConfig(share=0.5, kinds={"needle": 0.0})
    with pytest.raises(UnknownNameError, match="kind of document"):
        RecallConfig(kinds={"nothing": 1.0})


def test_a_row_too_short_for_a_document_is_told(folder: Path, documents: DocumentSource) -> None:
    text = TextStream(open_text(folder), ENCODER, 60)
    with pytest.raises(InputError, match="take a greater length"):
        MixedStream(text, documents, RecallConfig(share=1.0)).next_rows(4)
