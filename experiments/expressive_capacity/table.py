"""Write `results/README.md`: what the finished cells reached, beside the published figures.

python experiments/expressive_capacity/table.py

It reads the records under `results/`, and what the two scripts left in `curves/`. A cell of a table
has the percent of test words with the exact set of next symbols at every position, bin by bin.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

from flip_flop import PUBLISHED

from statespan.records import (
    BinRecord,
    OutcomeRecord,
    RunDirectory,
    RunRecord,
    read_bytes,
    write_atomically,
)
from statespan.report.tables import percent

HERE = Path(__file__).parent
RESULTS, CURVES = HERE / "results", HERE / "curves"
GROUPS = {
    "Star-free languages": ("star_free", "star_free_more"),
    "Languages that are not star-free": ("non_star_free", "positional"),
    "Counter languages": ("counters",),
}
"""The sweeps of Mamba as published, by the groups of the paper's table."""


@dataclass(frozen=True)
class Run:
    """A finished cell."""

    sweep: str
    config: dict[str, Any]
    head: RunRecord
    bins: list[BinRecord]
    seconds: float

    @cached_property
    def accuracies(self) -> list[float]:
        """Bin by bin, in percent."""
        return [record.accuracy for record in self.bins]

    @property
    def name(self) -> str:
        """What was trained, where it is not as published."""
        at_one = self.config["model"].get("fading") == "none"
        if not at_one:
            return self.head.model
        layers = f"{self.head.layers} layer{'s' * (self.head.layers > 1)}"
        return f"{self.head.model}, {layers}, gates begin at 1"

    @property
    def rank(self) -> list[float]:
        """What makes a run the better one: its furthest bin, then the one before."""
        return self.accuracies[::-1]


Choose: TypeAlias = Callable[[Run], bool]


def read_runs() -> Iterator[Run]:
    """Yield all finished cells."""
    for path in sorted(RESULTS.glob("*/*/records.jsonl")):
        directory = RunDirectory(path.parent)
        records = directory.read_records("records.jsonl")
        ends = directory.read_records("cell.jsonl")
        yield Run(
            path.parent.parent.name,
            directory.config_table(),
            next(r for r in records if isinstance(r, RunRecord)),
            [r for r in records if isinstance(r, BinRecord)],
            sum(r.seconds for r in ends if isinstance(r, OutcomeRecord)),
        )


def best(runs: Sequence[Run], choose: Choose) -> Run | None:
    """Return the best of the runs that `choose` takes."""
    return max(filter(choose, runs), key=lambda run: run.rank, default=None)


def show(values: Sequence[float | None]) -> str:
    """Return the percentages of all bins, as one cell."""
    return " / ".join("–" if value is None else percent(value) for value in values)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def languages(runs: Sequence[Run], sweeps: Sequence[str]) -> list[str]:
    """Return the languages of some sweeps, in the order of the alphabet."""
    return sorted({run.head.language for run in runs if run.sweep in sweeps})


def suite(runs: Sequence[Run], sweeps: Sequence[str]) -> str:
    """Return Mamba with 1, 2 and 3 layers, beside the published figures."""
    rows = []
    for language in languages(runs, sweeps):
        own = [run for run in runs if run.head.language == language and run.sweep in sweeps]
        row = [language, show([record.published_transformer for record in own[0].bins])]
        for layers in (1, 2, 3):
            found = best(own, lambda r, n=layers: (r.name, r.head.layers) == ("mamba", n))
            row += (
                ["", ""]
                if found is None
                else [
                    show([record.published for record in found.bins]),
                    show(found.accuracies),
                ]
            )
        rows.append(row)
    titles = [f"{n} {what}" for n in (1, 2, 3) for what in ("published", "here")]
    return table(["language", "transformer, published", *titles], rows)


def others(runs: Sequence[Run], sweeps: Sequence[str]) -> str:
    """Return the best of every other architecture, on the languages that it was tried on."""
    own = [run for run in runs if run.sweep in sweeps and run.name != "mamba"]
    names = sorted({run.name for run in own})
    rows = []
    for language in languages(own, sweeps):
        here = [run for run in own if run.head.language == language]
        found = [best(here, lambda r, n=name: r.name == n) for name in names]
        rows.append([language, *("" if run is None else show(run.accuracies) for run in found)])
    return table(["language", *names], rows)


def trained_on(run: Run, decays: bool) -> bool:
    """Return whether compiled weights were trained on, with a weight decay or without."""
    return (
        run.sweep == "counters_compiled" and (run.config["training"]["weight_decay"] > 0) == decays
    )


