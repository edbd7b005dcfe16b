"""Text becomes rows: nothing is lost, documents stay apart, and any position can be taken up."""

from __future__ import annotations

import gzip
import importlib
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statespan.errors import InputError, LengthError, StorageError
from statespan.training.text import (
    Pieces,
    StreamPosition,
    TextEncoder,
    TextSource,
    TextStream,
    batch_rows,
    open_text,
)

END = 1


class Given(TextSource):
    """Documents in memory, one or several a unit."""

    def __init__(self, units: list[list[str]]) -> None:
        self.name, self.units = "given", units

    @property
    def num_units(self) -> int:
        return len(self.units)

    @property
    def fingerprint(self) -> str:
        return ""

    def documents(self, unit: int) -> Iterator[Pieces]:
        for text in self.units[unit]:
            yield lambda text=text: iter([text])


def encoder(*leading: int, end: int | None = END) -> TextEncoder:
    return TextEncoder(lambda text: [ord(letter) for letter in text], leading, end)


def first_epoch(stream: TextStream) -> list[tuple[int, ...]]:
    pieces: list[tuple[int, ...]] = []
    while True:
        rows = stream.next_rows(1)
        if stream.position.epoch:
            return pieces
        pieces += [piece for row in rows for piece in row.pieces]


units = st.lists(
    st.lists(st.text("abc", max_size=30), min_size=1, max_size=3), min_size=1, max_size=5
).filter(lambda found: any(text for unit in found for text in unit))


@given(
    units,
    st.integers(4, 12),
    st.booleans(),
    st.integers(1, 6),
    st.integers(0, 3),
    st.integers(0, 1),
)
def test_an_epoch_holds_every_token_once_and_rows_hold_what_fits(
    found: list[list[str]], length: int, pack: bool, window: int, seed: int, leading: int
) -> None:
    source = Given(found)
    made = encoder(*[2] * leading)
    stream = TextStream(source, made, length, pack=pack, window=window, seed=seed)
    pieces = first_epoch(stream)
    room, shortest = length - leading, 1 if leading else 2
    expected = []
    for text in (text for unit in found for text in unit if text):
        ids = [*made.encode(text), END]
        parts = [tuple(ids[i : i + room]) for i in range(0, len(ids), room)]
        expected += [part for part in parts if len(part) >= shortest]
    assert sorted(piece[leading:] for piece in pieces) == sorted(expected)


@given(units, st.booleans(), st.integers(1, 5), st.integers(0, 12))
def test_a_stream_is_taken_up_where_it_was(
    found: list[list[str]], pack: bool, window: int, given_before: int
) -> None:
    def stream(position: StreamPosition | None = None) -> TextStream:
        return TextStream(
            Given(found), encoder(), 6, pack=pack, window=window, seed=3, position=position
        )

    whole = stream()
    whole.next_rows(given_before)
    saved = msgspec.json.decode(msgspec.json.encode(whole.position), type=StreamPosition)
    assert stream(saved).next_rows(9) == whole.next_rows(9)


def test_packed_documents_share_a_row_whole_and_others_do_not() -> None:
    source = Given([["ab"], ["cd"], ["efghijkl"]])
    packed = TextStream(source, encoder(), 6, pack=True, window=99).next_rows(3)
    assert all(row.num_tokens <= 6 for row in packed)
    assert any(len(row.pieces) == 2 for row in packed)
    alone = TextStream(source, encoder(), 6, window=99).next_rows(4)
    assert [len(row.pieces) for row in alone] == [1, 1, 1, 1]


def test_epochs_differ_in_order_and_seeds_do() -> None:
    source = Given([[letter * 5] for letter in "abcdefgh"])
    stream = TextStream(source, encoder(), 6, window=99)
    first, second = stream.next_rows(8), stream.next_rows(8)
    assert first != second
    assert sorted(row.pieces for row in first) == sorted(row.pieces for row in second)
    assert first != TextStream(source, encoder(), 6, window=99, seed=1).next_rows(8)


def test_labels_leave_out_what_nothing_stands_before() -> None:
    rows = TextStream(Given([["abc"], ["de"]]), encoder(7), 9, pack=True, window=9).next_rows(1)
    batch = batch_rows(rows, 9)
    assert int((batch.labels != -100).sum()) == rows[0].num_labels == 7
    assert batch.mask is None
    assert batch.positions is not None


def test_padding_is_masked() -> None:
    rows = TextStream(Given([["abc"]]), encoder(), 6).next_rows(2)
    batch = batch_rows(rows, 6)
    assert batch.mask is not None
    assert batch.mask.tolist() == [[1, 1, 1, 1, 0, 0]] * 2
    assert batch.positions is None


