"""The table of an evaluation of a long-context model, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import final

from rich.table import Table

from statespan.records import (
    HarnessRecord,
    ModelRecord,
    PerplexityRecord,
    RecallRecord,
    Record,
    RulerRecord,
)
from statespan.report.tables import percent

__all__ = [
    "evaluation_line",
    "evaluation_notes",
    "evaluation_table",
    "lengths_of_all",
    "ruler_average",
]


def evaluation_line(records: Sequence[Record]) -> str:
    """Return what was evaluated, in one line."""
    model = next(record for record in records if isinstance(record, ModelRecord))
    return (
        f"{model.name} ({model.architecture}): {model.parameters:,} parameters, "
        f"{model.vocabulary:,} tokens"
    )


def evaluation_notes(records: Sequence[Record]) -> list[str]:
    """Return what the numbers depend on and the table does not say, a line each."""
    texts = sorted({r.text for r in records if isinstance(r, PerplexityRecord)})
    ruler = [r for r in records if isinstance(r, RulerRecord)]
    prose = sorted({r.haystack for r in ruler} - OWN_HAYSTACKS)
    words = sorted({r.words for r in ruler} - {""})
    short = sorted({(r.length, r.task) for r in ruler if r.original < r.samples})
    notes = [f"perplexity on: {text}" for text in texts]
    notes += [f"RULER's haystack of prose: {name}" for name in prose]
    notes += [f"RULER's words: {name}" for name in words]
    if short:
        listed = ", ".join(f"{task} at {length:,}" for length, task in short)
        notes.append(f"shorter than RULER's own prompts, for want of room: {listed}")
    return notes


OWN_HAYSTACKS = {"noise", "needles", "words", "coded words"}


@final
@dataclass(frozen=True, slots=True)
class _Row:
    """One row of the table: a number at each length, at 0 where a task has its own."""

    measure: str
    attention: str
    values: dict[int, str]


def evaluation_table(records: Sequence[Record]) -> Table:
    """Return all results: a row for each measure and attention, a column for each length."""
    rows = [*_perplexity(records), *_ruler(records), *_recall(records), *_harness(records)]
    lengths = sorted({length for row in rows for length in row.values if length})
    with_own = any(0 in row.values for row in rows)
    table = Table(title="Perplexity of a token; percent right")
    table.add_column("measure")
    table.add_column("attention")
    for length in lengths:
        table.add_column(f"{length:,}", justify="right")
    if with_own:
        table.add_column("own length", justify="right")
    last = ""
    for row in rows:
        suite = row.measure.partition(" ")[0]
        if last and suite != last:
            table.add_section()
        last = suite
        columns = [*lengths, 0] if with_own else lengths
        cells = [row.values.get(length, "–") for length in columns]
        table.add_row(row.measure, row.attention, *cells)
    return table


def _perplexity(records: Sequence[Record]) -> list[_Row]:
    found = [r for r in records if isinstance(r, PerplexityRecord)]
    return [
        _Row(
            "perplexity",
            name,
            {r.length: _number(r.perplexity) for r in found if r.attention == name},
        )
        for name in _attentions(found)
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.2f}"


def _ruler(records: Sequence[Record]) -> list[_Row]:
    found = [r for r in records if isinstance(r, RulerRecord)]
    tasks = list(dict.fromkeys(r.task for r in found))
    groups = list(dict.fromkeys(r.group for r in found))
    rows = []
    for task in tasks:
        rows += _means(f"RULER {task}", [r for r in found if r.task == task])
    for group in groups:
        members = {r.task for r in found if r.group == group}
        if len(members) > 1:
            label = f"RULER {group}, mean of {len(members)}"
            rows += _means(label, [r for r in found if r.group == group])
    if len(tasks) > 1:
        rows += _means(f"RULER average of {len(tasks)}", found)
    return rows


def _means(measure: str, found: Sequence[RulerRecord]) -> list[_Row]:
    rows = []
    for name in _attentions(found):
        own = [r for r in found if r.attention == name]
        lengths = lengths_of_all(own)
        values = {length: percent(ruler_average(own, length)) for length in lengths}
        if values:
            rows.append(_Row(measure, name, values))
    return rows


def lengths_of_all(records: Sequence[RulerRecord]) -> list[int]:
    """Return the lengths at which each of the tasks was measured: not each has room everywhere."""
    tasks = {record.task for record in records}
    lengths = sorted({record.length for record in records})
    return [n for n in lengths if {r.task for r in records if r.length == n} == tasks]


def ruler_average(records: Iterable[RulerRecord], length: int) -> float:
    """Return the mean score of the tasks at one length, each as heavy, as the paper reports it."""
    return fmean(record.score for record in records if record.length == length)


def _recall(records: Sequence[Record]) -> list[_Row]:
    found = [r for r in records if isinstance(r, RecallRecord)]
    rows = []
    for task in dict.fromkeys(r.task for r in found):
        for name in _attentions(found):
            own = [r for r in found if r.task == task and r.attention == name]
            values = {}
            for length in sorted({r.length for r in own}):
                same = [r for r in own if r.length == length]
                right = sum(r.correct_positions for r in same)
                values[length] = percent(100 * right / sum(r.positions for r in same))
            rows.append(_Row(f"recall {task}", name, values))
    return rows


def _harness(records: Sequence[Record]) -> list[_Row]:
    return [
        _Row(f"harness {r.part} {r.metric} (value)", r.attention, {0: f"{r.value:.4g}"})
        for r in records
        if isinstance(r, HarnessRecord)
    ]


def _attentions(
    found: Sequence[PerplexityRecord] | Sequence[RulerRecord] | Sequence[RecallRecord],
) -> list[str]:
    return list(dict.fromkeys(record.attention for record in found))
