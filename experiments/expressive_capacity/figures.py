"""Draw flip-flop by steps, and Dyck(8, 10) by width, beside the published figures.

python experiments/expressive_capacity/figures.py
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from bounded_dyck import PUBLISHED
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from statespan.records import read_bytes, write_atomically

HERE = Path(__file__).parent
CURVES, RESULTS = HERE / "curves", HERE / "results"
FLIP_FLOP: dict[str, tuple[list[int], list[float]]] = {
    "0.8": ([70_000, 75_000, 89_000, 97_000, 100_000, 103_000], [1, 10, 50, 90, 99, 100]),
    "0.98": ([3_000, 93_000, 114_000, 134_000, 137_000], [29.2, 50, 90, 99, 100]),
}
"""Steps of the published run of one layer, and the accuracy that it had reached."""

COLORS = {1e-4: "#0072b2", 1e-3: "#d55e00", 4e-3: "#009e73"}


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_bytes(path).splitlines()]


def flip_flop(axes: Axes, ignore: str) -> None:
    """Draw the accuracy on FFL(ignore) by steps, of each run and of the published one."""
    for path in sorted(CURVES.glob("flip-flop-*.jsonl")):
        rows = read_rows(path)
        layers, rate, decay, fading = path.stem.split("-", 5)[2:]
        label = f"{layers} layer{'s' * (layers > '1')}, rate {rate}, decay {decay}, fading {fading}"
        axes.plot([row["step"] for row in rows], [row[ignore] for row in rows], label=label)
    if ignore in FLIP_FLOP:
        axes.plot(*FLIP_FLOP[ignore], color="black", ls="--", marker="o", ms=3, label="published")
    axes.set_xscale("log")
    axes.set_xlim(200, 200_000)
    axes.set_xlabel("training steps of 32 words")
    axes.set_title(f"FFL({ignore})", loc="left", fontsize=10)


def bounded_dyck(axes: Axes, layers: int) -> None:
    """Draw close accuracy by width, of each rate, and what is published."""
    rows = [row for row in read_rows(CURVES / "bounded-dyck.jsonl") if row["layers"] == layers]
    for rate, tokens in sorted({(row["rate"], row["tokens"]) for row in rows}):
        here = sorted(
            (row["width"], 100 * row["long"])
            for row in rows
            if (row["rate"], row["tokens"]) == (rate, tokens)
        )
        mark = "o" if tokens < 1e7 else "s"
        label = f"rate {rate:g}, {tokens / 1e6:g} million tokens"
        axes.plot(*zip(*here, strict=True), color=COLORS[rate], marker=mark, ms=4, label=label)
    for (depth, rate), figures in PUBLISHED.items():
        if depth == layers:
            label, values = f"rate {rate:g}, published", [100 * each for each in figures.values()]
            axes.plot(
                list(figures), values, color=COLORS[rate], ls="--", marker="x", ms=4, label=label
            )
    axes.set_xlabel("width")
    axes.set_title(f"{layers} layer{'s' * (layers > 1)}", loc="left", fontsize=10)


def save(figure: Figure, path: Path) -> None:
    """Write the picture as a PNG."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_atomically(path, content.getvalue())


def panels(count: int, ylabel: str) -> tuple[Figure, list[Axes]]:
    """Return a figure of `count` panels that share their percentages."""
    figure = Figure(figsize=(4.2 * count, 4.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, count, sharey=True))
    for each in axes:
        each.grid(alpha=0.3)
    axes[0].set_ylabel(ylabel)
    return figure, axes


def main() -> None:
    figure, axes = panels(3, "words right at every position, %")
    for each, ignore in zip(axes, ("0.8", "0.98", "0.1"), strict=True):
        flip_flop(each, ignore)
    axes[2].legend(fontsize=7)
    save(figure, RESULTS / "flip-flop.png")
    figure, axes = panels(2, "close accuracy on 702 to 1,400 symbols, %")
    for each, layers in zip(axes, (1, 2), strict=True):
        bounded_dyck(each, layers)
        each.legend(fontsize=7)
    save(figure, RESULTS / "bounded-dyck.png")


if __name__ == "__main__":
    main()
