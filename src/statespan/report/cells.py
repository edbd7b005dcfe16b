"""The table of a sweep's cells, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from statespan.records import CellRecord
from statespan.report.tables import percent

__all__ = ["cell_table"]


def cell_table(records: Sequence[CellRecord]) -> Table:
    """Return a row a cell: what the sweep sets, how far it is, the accuracy of each bin, its time.

    >>> record = CellRecord(name="a", settings={"seed": 1}, status="open", seconds=0.0, bins=[])
    >>> [column.header for column in cell_table([record]).columns]
    ['seed', 'status', 'minutes']
    """
    table = Table(title="Words with the exact set of next symbols at every position, %")
    keys = list(dict.fromkeys(key for record in records for key in record.settings))
    for key in [*keys, "status"]:
        table.add_column(key)
    bins = _bin_names(records)
    for name in bins:
        table.add_column(name, justify="right", style="bold")
    table.add_column("minutes", justify="right")
    for record in records:
        settings = [str(record.settings.get(key, "")) for key in keys]
        accuracies = [percent(item.accuracy) for item in record.bins]
        accuracies += ["–"] * (len(bins) - len(accuracies))
        table.add_row(*settings, record.status, *accuracies, f"{record.seconds / 60:.1f}")
    return table


def _bin_names(records: Sequence[CellRecord]) -> list[str]:
    """Return what the columns of the bins are called: by their lengths where these are the same."""
    ranges = [[(item.lower, item.upper) for item in record.bins] for record in records]
    trained = [lengths for lengths in ranges if lengths]
    longest = max(trained, key=len, default=[])
    if all(lengths == longest for lengths in trained):
        names = [f"{lower}–{upper}" for lower, upper in longest]
    else:
        names = [f"bin {number}" for number in range(1, len(longest) + 1)]
    return [f"{names[0]} (trained)", *names[1:]] if names else []
