"""A report as text: which families pass which scenario, and what each fault is."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from rich.table import Table

from statespan.conformance.findings import Finding, Report, Result, Status

__all__ = ["family_rows", "fault_lines", "markdown_table", "rich_table", "summary_line"]

WIDTH = 110
WORST_FIRST: tuple[Status, ...] = (
    "fault", "not promised", "passed", "not offered", "does not apply",
)  # fmt: skip
SHORT: dict[Status, str] = {
    "fault": "FAULT",
    "not promised": "wrong, not promised",
    "passed": "passed",
    "not offered": "not offered",
    "does not apply": "–",
}


def summary_line(report: Report) -> str:
    """Return the engine and how many results there are of each kind, in a line."""
    counts = ", ".join(f"{number} {status}" for status, number in report.counts.items())
    return f"{report.engine} ({report.version}): {counts}; {report.seconds:.0f} s"


def family_rows(report: Report) -> tuple[list[str], list[list[str]]]:
    """Return the families, and for each scenario its name and what came out for each family.

    What came out is the worst on any checkpoint of the family, with how many of how many it was.
    """
    families = list(dict.fromkeys(result.family for result in report.results))
    rows = []
    for scenario in report.promises:
        cells = [
            _cell([r for r in report.results if (r.scenario, r.family) == (scenario, family)])
            for family in families
        ]
        rows.append([scenario, *cells])
    return families, rows


def _cell(results: Sequence[Result]) -> str:
    for status in WORST_FIRST:
        number = sum(result.status == status for result in results)
        if number:
            counted = sum(result.status != "does not apply" for result in results)
            is_wrong = status in {"fault", "not promised"} and number < counted
            return SHORT[status] + (f" ({number} of {counted})" if is_wrong else "")
    return ""


def rich_table(report: Report) -> Table:
    """Return the table of families and scenarios."""
    families, rows = family_rows(report)
    table = Table("scenario", *families)
    for row in rows:
        table.add_row(*row)
    return table


def markdown_table(report: Report) -> str:
    """Return the table of families and scenarios, in Markdown."""
    families, rows = family_rows(report)
    header = ["scenario", *families]
    lines = [header, ["---"] * len(header), *([f"`{row[0]}`", *row[1:]] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fault_lines(report: Report) -> Iterator[str]:
    """Yield what is wrong, once for each scenario and family: on the first checkpoint."""
    seen = set()
    for result in report.results:
        key = (result.scenario, result.family)
        if result.finding is None or key in seen:
            continue
        seen.add(key)
        same = [
            other.checkpoint
            for other in report.results
            if (other.scenario, other.family) == key and other.finding is not None
        ]
        yield from _result_lines(result, same[1:], report.promises[result.scenario])


def _result_lines(result: Result, also: Sequence[str], promise: str) -> Iterator[str]:
    assert result.finding is not None, "only results with one are asked for"
    what = "FAULT" if result.status == "fault" else "Wrong, though not promised"
    yield ""
    yield f"{what}: {result.scenario} on {result.checkpoint} ({result.dtype})"
    if also:
        yield from _wrapped(f"also on {', '.join(also)}")
    yield from _wrapped(promise)
    if result.reason:
        yield from _wrapped(result.reason)
    if result.positions:
        failed = _shortened(result.failed)
        yield from _wrapped(
            f"wrong at {result.wrong:,} of {result.positions:,} positions, in the trials {failed}"
        )
    yield from _finding_lines(result.finding)


def _finding_lines(finding: Finding) -> Iterator[str]:
    yield "  the smallest input that shows it:"
    yield from (f"    {number}. {step}" for number, step in enumerate(finding.steps))
    if finding.error is not None:
        yield from _wrapped(f"it raised {finding.error}")
        return
    if finding.read:
        place = f"step {finding.step}, row {finding.row}, position {finding.position}"
        yield from _wrapped(
            f"{place}, after {' '.join(finding.read)}: expected {_set(finding.expected)}, got "
            f"{_set(finding.got)}"
        )
    yield from _wrapped(finding.forgotten)


def _set(symbols: Sequence[str]) -> str:
    return f"{{{', '.join(symbols)}}}"


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 8 else f"{', '.join(names[:7])}, … {names[-1]}"


def _wrapped(text: str) -> list[str]:
    indent = "  "
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)