def read_all(path: Path, **settings: str) -> list[str]:
    return ["".join(pieces()) for pieces in open_text(path, **settings)]


def test_every_kind_of_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo", "utf-8")
    (tmp_path / "b.md").write_text("é" * 70_000, "utf-8")
    lines = [json.dumps({"text": text, "body": "other"}) for text in ("three", "four")]
    (tmp_path / "c.jsonl").write_text("\n\n".join(lines) + "\n", "utf-8")
    (tmp_path / "sub").mkdir()
    with gzip.open(tmp_path / "sub/d.txt.gz", "wt") as file:
        file.write("five\n" * 30_000)
    with gzip.open(tmp_path / "sub/e.jsonl.gz", "wt") as file:
        file.write("\n".join(lines))
    (tmp_path / "no.pdf").write_bytes(b"\xff")
    expected = ["one\ntwo", "é" * 70_000, "three", "four", "five\n" * 30_000, "three", "four"]
    assert read_all(tmp_path) == expected
    assert read_all(tmp_path / "c.jsonl") == ["three", "four"]
    assert read_all(tmp_path / "c.jsonl", field="body") == ["other", "other"]


def test_a_data_set_on_the_disk_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    made = datasets.Dataset.from_dict({"text": ["one", "two"]})
    made.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": made}).save_to_disk(tmp_path / "several")
    assert read_all(tmp_path / "one") == read_all(tmp_path / "several") == ["one", "two"]
    with pytest.raises(InputError, match="no column 'body', but text"):
        open_text(tmp_path / "one", field="body")


def test_parquet_is_read_by_row_group(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    write = importlib.import_module("pyarrow.parquet").write_table
    made = pyarrow.table({"text": ["one", "é\n" * 70_000, "three"], "body": [None, "b", "c"]})
    write(made, tmp_path / "b.parquet", row_group_size=2)
    (tmp_path / "a.txt").write_text("zero", "utf-8")
    source = open_text(tmp_path)
    assert [len(list(source.documents(unit))) for unit in range(source.num_units)] == [1, 2, 1]
    assert read_all(tmp_path) == ["zero", "one", "é\n" * 70_000, "three"]
    with pytest.raises(InputError, match=r"row 0 of row group 0 .* string in 'body', got NoneType"):
        read_all(tmp_path / "b.parquet", field="body")
    with pytest.raises(InputError, match=r"b.parquet has no column 'words', but text, body"):
        open_text(tmp_path, field="words")
    (tmp_path / "b.parquet").write_bytes((tmp_path / "b.parquet").read_bytes()[:-20])
    with pytest.raises(InputError, match=r"b.parquet is no whole Parquet file"):
        open_text(tmp_path)


def test_text_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        open_text(tmp_path / "none")
    with pytest.raises(InputError, match="no file that ends in"):
        open_text(tmp_path)
    (tmp_path / "a.txt").write_bytes(b"good\n" * 20_000 + b"\xff bad")
    with pytest.raises(InputError, match=r"a.txt is not UTF-8.*near byte 100000"):
        read_all(tmp_path)
    (tmp_path / "a.txt").unlink()
    (tmp_path / "b.jsonl").write_text('{"text": "fine"}\n{"body": 1}\n', "utf-8")
    with pytest.raises(InputError, match=r"at byte 17 of .*b.jsonl must be JSON with a string in"):
        read_all(tmp_path)
    (tmp_path / "b.jsonl").unlink()
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"text " * 9_000)[:-20])
    with pytest.raises(InputError, match=r"c.txt.gz is no whole gzip file"):
        read_all(tmp_path)


def test_a_file_that_vanishes_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text", "utf-8")
    source = open_text(tmp_path)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(StorageError, match=r"cannot read .*a.txt"):
        ["".join(pieces()) for pieces in source.documents(0)]


def test_text_without_a_row_is_told() -> None:
    stream = TextStream(Given([["abc"], ["abcde"]]), encoder(), 7)
    with pytest.raises(LengthError, match=r"7 tokens or more, got 2 files or lines .* 6 tokens"):
        stream.check()
    TextStream(Given([["abc"], ["abcde"]]), encoder(), 6).check()
    with pytest.raises(LengthError, match="no document in given has 2 tokens"):
        TextStream(Given([[""]]), encoder(), 7).next_rows(1)
    with pytest.raises(LengthError, match="room for 1 tokens of text"):
        TextStream(Given([["abc"]]), encoder(5, 6), 2)
