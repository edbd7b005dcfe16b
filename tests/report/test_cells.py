"""The table of a sweep has a row a cell, whatever came of it."""

from __future__ import annotations

from typing import Any

from statespan.records import BinRecord, CellRecord, ErrorRecord
from statespan.report import cell_table


def a_bin(lower: int, upper: int, correct: int) -> BinRecord:
    counts: dict[str, Any] = {"words": 8, "positions": 8, "correct_positions": 8, "seen": 0}
    return BinRecord(lower=lower, upper=upper, correct=correct, **counts)


def an_error(lower: int, upper: int) -> ErrorRecord:
    sums: dict[str, Any] = {"samples": 1, "positions": 8, "baseline_squared_error": 1.0}
    return ErrorRecord(lower=lower, upper=upper, squared_error=2.0, baseline="mean", **sums)


def cell(settings: dict[str, Any], status: Any = "finished", **rest: Any) -> CellRecord:
    rest = {"bins": [], **rest}
    return CellRecord(name="x", settings=settings, status=status, seconds=90.0, **rest)


def rows(records: list[CellRecord]) -> list[list[str]]:
    columns = cell_table(records).columns
    head = [str(column.header) for column in columns]
    cells = zip(*([str(item) for item in column.cells] for column in columns), strict=True)
    return [head, *map(list, cells)]


def test_bins_of_equal_lengths_are_named_by_them() -> None:
    bins = [a_bin(2, 50, 8), a_bin(51, 100, 2)]
    assert rows([cell({"seed": 1}, bins=bins), cell({"seed": 2}, "failed")]) == [
        ["seed", "status", "2–50 (trained)", "51–100", "minutes"],
        ["1", "finished", "100", "25", "1.5"],
        ["2", "failed", "–", "–", "1.5"],
    ]


def test_bins_of_other_lengths_are_numbered_and_missing_settings_are_empty() -> None:
    first = cell({"language": "a"}, bins=[a_bin(1, 2, 8)])
    second = cell({"seed": 3}, bins=[a_bin(1, 5, 0), a_bin(6, 9, 4)])
    assert rows([first, second]) == [
        ["language", "seed", "status", "bin 1 (trained)", "bin 2", "minutes"],
        ["a", "", "finished", "100", "–", "1.5"],
        ["", "3", "finished", "0", "50", "1.5"],
    ]


def test_a_task_of_numbers_shows_its_errors() -> None:
    records = [cell({"seed": 1}, errors=[an_error(1, 5), an_error(6, 9)])]
    assert rows(records)[1] == ["1", "finished", "0.25", "0.25", "1.5"]
    assert "mean squared error" in str(cell_table(records).title)


def test_a_sweep_of_which_nothing_is_finished_has_no_bins() -> None:
    assert rows([cell({"seed": 1}, "open")]) == [
        ["seed", "status", "minutes"],
        ["1", "open", "1.5"],
    ]
