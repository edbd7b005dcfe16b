"""A training from scratch on text: its picture, and its tables."""

from __future__ import annotations

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table

from statespan.records import HeldOutRecord, PretrainingRecord, Record, TokensRecord
from statespan.report.tables import percent

__all__ = ["draw_pretraining", "held_out_table", "pretraining_line"]

PROSE = "prose"
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Told apart by color-blind readers too (Okabe and Ito)."""
MILLION = 1_000_000


def pretraining_line(records: Sequence[Record]) -> str:
    """Return what was trained, in one line."""
    run = next(record for record in records if isinstance(record, PretrainingRecord))
    return (
        f"{run.model}, {run.layers} blocks, {run.parameters:,} parameters: {run.steps:,} steps, "
        f"{run.tokens:,} tokens, at most {run.context} in a row"
    )


def held_out_table(records: Sequence[Record]) -> Table:
    """Return the table of what the model reads and recalls of held-out documents."""
    table = Table(title="Held-out documents")
    for column in ("document", "tokens", "documents", "loss of a token", "answers", "right, %"):
        table.add_column(column, justify="left" if column == "document" else "right")
    for record in records:
        if isinstance(record, HeldOutRecord):
            recall = percent(record.accuracy) if record.answers else "–"
            sizes = (record.length, record.documents, f"{record.loss:.3f}", record.answers)
            table.add_row(record.document, *map(str, sizes), recall)
    return table


def draw_pretraining(records: Sequence[Record]) -> bytes:
    """Return a PNG of the losses, and of the recall by kind of document, by tokens trained on."""
    trained = [record for record in records if isinstance(record, TokensRecord)]
    held_out = [record for record in records if isinstance(record, HeldOutRecord)]
    tokens = {record.step: record.tokens / MILLION for record in trained}
    figure = Figure(figsize=(10, 4.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    losses, recall = figure.subplots(1, 2)
    losses.plot(
        list(tokens.values()),
        [record.loss for record in trained],
        color="#999999",
        lw=1,
        label="training, as weighted",
    )
    _draw_losses(losses, held_out, tokens)
    _draw_recall(recall, held_out, tokens)
    for axes in (losses, recall):
        axes.set_xlabel("million tokens trained on")
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_losses(axes: Axes, held_out: Sequence[HeldOutRecord], tokens: dict[int, float]) -> None:
    chosen = [record for record in _longest(held_out) if record.document == PROSE]
    places = [tokens[record.step] for record in chosen]
    label = "held-out prose"
    axes.plot(places, [record.loss for record in chosen], color=COLORS[0], lw=1.5, label=label)
    axes.set_ylabel("loss of a token, nats")


def _draw_recall(axes: Axes, held_out: Sequence[HeldOutRecord], tokens: dict[int, float]) -> None:
    chosen = [record for record in _longest(held_out) if record.document != PROSE]
    for index, name in enumerate(dict.fromkeys(record.document for record in chosen)):
        ours = [record for record in chosen if record.document == name]
        places = [tokens[record.step] for record in ours]
        color = COLORS[index % len(COLORS)]
        label = f"{name}, {ours[0].length} tokens"
        axes.plot(places, [record.accuracy for record in ours], color=color, lw=1.5, label=label)
    axes.set_ylabel("held-out answers right at every token, %")
    axes.set_ylim(-4, 104)


def _longest(records: Sequence[HeldOutRecord]) -> list[HeldOutRecord]:
    """Return the records of the greatest length."""
    length = max((record.length for record in records), default=0)
    return [record for record in records if record.length == length]