COUNTERS: dict[str, Choose] = {
    "begun as published": lambda r: r.sweep == "counters",
    "more state": lambda r: r.sweep == "counters_state",
    "a penalty on fading": lambda r: r.sweep == "counters_penalty",
    "words twice as long": lambda r: r.sweep == "counters_longer" and r.name == "mamba",
    "gates begin at 1": lambda r: r.sweep.startswith("counters_gates_at_one"),
    "compiled diagonal, trained": lambda r: r.head.model == "diagonal" and trained_on(r, False),
    "the same, decaying": lambda r: r.head.model == "diagonal" and trained_on(r, True),
    "compiled Mamba, trained": lambda r: r.head.model == "mamba" and trained_on(r, False),
    "compiled Mamba, as it is": lambda r: r.sweep == "compiled",
}
"""What was tried to make counters generalize."""


def counters(runs: Sequence[Run]) -> str:
    """Return the best run of each way to make counters generalize."""
    rows = []
    for language in languages(runs, ["counters_gates_at_one"]):
        own = [run for run in runs if run.head.language == language]
        found = [best(own, choose) for choose in COUNTERS.values()]
        rows.append([language, *("" if run is None else show(run.accuracies) for run in found)])
    return table(["language", *COUNTERS], rows)


def times(runs: Sequence[Run]) -> str:
    """Return how many cells each sweep has, and how long they took."""
    rows = []
    for sweep in sorted({run.sweep for run in runs}):
        seconds = [run.seconds for run in runs if run.sweep == sweep]
        longest = f"{max(seconds) / 60:.1f}"
        rows.append([sweep, str(len(seconds)), f"{sum(seconds) / 60:.1f}", longest])
    whole = sum(run.seconds for run in runs) / 60
    rows.append(["all", str(len(runs)), f"{whole:.1f}", ""])
    return table(
        ["sweep", "cells", "minutes of one core, in all, where known", "longest cell"], rows
    )


PUBLISHED_FLIP_FLOP = [
    *("1, published", "1e-05", "0.1", "spread"),
    *(f"100 after {PUBLISHED[ignore]:,}" for ignore in (0.8, 0.98)),
    *("–", "about 960,000"),
]


def flip_flop() -> str:
    """Return how far each run came on each language of flip-flop, and when."""
    rows = []
    for path in sorted(CURVES.glob("flip-flop-*.jsonl")):
        steps = [json.loads(line) for line in read_bytes(path).splitlines()]
        found = []
        for key in ("0.8", "0.98", "0.1"):
            best = max(steps, key=lambda row, k=key: row[k])
            found.append(f"{percent(best[key])} after {best['step']:,}")
        rows.append([*path.stem.split("-", 5)[2:], *found, f"{steps[-1]['step']:,}"])
    rows.append(PUBLISHED_FLIP_FLOP)
    header = ["layers", "rate", "weight decay", "fading", "FFL(0.8)", "FFL(0.98)", "FFL(0.1)"]
    return table([*header, "steps in all"], rows)


def bounded_dyck() -> str:
    """Return close accuracy by width, layers and rate."""
    path = CURVES / "bounded-dyck.jsonl"
    found = [json.loads(line) for line in read_bytes(path).splitlines()] if path.exists() else []
    rows = [
        [
            *(f"{row[key]:g}" for key in ("layers", "rate", "width")),
            f"{row['tokens'] / 1e6:g}",
            *(f"{row[key]:.4f}" for key in ("short", "long")),
            "–" if row["published_long"] is None else f"{row['published_long']:.4f}",
        ]
        for row in sorted(found, key=itemgetter("layers", "rate", "width", "tokens"))
    ]
    header = ["layers", "rate", "width", "million tokens", "2–700", "702–1,400"]
    header += ["published, 701–1,400, of 30 to 40 million"]
    return table(header, rows)


def main() -> None:
    runs = list(read_runs())
    parts = ["# What was found", "Written by `table.py` from the records in this folder."]
    for title, sweeps in GROUPS.items():
        parts += [f"## {title}: Mamba with 1, 2 and 3 layers", suite(runs, sweeps)]
        if any(run.sweep in sweeps and run.name != "mamba" for run in runs):
            parts += [f"## {title}: what else was trained", others(runs, sweeps)]
    short = others(runs, ("positional_short",))
    parts += ["## Trained on up to 50 symbols: those, up to 500, up to 600", short]
    parts += ["## What makes counters generalize: the best of each way", counters(runs)]
    parts += ["## Flip-flop, 512 symbols: the best, and after how many steps", flip_flop()]
    parts += ["![accuracy by steps](flip-flop.png)"]
    parts += ["## Dyck(8, 10): close accuracy", bounded_dyck()]
    parts += ["![close accuracy by width](bounded-dyck.png)"]
    parts += ["## Time", times(runs)]
    write_atomically(RESULTS / "README.md", ("\n\n".join(parts) + "\n").encode())


if __name__ == "__main__":
    main()
