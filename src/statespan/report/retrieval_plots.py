"""A picture of what attention looked back at."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from statespan.errors import InputError
from statespan.records import Record, RetrievalRecord

__all__ = ["draw_retrievals"]

CELLS: Final = 400
"""How many cells a panel has along each axis, at most."""


def draw_retrievals(records: Sequence[Record], *, row: int = 0) -> bytes:
    """Return a PNG: for each query what it retrieved, the past from left to right, a panel a layer.

    The darker, the more of the heads retrieved it. On the diagonal a query would see itself.

    Raises:
        InputError: nothing was retrieved in that row of the batch.
    """
    found = [item for item in records if isinstance(item, RetrievalRecord) and item.row == row]
    if not found:
        raise InputError(
            f"records must tell of a retrieval in row {row}; there is none where no chunk has a "
            "past, or where no blocks are chosen."
        )
    layers = sorted({record.layer for record in found})
    length = 1 + max(record.last for record in found)
    heads = 1 + max(max(record.heads) for record in found)
    columns = min(3, len(layers))
    lines = -(-len(layers) // columns)
    figure = Figure(figsize=(1 + 3.4 * columns, 3.4 * lines), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(lines, columns, squeeze=False).flatten()
    for axes, layer in zip(panels, layers, strict=False):
        _draw_layer(axes, [record for record in found if record.layer == layer], length, heads)
        axes.set_title(f"layer {layer}", loc="left")
    for axes in panels[len(layers) :]:
        axes.set_visible(False)
    bar = figure.colorbar(panels[0].images[0], ax=list(panels), shrink=0.8)
    bar.set_label("heads that retrieved it, %")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _draw_layer(axes: Axes, records: list[RetrievalRecord], length: int, heads: int) -> None:
    size = -(-length // CELLS)  # of a cell, in tokens
    shares = np.zeros((-(-length // size),) * 2)
    for record in records:
        for first, last in record.keys:
            queries = slice(record.first // size, record.last // size + 1)
            shares[queries, first // size : last // size + 1] += 100 * len(record.heads) / heads
    axes.imshow(
        shares.clip(max=100), cmap="Blues", vmin=0, vmax=100, interpolation="nearest",
        extent=(-0.5, length - 0.5, length - 0.5, -0.5),
    )  # fmt: skip
    axes.plot([0, length - 1], [0, length - 1], color="#999999", lw=0.8)
    axes.set_xlabel("retrieved position")
    axes.set_ylabel("query position")
    axes.spines[["top", "right"]].set_visible(False)
