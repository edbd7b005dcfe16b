"""One page of HTML for many runs: theory beside measurement, pictures, tables to sort and copy."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import TypeAlias, final

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup
from rich.table import Table

from statespan.records import (
    BinRecord,
    CellRecord,
    ErrorRecord,
    ExtensionRecord,
    HeldOutRecord,
    LengthRecord,
    MemberRecord,
    ModelRecord,
    PerplexityRecord,
    PositionRecord,
    PretrainingRecord,
    RecallRecord,
    Record,
    RetrievalRecord,
    RulerRecord,
    RunRecord,
    VerdictRecord,
)
from statespan.report.cells import cell_table
from statespan.report.evaluation_plots import draw_perplexity, draw_recall, draw_ruler
from statespan.report.evaluation_tables import evaluation_line, evaluation_notes, evaluation_table
from statespan.report.extension import extension_line
from statespan.report.matrix import build_matrix
from statespan.report.plots import draw_accuracy, draw_errors
from statespan.report.pretraining import draw_pretraining, held_out_table, pretraining_line
from statespan.report.retrieval_plots import draw_retrievals
from statespan.report.tables import (
    bin_table,
    error_table,
    member_table,
    recognition_lines,
    summary_line,
)

__all__ = ["Source", "report_page"]


@final
@dataclass(frozen=True, slots=True)
class Source:
    """What one run left.

    Attributes:
        name: what it is called on the page.
        command: how it is made again.
        records: what it found.
        log: the records of its training, if there are some.
    """

    name: str
    command: str
    records: Sequence[Record]
    log: Sequence[Record] = ()


@final
@dataclass(frozen=True, slots=True)
class _TableData:
    """A table as text; its first `texts` columns are words."""

    title: str
    head: list[str]
    rows: list[list[str]]
    texts: int


@final
@dataclass(frozen=True, slots=True)
class _Section:
    """What the page shows of one run."""

    id: str
    title: str
    line: str
    command: str
    is_folded: bool
    notes: list[str] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)
    tables: list[_TableData] = field(default_factory=list)


Draw: TypeAlias = Callable[[Sequence[Record]], bytes]

PICTURES: tuple[tuple[str, type[Record], Draw], ...] = (
    ("accuracy by length", LengthRecord, draw_accuracy),
    ("error by position", PositionRecord, draw_errors),
    ("perplexity by length", PerplexityRecord, draw_perplexity),
    ("RULER by length", RulerRecord, draw_ruler),
    ("recall", RecallRecord, draw_recall),
    ("what attention looked back at", RetrievalRecord, draw_retrievals),
)
"""Name -> the records that it is drawn from, and how."""

TABLES: tuple[tuple[tuple[type[Record], ...], Callable[[Sequence[Record]], Table]], ...] = (
    ((BinRecord,), bin_table),
    ((ErrorRecord,), error_table),
    ((HeldOutRecord,), held_out_table),
    ((PerplexityRecord, RulerRecord, RecallRecord), evaluation_table),
)

LINES: tuple[tuple[type[Record], Callable[[Sequence[Record]], str]], ...] = (
    (RunRecord, summary_line),
    (ExtensionRecord, extension_line),
    (PretrainingRecord, pretraining_line),
    (ModelRecord, evaluation_line),
)


def report_page(
    sources: Sequence[Source],
    verdicts: Sequence[VerdictRecord] = (),
    *,
    title: str = "statespan",
    command: str = "statespan report",
) -> str:
    """Return the page: self-contained, readable on a phone and on paper, in any browser.

    Without scripts everything but sorting and copying works. `verdicts` are set beside the probes
    of the same language and architecture.
    """
    sections = [_section(number, source) for number, source in enumerate(sources)]
    probes = [
        (section.id, source.records) for section, source in zip(sections, sources, strict=True)
    ]
    template = Environment(
        loader=DictLoader({"page": _file("page.html.j2")}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    ).get_template("page")
    return template.render(
        title=title,
        command=command,
        sections=sections,
        matrix=build_matrix(probes, verdicts),
        style=Markup(_file("page.css")),
        script=Markup(_file("page.js")),
    )


def _file(name: str) -> str:
    return resources.files("statespan.report").joinpath(name).read_text("utf-8")


def _section(number: int, source: Source) -> _Section:
    records = source.records
    line = next((say(records) for kind, say in LINES if _has(records, kind)), "")
    pictures = [(name, draw(records)) for name, kind, draw in PICTURES if _has(records, kind)]
    if _has(source.log, HeldOutRecord):
        pictures.insert(0, ("losses and recall in training", draw_pretraining(source.log)))
    return _Section(
        id=f"run-{number}",
        title=source.name,
        line=line,
        command=source.command,
        is_folded=_has(records, RunRecord),
        notes=[*recognition_lines(records), *evaluation_notes(records), *_failures(records)],
        pictures=[(name, base64.b64encode(png).decode()) for name, png in pictures],
        tables=list(_tables(records)),
    )


def _failures(records: Sequence[Record]) -> Iterator[str]:
    """Yield why cells of a sweep and members of a fleet have no result."""
    for record in records:
        if isinstance(record, CellRecord | MemberRecord) and record.failure is not None:
            yield f"{record.name}: {record.failure}"


def _tables(records: Sequence[Record]) -> Iterator[_TableData]:
    members = [record for record in records if isinstance(record, MemberRecord)]
    if members:
        yield _as_text(member_table(members))
    cells = [record for record in records if isinstance(record, CellRecord)]
    if cells:
        yield _as_text(cell_table(cells))
    for kinds, build in TABLES:
        if any(_has(records, kind) for kind in kinds):
            yield _as_text(build(records))


def _as_text(table: Table) -> _TableData:
    """Return a table made for a terminal as text; columns that stand to the left are words."""
    columns = [[str(cell) for cell in column.cells] for column in table.columns]
    words = [column.justify == "left" for column in table.columns]
    texts = words.index(False) if False in words else len(words)
    return _TableData(
        title=str(table.title or ""),
        head=[str(column.header) for column in table.columns],
        rows=[list(row) for row in zip(*columns, strict=True)],
        texts=texts,
    )


def _has(records: Sequence[Record], kind: type[Record]) -> bool:
    return any(isinstance(record, kind) for record in records)
