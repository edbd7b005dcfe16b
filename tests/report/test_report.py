"""Tables and pictures are drawn from records alone."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from statespan.records import BinRecord, LengthRecord, RecognitionRecord, Record, RunRecord
from statespan.report import bin_table, draw_accuracy, recognition_lines, summary_line
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


def rendered() -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(bin_table(RECORDS))
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
