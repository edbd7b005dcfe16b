"""Tables of records, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.table import Table

from statespan.records import (
    BinRecord,
    ErrorRecord,
    MemberRecord,
    RecognitionRecord,
    Record,
    RunRecord,
)

__all__ = [
    "bin_table",
    "error_table",
    "median_bins",
    "member_table",
    "percent",
    "recognition_lines",
    "summary_line",
]

EXACT_SETS = "Words with the exact set of next symbols at every position, %"


def percent(value: float | None) -> str:
    """Return a percentage with up to two decimals, a dash when there is none.

    Only all is 100, and only none is 0.

    >>> percent(100.0), percent(99.999), percent(74.6), percent(None)
    ('100', '99.99', '74.6', '–')
    """
    if value is None:
        return "–"
    shown = value if value in {0, 100} else min(max(value, 0.01), 99.99)
    return f"{shown:.2f}".rstrip("0").rstrip(".")


def summary_line(records: Sequence[Record]) -> str:
    """Return what was trained, in one line."""
    run = next(record for record in records if isinstance(record, RunRecord))
    shortest, longest = run.train_lengths
    return (
        f"{run.model}, {run.layers} layer{'s' if run.layers != 1 else ''}, {run.parameters:,} "
        f"parameters, on {run.subject}: {run.steps:,} steps over {run.train_words:,} "
        f"{'samples' if run.is_task else 'words'} of "
        f"{shortest} to {longest} {'inputs' if run.is_task else 'symbols'}"
    )


def bin_table(records: Sequence[Record]) -> Table:
    """Return the table of bins: accuracy, beside the published figures."""
    run = next(record for record in records if isinstance(record, RunRecord))
    title = "Samples with every answer right, %" if run.is_task else EXACT_SETS
    table = Table(title=title)
    table.add_column("lengths", justify="right")
    table.add_column("samples" if run.is_task else "words", justify="right")
    table.add_column(f"{run.model} (here)", justify="right", style="bold")
    if not run.is_task:
        table.add_column(f"{run.model} (published)", justify="right")
        table.add_column("transformer (published)", justify="right")
    for index, record in enumerate(r for r in records if isinstance(r, BinRecord)):
        published = (record.published, record.published_transformer)
        table.add_row(
            f"{record.lower}–{record.upper}{' (trained)' if index == 0 else ''}",
            f"{record.words:,}" + (f" ({record.seen:,} seen)" if record.seen else ""),
            percent(record.accuracy),
            *([] if run.is_task else map(percent, published)),
        )
    return table


def error_table(records: Sequence[Record]) -> Table:
    """Return the table of bins of a task of numbers: mean squared errors, beside the baseline's."""
    run = next(record for record in records if isinstance(record, RunRecord))
    errors = [record for record in records if isinstance(record, ErrorRecord)]
    table = Table(title=f"Mean squared error of an answer; baseline: {errors[0].baseline}")
    table.add_column("lengths", justify="right")
    table.add_column("samples", justify="right")
    table.add_column(run.model, justify="right", style="bold")
    table.add_column("baseline", justify="right")
    for index, record in enumerate(errors):
        table.add_row(
            f"{record.lower}–{record.upper}{' (trained)' if index == 0 else ''}",
            f"{record.samples:,}",
            f"{record.error:.4g}",
            f"{record.baseline_error:.4g}",
        )
    return table


def recognition_lines(records: Sequence[Record]) -> list[str]:
    """Return a line a bin: how many words were accepted and near misses rejected."""
    return [
        f"recognition, lengths {record.lower}–{record.upper}: "
        f"{record.accepted:,} of {record.members:,} words accepted, "
        f"{record.rejected:,} of {record.negatives:,} near misses rejected"
        for record in records
        if isinstance(record, RecognitionRecord)
    ]


def median_bins(records: Sequence[MemberRecord]) -> list[tuple[int, int, float]]:
    """Return (shortest, longest, median accuracy in percent) of each bin, over the trained members.

    >>> from statespan.records import BinRecord, MemberRecord
    >>> counts = {"words": 10, "positions": 10, "correct_positions": 10, "seen": 0}
    >>> bins = [BinRecord(lower=1, upper=5, correct=right, **counts) for right in (2, 10, 5)]
    >>> common = {"learning_rate": 1e-3, "loss_sum": 1.0, "positions": 10}
    >>> median_bins([MemberRecord(name="", seed=0, bins=[item], **common) for item in bins])
    [(1, 5, 50.0)]
    """
    trained = [record.bins for record in records if record.bins]
    return [
        (same[0].lower, same[0].upper, median(record.accuracy for record in same))
        for same in zip(*trained, strict=True)
    ]


def member_table(records: Sequence[MemberRecord]) -> Table:
    """Return the table of a fleet: a row a member, and the median of those that were trained."""
    has_errors = any(record.errors for record in records)
    title = "Words, or samples of a task, right at every position, %"
    table = Table(title="Mean squared error of an answer" if has_errors else title)
    for column in ("member", "seed", "learning rate", "loss"):
        table.add_column(column, justify="left" if column == "member" else "right")
    medians = _median_errors(records) if has_errors else median_bins(records)
    for index, (lower, upper, _) in enumerate(medians):
        trained = " (trained)" if index == 0 else ""
        table.add_column(f"{lower}–{upper}{trained}", justify="right", style="bold")
    for record in records:
        bins = [percent(item.accuracy) for item in record.bins]
        bins += [f"{item.error:.4g}" for item in record.errors]
        loss = "–" if record.loss is None else f"{record.loss:.4f}"
        row = (record.name, str(record.seed), f"{record.learning_rate:g}", loss)
        table.add_row(*row, *(bins or ["–"] * len(medians)))
    if medians:
        table.add_section()
        shown = [f"{value:.4g}" if has_errors else percent(value) for _, _, value in medians]
        table.add_row("median", "", "", "", *shown)
    return table


def _median_errors(records: Sequence[MemberRecord]) -> list[tuple[int, int, float]]:
    """Return (shortest, longest, median of the mean squared error) of each bin."""
    trained = [record.errors for record in records if record.errors]
    return [
        (same[0].lower, same[0].upper, median(record.error for record in same))
        for same in zip(*trained, strict=True)
    ]
