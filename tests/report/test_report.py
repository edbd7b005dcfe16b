"""Tables and pictures are drawn from records alone."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.table import Table

from statespan.records import (
    BinRecord,
    LengthRecord,
    MemberRecord,
    RecognitionRecord,
    Record,
    RunRecord,
)
from statespan.report import (
    bin_table,
    draw_accuracy,
    median_bins,
    member_table,
    recognition_lines,
    summary_line,
)
from statespan.report.tables import percent

RUN = RunRecord(
    language="d-2",
    alphabet=["a", "b"],
    model="mamba",
    layers=2,
    parameters=66_112,
    steps=600,
    loss="symbols",
    sampler="published",
    train_words=10_000,
    train_lengths=(2, 100),
)
BINS = [
    BinRecord(
        lower=2,
        upper=100,
        words=1_000,
        correct=995,
        positions=10,
        correct_positions=9,
        seen=3,
        published=100.0,
        published_transformer=74.6,
    ),
    BinRecord(lower=101, upper=200, words=8, correct=1, positions=9, correct_positions=5, seen=0),
]
RECORDS: list[Record] = [
    RUN,
    *BINS,
    LengthRecord(length=2, words=4, correct=4),
    LengthRecord(length=150, words=4, correct=1),
    RecognitionRecord(lower=2, upper=100, members=9, accepted=8, negatives=7, rejected=6),
]


def rendered(table: Table | None = None) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(bin_table(RECORDS) if table is None else table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_has_ours_beside_the_published_figures() -> None:
    first, second = (line for line in rendered().splitlines() if "–" in line and "│" in line)
    cells = [cell.strip() for cell in first.strip("│").split("│")]
    assert cells == ["2–100 (trained)", "1,000 (3 seen)", "99.5", "100", "74.6"]
    cells = [cell.strip() for cell in second.strip("│").split("│")]
    assert cells == ["101–200", "8", "12.5", "–", "–"]


def test_the_words_around_the_table_have_the_counts() -> None:
    assert summary_line(RECORDS) == (
        "mamba, 2 layers, 66,112 parameters, on d-2: "
        "600 steps over 10,000 words of 2 to 100 symbols"
    )
    assert recognition_lines(RECORDS) == [
        "recognition, lengths 2–100: 8 of 9 words accepted, 6 of 7 near misses rejected"
    ]


def test_nearly_all_is_not_all() -> None:
    assert percent(100 * 9_999 / 10_000) == "99.99"
    assert percent(100 * 99_999 / 100_000) != "100"


@pytest.mark.parametrize("records", [RECORDS, [RUN, *BINS], [RUN]])
def test_a_picture_is_drawn_from_whatever_records_there_are(records: list[Record]) -> None:
    assert draw_accuracy(records).startswith(b"\x89PNG")
    assert draw_accuracy(records) == draw_accuracy(records)


def member(name: str, right: tuple[int, int] | None, **changes: object) -> MemberRecord:
    bins = [
        BinRecord(
            lower=lower,
            upper=upper,
            words=8,
            correct=correct,
            positions=9,
            correct_positions=9,
            seen=0,
        )
        for lower, upper, correct in zip((1, 5), (4, 9), right or (), strict=False)
    ]
    sizes = {"seed": 3, "learning_rate": 2e-3, "loss_sum": 5.0, "positions": 10, **changes}
    return MemberRecord(name=name, bins=bins, **sizes)  # type: ignore[arg-type]


def test_a_fleet_has_a_row_a_member_and_the_median_of_those_trained() -> None:
    members = [
        member("a", (8, 4)),
        member("b", None, loss_sum=0.0, positions=0, failure="nan"),
        member("c", (6, 1)),
        member("d", (8, 2)),
    ]
    assert median_bins(members) == [(1, 4, 100.0), (5, 9, 25.0)]
    lines = rendered(member_table(members)).splitlines()
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if "│" in line]
    assert rows == [
        ["a", "3", "0.002", "0.5000", "100", "50"],
        ["b", "3", "0.002", "–", "–", "–"],
        ["c", "3", "0.002", "0.5000", "75", "12.5"],
        ["d", "3", "0.002", "0.5000", "100", "25"],
        ["median", "", "", "", "100", "25"],
    ]
    assert any("1–4 (trained)" in line and "5–9" in line for line in lines)


def test_a_fleet_without_a_trained_member_has_no_median() -> None:
    failed = member("b", None, failure="nan")
    assert median_bins([failed]) == []
    assert "median" not in rendered(member_table([failed]))
