"""An extension to a longer context: its line, its table, its page."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape

from statespan.records import ExtensionRecord, Record, TokensRecord
from statespan.report.evaluation_tables import evaluation_notes, evaluation_table

__all__ = ["extension_line", "extension_page", "extension_rows"]

STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse}td,th{padding:.2rem .8rem;border-bottom:1px solid #ccc}"
    "td+td+td,th+th+th{text-align:right}img{max-width:100%}"
)


def extension_line(records: Sequence[Record]) -> str:
    """Return what was done, in one line."""
    run = next(record for record in records if isinstance(record, ExtensionRecord))
    own = "?" if run.context is None else f"{run.context:,}"
    return (
        f"{run.model} ({run.architecture}): from {own} to {run.length:,} tokens, {run.method}, "
        f"{run.trainable:,} of {run.parameters:,} numbers, {run.steps:,} steps, {run.tokens:,} "
        f"tokens, {run.attention}"
    )


def extension_rows(records: Sequence[Record]) -> tuple[list[int], list[list[str]]]:
    """Return the lengths, and a row of the table for each measure and attention, as text."""
    table = evaluation_table(records)
    lengths = [int(str(column.header).replace(",", "")) for column in table.columns[2:]]
    columns = [list(column.cells) for column in table.columns]
    return lengths, [[str(cell) for cell in row] for row in zip(*columns, strict=True)]


def extension_page(
    records: Sequence[Record], losses: Sequence[Record], pictures: Mapping[str, bytes]
) -> str:
    """Return a page of HTML, with the pictures in it: what was done, and what came of it.

    `pictures` are PNG files by what they show.
    """
    run = next(record for record in records if isinstance(record, ExtensionRecord))
    lengths, rows = extension_rows(records)
    head = ["measure", "attention", *(f"{length:,}" for length in lengths)]
    title = escape(f"{run.model}, extended to {run.length:,} tokens")
    facts = "".join(
        f"<tr><td>{escape(key)}</td><td>{escape(str(value))}</td></tr>"
        for key, value in _facts(run, losses)
    )
    shown = "".join(
        f"<h2>{escape(name)}</h2><img alt='{escape(name)}' "
        f"src='data:image/png;base64,{b64encode(content).decode()}'>"
        for name, content in pictures.items()
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in evaluation_notes(records))
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{title}</title>"
        f"<style>{STYLE}</style><h1>{title}</h1><h2>Before and after</h2>"
        f"<table>{_row(head, 'th')}{''.join(_row(row, 'td') for row in rows)}</table>"
        f"<ul>{notes}</ul>{shown}<h2>Training</h2><table>{facts}</table></html>\n"
    )


def _row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _facts(run: ExtensionRecord, losses: Sequence[Record]) -> list[tuple[str, object]]:
    found = [record for record in losses if isinstance(record, TokensRecord)]
    facts: list[tuple[str, object]] = [
        (name.replace("_", " "), getattr(run, name)) for name in run.__struct_fields__
    ]
    if found:
        seconds = sum(record.seconds for record in found)
        facts += [
            ("loss of a token, first record", f"{found[0].loss:.3f}"),
            ("loss of a token, last record", f"{found[-1].loss:.3f}"),
            ("tokens per second", f"{run.tokens / seconds:,.0f}"),
        ]
    return facts
