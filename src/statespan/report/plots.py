"""Pictures of records."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from statespan.records import BinRecord, LengthRecord, Record, RunRecord

__all__ = ["draw_accuracy"]

OURS, PUBLISHED, TRANSFORMER = "#0072b2", "#d55e00", "#999999"
"""Told apart by color-blind readers too (Okabe and Ito)."""


def draw_accuracy(records: Sequence[Record]) -> bytes:
    """Return a PNG of accuracy by length, with the published figures as bars over their bins."""
    run = next(record for record in records if isinstance(record, RunRecord))
    lengths = [record for record in records if isinstance(record, LengthRecord)]
    figure = Figure(figsize=(8, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    first, last = run.train_lengths
    axes.axvspan(first - 0.5, last + 0.5, color="#0072b2", alpha=0.08, lw=0)
    axes.text((first + last) / 2, 104, "trained lengths", ha="center", va="bottom", fontsize=9)
    published = (
        ("published", f"{run.model} (published)", PUBLISHED, "--"),
        ("published_transformer", "transformer (published)", TRANSFORMER, ":"),
    )
    for field, label, color, style in published:
        bins = [r for r in records if isinstance(r, BinRecord) and getattr(r, field) is not None]
        if bins:
            axes.hlines(
                [getattr(record, field) for record in bins],
                [record.lower for record in bins],
                [record.upper for record in bins],
                color=color,
                linestyle=style,
                lw=2.5,
                label=label,
            )
    axes.plot(
        [record.length for record in lengths],
        [record.accuracy for record in lengths],
        marker="o",
        markersize=3,
        lw=1.5,
        color=OURS,
        label=f"{run.model} (here)",
    )
    axes.set_xlabel("length, in symbols")
    axes.set_ylabel(f"{'samples' if run.is_task else 'words'} right at every position, %")
    axes.set_ylim(-4, 114)
    axes.set_yticks(range(0, 101, 20))
    title = f"{run.subject}: {run.model} with {run.layers} layers"
    axes.set_title(title, loc="left", parse_math=False)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
