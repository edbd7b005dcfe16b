"""Pictures of an evaluation of a long-context model."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from statespan.records import PerplexityRecord, RecallRecord, Record, RulerRecord
from statespan.report.evaluation_tables import lengths_of_all, ruler_average

__all__ = ["draw_perplexity", "draw_recall", "draw_ruler"]

COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")
"""Told apart by color-blind readers too (Okabe and Ito)."""

STYLES = ("-", "--", ":", "-.")


def draw_perplexity(records: Sequence[Record]) -> bytes:
    """Return a PNG: perplexity by length, and by position in windows of each length."""
    found = [record for record in records if isinstance(record, PerplexityRecord)]
    attentions = list(dict.fromkeys(record.attention for record in found))
    lengths = sorted({record.length for record in found})
    figure = _figure(11)
    left, right = figure.subplots(1, 2)
    for name, color in zip(attentions, cycle(COLORS), strict=False):
        own = sorted((r for r in found if r.attention == name), key=lambda r: r.length)
        left.plot(
            [r.length for r in own], [r.perplexity for r in own], "o-", color=color, label=name
        )
        for record in own:
            style = STYLES[lengths.index(record.length) % len(STYLES)]
            middles = [(part.begin + part.end) / 2 for part in record.positions]
            values = [part.perplexity for part in record.positions]
            label = f"{name}, {record.length:,}"
            right.plot(middles, values, style, color=color, lw=1.3, label=label)
    _label(left, "perplexity by length", "tokens of a window", "perplexity of a token")
    _label(right, "by position in the window", "position, in tokens", "perplexity of a token")
    _length_axis(left, lengths)
    return _png(figure)


def draw_ruler(records: Sequence[Record]) -> bytes:
    """Return a PNG: RULER's score by length, for each group of tasks and for all of them."""
    found = [record for record in records if isinstance(record, RulerRecord)]
    attentions = list(dict.fromkeys(record.attention for record in found))
    lengths = sorted({record.length for record in found})
    groups = list(dict.fromkeys(record.group for record in found))
    panels = [(group, [r for r in found if r.group == group]) for group in groups]
    if len(groups) > 1:
        panels.insert(0, ("average", found))
    figure = _figure(3.6 * min(3, len(panels)), height=3.2 * -(-len(panels) // 3))
    grid = figure.subplots(-(-len(panels) // 3), min(3, len(panels)), squeeze=False).flatten()
    for axes, (title, members) in zip(grid, panels, strict=False):
        for number, (name, color) in enumerate(zip(attentions, cycle(COLORS), strict=False)):
            own = [r for r in members if r.attention == name]
            there = lengths_of_all(own)
            scores = [ruler_average(own, length) for length in there]
            axes.plot(there, scores, "o-", color=color, label=name, **_narrower(number))
        tasks = len({r.task for r in members})
        _label(axes, f"{title} ({tasks} task{'s' * (tasks > 1)})", "tokens", "score, %")
        axes.set_ylim(-4, 104)
        _length_axis(axes, lengths)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    return _png(figure)


def draw_recall(records: Sequence[Record]) -> bytes:
    """Return a PNG: recall by length and depth as a heat map, then the tasks without depths."""
    found = [record for record in records if isinstance(record, RecallRecord)]
    attentions = list(dict.fromkeys(record.attention for record in found))
    deep = [record for record in found if record.depth is not None]
    flat = [record for record in found if record.depth is None]
    maps = [name for name in attentions if any(r.attention == name for r in deep)]
    panels = len(maps) + bool(flat)
    figure = _figure(4.2 * panels)
    grid = figure.subplots(1, panels, squeeze=False)[0]
    for axes, name in zip(grid, maps, strict=False):
        _heat_map(figure, axes, name, [r for r in deep if r.attention == name])
    if flat:
        _curves(grid[-1], flat)
    return _png(figure)


def _heat_map(figure: Figure, axes: Axes, name: str, own: Sequence[RecallRecord]) -> None:
    lengths = sorted({record.length for record in own})
    depths = sorted({record.depth for record in own if record.depth is not None})
    values = {(record.length, record.depth): record.accuracy for record in own}
    cells = [[values.get((length, depth), float("nan")) for length in lengths] for depth in depths]
    image = axes.imshow(cells, vmin=0, vmax=100, cmap="viridis", aspect="auto")
    axes.set_xticks(range(len(lengths)), [f"{length:,}" for length in lengths])
    axes.set_yticks(range(len(depths)), [f"{100 * depth:.0f}" for depth in depths])
    axes.set_title(f"needle, {name}", loc="left", parse_math=False)
    axes.set_xlabel("tokens")
    axes.set_ylabel("depth of the needle, %")
    figure.colorbar(image, ax=axes, label="tokens of the value right, %")


def _curves(axes: Axes, flat: Sequence[RecallRecord]) -> None:
    tasks = list(dict.fromkeys(record.task for record in flat))
    attentions = list(dict.fromkeys(record.attention for record in flat))
    for task, style in zip(tasks, cycle(STYLES), strict=False):
        for number, (name, color) in enumerate(zip(attentions, cycle(COLORS), strict=False)):
            own = [r for r in flat if r.task == task and r.attention == name]
            own.sort(key=lambda record: record.length)
            x, y, label = [r.length for r in own], [r.accuracy for r in own], f"{task}, {name}"
            axes.plot(x, y, style, marker="o", color=color, label=label, **_narrower(number))
    _label(axes, "recall", "tokens", "positions right, %")
    axes.set_ylim(-4, 104)
    _length_axis(axes, sorted({record.length for record in flat}))


def _narrower(number: int) -> dict[str, Any]:
    """Return how the curve with a number is drawn: the later the narrower, so that all are seen."""
    return {"linewidth": max(1.0, 3.2 - 0.9 * number), "markersize": max(3.0, 8.5 - 2.0 * number)}


def _figure(width: float, *, height: float = 3.8) -> Figure:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", parse_math=False)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)


def _length_axis(axes: Axes, lengths: Sequence[int]) -> None:
    """Show the lengths themselves, on a logarithmic axis."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(lengths, minor=False)
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.minorticks_off()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
