"""Documents that ask for recall: every answer stands in the text, and rows hold whole documents."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from statespan.errors import InputError
from statespan.training.documents import (
    DOCUMENTS,
    END_ID,
    PAD_ID,
    Document,
    DocumentSource,
    EncodedDocument,
    Mixture,
    Piece,
    Prose,
    document_encoder,
    draw_rows,
    pack_rows,
    read_prose,
    train_tokenizer,
)

COLORS = ("amber", "brown", "cold", "dark", "empty")
PLACES = ("house", "river", "evening", "morning", "hill", "road", "tree", "wood", "field", "gate")
WORDS = [color + place for color in COLORS for place in PLACES]
KINDS = ("copying", "key-value", "needle", "variables")


def novel(seed: int) -> str:
    rng = Random(seed)
    lines = (" ".join(rng.choices(WORDS, k=rng.randint(4, 9))) for _ in range(300))
    return "\n".join(f"{line.capitalize()}." for line in lines)


PROSE = Prose([novel(0), novel(1)])


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(PROSE, 320, rng=Random(0))


@pytest.fixture(scope="module")
def source(tokenizer: Tokenizer) -> DocumentSource:
    return DocumentSource(PROSE, document_encoder(tokenizer))


def text_of(document: Document) -> str:
    return "".join(piece.text for piece in document)


def split(document: Document) -> list[tuple[str, str]]:
    """Return (all that stands before it, the answer) for each answer."""
    found, text = [], ""
    for piece in document:
        if piece.is_answer:
            found.append((text, piece.text))
        text += piece.text
    return found


def test_the_kinds_are_these() -> None:
    assert [name for name in DOCUMENTS.names() if name != "first-word"] == list(KINDS)


@pytest.mark.parametrize("name", KINDS)
@given(size=st.integers(1, 20), seed=st.integers(0, 10_000))
def test_a_document_has_an_answer_and_depends_on_its_seed_alone(
    name: str, size: int, seed: int
) -> None:
    kind = DOCUMENTS.get(name)
    document = kind(size, PROSE, rng=Random(seed))
    assert document == kind(size, PROSE, rng=Random(seed))
    assert split(document)
    assert all(piece.text for piece in document)


@given(size=st.integers(1, 12), seed=st.integers(0, 10_000))
def test_a_needle_s_answer_is_what_the_sentences_say_of_the_keys(size: int, seed: int) -> None:
    ((before, answer),) = split(DOCUMENTS.get("needle")(size, PROSE, rng=Random(seed)))
    context, question = before.rsplit("\nWhat ", 1)
    said: dict[str, list[str]] = {}
    for key, value in re.findall(r"One of the special magic \w+ for (\S+) is: (\S+)\.", context):
        said.setdefault(key, []).append(value)
    asked = re.search(r" for (.+?) mentioned in the provided text\?", question)
    assert asked is not None
    keys = [key.strip() for key in re.split(r", and |, ", asked[1])]
    assert answer == f" {', '.join(value for key in keys for value in said[key])}."
    many = len(keys) * len(said[keys[0]]) > 1
    assert question.endswith(" are" if many else " is")
    assert context.startswith("Some special" if many else "A special")


@given(size=st.integers(1, 40), seed=st.integers(0, 10_000))
def test_every_key_is_asked_for_once_and_has_its_value(size: int, seed: int) -> None:
    document = DOCUMENTS.get("key-value")(size, PROSE, rng=Random(seed))
    listed = dict(re.findall(r"\n(\w+): (\w+)", document[0].text))
    asked = [(before.rsplit("\n", 1)[1], answer) for before, answer in split(document)]
    assert len(listed) == min(size, len(PROSE.words) // 2)
    assert sorted(asked) == sorted((f"{key}:", f" {value}") for key, value in listed.items())


@given(size=st.integers(1, 12), seed=st.integers(0, 10_000))
def test_the_variables_that_have_a_value_are_those_that_lead_to_it(size: int, seed: int) -> None:
    document = DOCUMENTS.get("variables")(size, PROSE, rng=Random(seed))
    values: dict[str, str] = {}
    for name, given_ in re.findall(r"VAR ([A-Z]+) = ((?:VAR )?\w+)", text_of(document)):
        assert name not in values
        values[name] = values[given_[4:]] if given_.startswith("VAR ") else given_
    for before, answer in split(document):
        value = re.findall(r"are assigned the value (\d+), they are: $", before)[0]
        assert answer.split() == [name for name, given_ in values.items() if given_ == value]


@given(size=st.integers(1, 30), seed=st.integers(0, 10_000))
def test_a_copy_is_what_stood_before(size: int, seed: int) -> None:
    ((before, answer),) = split(DOCUMENTS.get("copying")(size, PROSE, rng=Random(seed)))
    assert before.count(answer) >= 1


@given(seed=st.integers(0, 10_000), count=st.integers(1, 30))
def test_sentences_are_whole_and_stand_in_a_novel_in_this_order(seed: int, count: int) -> None:
    sentences = PROSE.sentences(count, rng=Random(seed))
    assert len(sentences) == count
    assert all(re.fullmatch(r"[A-Z][a-z ]+\.", sentence) for sentence in sentences)
    first = " ".join(sentences[: min(count, 3)])
    assert any(first in text.replace("\n", " ") for text in PROSE.novels) or count > 3


def test_three_in_four_words_are_of_the_thousand_most_frequent() -> None:
    letters = "abcdefghij"
    rare = [f"{a}{b}{c}le" for a in letters for b in letters for c in letters + "klmnopqrst"]
    often = [f"{a}{b}{c}on" for a in letters for b in letters for c in letters]
    prose = Prose([f"he {' he '.join([*rare, *often, *often])} he"])
    assert prose.words == [*often, *rare]
    drawn = [prose.word(rng=rng) for rng in [Random(0)] for _ in range(10_000)]
    share = sum(map(often.__contains__, drawn)) / len(drawn)
    assert share == pytest.approx(0.75 + 0.25 / 3, abs=0.02)
    assert len(set(drawn)) > 1_500


def test_different_words_are_at_most_half_of_those_there_are() -> None:
    assert len(set(PROSE.distinct_words(12, rng=Random(0)))) == 12
    assert len(set(PROSE.distinct_words(99, rng=Random(0)))) == len(PROSE.words) // 2


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("times", [1.5, 2, 4])
def test_a_document_is_no_longer_than_wanted_and_whole(
    name: str, times: float, source: DocumentSource
) -> None:
    length, rng = int(times * source.shortest[name]), Random(0)
    drawn = [source.draw(name, length, rng=rng) for _ in range(10)]
    whole = [document for document in drawn if document is not None]
    assert len(whole) > 5
    for document in whole:
        assert len(document.tokens) == len(document.answers) <= length
        assert document.tokens[-1] == END_ID
        assert max(document.answers) >= 0
    assert max(len(document.tokens) for document in whole) > 0.6 * length


def test_what_does_not_fit_is_not_cut(source: DocumentSource) -> None:
    assert source.draw("needle", 40, rng=Random(0)) is None


def test_any_text_is_read_back_and_a_digit_is_one_token(tokenizer: Tokenizer) -> None:
    for text in ("Amber House 1907.", " \n\tÆsop – 12,345 €", "a" * 99, ""):
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert len(tokenizer.encode("1234567").ids) == 7


def test_a_target_is_the_next_token_of_the_same_document() -> None:
    rows = pack_rows(
        [
            [EncodedDocument([5, 6, 7], [-1, 0, 0]), EncodedDocument([8, 9], [0, 0])],
            [EncodedDocument([3], [-1])],
        ],
        7,
        0.25,
    )
    assert rows.tokens.tolist() == [[5, 6, 7, 8, 9, PAD_ID, PAD_ID], [3] + [PAD_ID] * 6]
    assert rows.positions[0].tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert rows.targets[0, :5].tolist() == [6, 7, PAD_ID, 9, PAD_ID]
    assert rows.weights.tolist() == [[1, 1, 0, 1, 0, 0, 0], [0] * 7]
    assert rows.answers[0, :5].tolist() == [0, 0, -1, 0, -1]
    context = pack_rows([[EncodedDocument([5, 6, 7], [-1, -1, 0])]], 3, 0.25)
    assert context.weights.tolist() == [[0.25, 1, 0]]


def test_a_row_begins_with_recall_in_short_documents_and_ends_with_prose(
    source: DocumentSource,
) -> None:
    kinds = {"copying": 1.0, "needle": 1.0}
    mixture = Mixture(prose=1.0, first_prose=0.0, kinds=kinds, first_limit=64, growth=0.5)
    assert [mixture.limit(step, 100, 400) for step in (1, 25, 50, 100)] == [64, 106, 400, 400]
    assert [mixture.prose_share(step, 100) for step in (0, 25, 50)] == [0, 0.125, 1]
    begin = draw_rows(source, mixture, 4, 400, step=1, steps=100, rng=Random(0))
    end = draw_rows(source, mixture, 4, 400, step=99, steps=100, rng=Random(0))
    assert (begin.tokens == END_ID).any(1).all()
    assert int(begin.positions[begin.weights > 0].max()) < 64
    assert not (end.tokens == END_ID).any()
    assert torch.equal(end.weights[:, :-1], torch.ones(4, 399))


def test_paragraphs_are_lines_or_what_empty_lines_part(tmp_path: Path) -> None:
    long = "\n".join(f"Cold house {'amber hill ' * 20}." for _ in range(20))
    broken = "\r\n".join("Cold house, dark river\r\nand an empty road.\r\n" for _ in range(120))
    words = f" {' '.join(WORDS)} "
    (tmp_path / "a.txt").write_text(f"{long}\nThe {words}\n", "utf-8")
    (tmp_path / "b.txt").write_bytes(broken.encode())
    first, second = read_prose(tmp_path).novels
    assert len(first.splitlines()) == 21
    assert second.splitlines()[0] == "Cold house, dark river and an empty road."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("Cold house.".encode("utf-16"), "is not UTF-8"),
        (b"Cold house.", "fewer than the 4000"),
        (b"Hm. " * 2_000, "needs 24 different words"),
        (None, "holds no file that ends in .txt"),
    ],
)
def test_what_is_no_text_to_train_on_is_refused(
    content: bytes | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_prose(tmp_path)


def test_another_novel_has_another_digest() -> None:
    assert Prose([novel(0)]).digest == Prose([novel(0)]).digest != Prose([novel(1)]).digest
    assert Prose([novel(0), novel(1)]).digest != Prose([novel(1), novel(0)]).digest


def test_a_piece_is_no_answer_unless_it_says_so() -> None:
    assert not Piece("a").is_answer
