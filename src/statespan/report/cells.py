"""The table of a sweep's cells, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from statespan.records import CellRecord
from statespan.report.tables import percent

__all__ = ["cell_table"]

ACCURACY = "Words, or samples of a task, right at every position, %"
ERROR = "of a task of numbers, the mean squared error of an answer"


def cell_table(records: Sequence[CellRecord]) -> Table:
    """Return a row a cell: what the sweep sets, how far it is, each bin, its share of the time.

    >>> record = CellRecord(name="a", settings={"seed": 1}, status="open", seconds=0.0, bins=[])
    >>> [column.header for column in cell_table([record]).columns]
    ['seed', 'status', 'minutes']
    """
    has_errors = any(record.errors for record in records)
    table = Table(title=f"{ACCURACY}; {ERROR}" if has_errors else ACCURACY)
    keys = list(dict.fromkeys(key for record in records for key in record.settings))
    for key in [*keys, "status"]:
        table.add_column(key)
    names = _bin_names(records)
    for name in names:
        table.add_column(name, justify="right", style="bold")
    table.add_column("minutes", justify="right")
    for record in records:
        settings = [str(record.settings.get(key, "")) for key in keys]
        results = [percent(item.accuracy) for item in record.bins]
        results += [f"{item.error:.4g}" for item in record.errors]
        results += ["–"] * (len(names) - len(results))
        table.add_row(*settings, record.status, *results, f"{record.seconds / 60:.1f}")
    return table


def _bin_names(records: Sequence[CellRecord]) -> list[str]:
    """Return what the columns of the bins are called: by their lengths where these are the same."""
    ranges = [
        [(item.lower, item.upper) for item in record.bins or record.errors] for record in records
    ]
    trained = [lengths for lengths in ranges if lengths]
    longest = max(trained, key=len, default=[])
    if all(lengths == longest for lengths in trained):
        names = [f"{lower}–{upper}" for lower, upper in longest]
    else:
        names = [f"bin {number}" for number in range(1, len(longest) + 1)]
    return [f"{names[0]} (trained)", *names[1:]] if names else []
