"""The results of a sweep: what is put in is what is asked for, and a kill leaves the file whole."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from statespan.errors import StorageError
from statespan.records import BinRecord, CellRecord, ErrorRecord, ResultRow, ResultsStore

BIN = BinRecord(
    lower=1, upper=5, words=8, correct=2, positions=40, correct_positions=30, seen=1, published=9.5
)


def row(name: str, *, bins: int = 0, status: Any = "open", **config: Any) -> ResultRow:
    record = CellRecord(name=name, settings={}, status=status, seconds=1.5, bins=[BIN] * bins)
    return ResultRow(record, config)


def query(path: Path, question: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(question).fetchall()


def test_a_row_has_its_config_and_its_accuracies(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    config = {"model.name": "mamba", "data.bins": [[1, 5]], "alphabet": None, 'odd "key"': True}
    ResultsStore.create(path, [row("a", bins=2, status="finished", **config)])
    columns = '"model.name", "data.bins", alphabet, "odd ""key""", accuracy_1, accuracy_2, seconds'
    assert query(path, f"SELECT {columns} FROM cells") == [
        ("mamba", "[[1, 5]]", None, 1, 25.0, 25.0, 1.5)
    ]
    assert query(path, "SELECT number, words, correct, published FROM bins") == [
        (1, 8, 2, 9.5),
        (2, 8, 2, 9.5),
    ]


def test_a_task_of_numbers_has_errors(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    errors = ErrorRecord(
        lower=1,
        upper=5,
        samples=2,
        positions=10,
        squared_error=2.5,
        baseline="least squares",
        baseline_squared_error=1.0,
    )
    record = CellRecord(
        name="a", settings={}, status="finished", seconds=1.5, bins=[], errors=[errors]
    )
    ResultsStore.create(path, [ResultRow(record, {})])
    assert query(path, "SELECT error_1 FROM cells") == [(0.25,)]
    assert query(path, "SELECT squared_error, positions, baseline FROM errors") == [
        (2.5, 10, "least squares")
    ]


def test_a_row_takes_the_place_of_the_one_before_and_may_have_more_columns(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    store = ResultsStore.create(path, [row("a", x=1), row("b", x=2)])
    store.put([row("a", bins=1, status="finished", x=1, y="new")])
    assert query(path, "SELECT directory, status, accuracy_1, x, y FROM cells ORDER BY x") == [
        ("a", "finished", 25.0, 1, "new"),
        ("b", "open", None, 2, None),
    ]
    store.put([row("a", status="lost", x=1, y="new")])
    assert query(path, "SELECT accuracy_1 FROM cells WHERE directory = 'a'") == [(None,)]
    assert query(path, "SELECT * FROM bins") == []


def test_what_was_there_is_replaced_when_the_file_is_made(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    path.write_text("no database")
    (tmp_path / ".results.sqlite.partial").write_text("of a run that was killed")
    ResultsStore.create(path, [row("a")])
    assert query(path, "SELECT directory FROM cells") == [("a",)]
    assert [file.name for file in tmp_path.iterdir()] == ["results.sqlite"]


def test_rows_are_put_in_together_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "results.sqlite"
    store = ResultsStore.create(path, [row("a", x=1)])
    with pytest.raises(StorageError, match=r"cannot write .*results\.sqlite"):
        store.put([row("b", x=2, y=3), row("c", x=object())])
    assert query(path, "SELECT * FROM cells") == query(path, "SELECT * FROM cells WHERE x = 1")
    assert "y" not in [column[1] for column in query(path, "PRAGMA table_info(cells)")]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot write .*nowhere"):
        ResultsStore.create(tmp_path / "nowhere" / "results.sqlite", [])
    (tmp_path / "full.sqlite").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*full\.sqlite"):
        ResultsStore.create(tmp_path / "full.sqlite", [])
