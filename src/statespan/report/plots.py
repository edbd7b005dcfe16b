"""Pictures of records."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from statespan.records import (
    BinRecord,
    ErrorRecord,
    LengthRecord,
    PositionRecord,
    Record,
    RunRecord,
)

__all__ = ["draw_accuracy", "draw_errors"]

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


def draw_errors(records: Sequence[Record]) -> bytes:
    """Return a PNG of the mean squared error by position, with that of the baseline beside it."""
    run = next(record for record in records if isinstance(record, RunRecord))
    baseline = next(record.baseline for record in records if isinstance(record, ErrorRecord))
    points = [record for record in records if isinstance(record, PositionRecord)]
    figure = Figure(figsize=(8, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axvspan(0.5, run.train_lengths[1] + 0.5, color=OURS, alpha=0.08, lw=0)
    places = [record.position for record in points]
    lines = (
        (f"{run.model} (here)", [r.squared_error / r.samples for r in points], OURS, "-"),
        (baseline, [r.baseline_squared_error / r.samples for r in points], PUBLISHED, "--"),
    )
    for label, values, color, style in lines:
        axes.plot(places, values, color=color, linestyle=style, lw=1.5, label=label)
    axes.set_xlabel("inputs so far (shaded: trained)")
    axes.set_ylabel("mean squared error")
    axes.set_ylim(bottom=0)
    title = f"{run.subject}: {run.model} with {run.layers} layers"
    axes.set_title(title, loc="left", parse_math=False)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper right", frameon=False, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
