"""Draw what the rows of the reproduction found beside what the paper reports.

python experiments/expansion_span/page.py

It reads `results/*.jsonl` and `published.toml`, and writes `results/README.md` and
`results/recall.png`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, TypeAlias

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from run import HERE, MAIN, RESULTS

from statespan.records import (
    PerplexityRecord,
    RecallRecord,
    RulerRecord,
    RunDirectory,
    read_toml,
)
from statespan.records import write_atomically as write

Read: TypeAlias = PerplexityRecord | RulerRecord | RecallRecord
READ = (PerplexityRecord, RulerRecord, RecallRecord)

SCALE = 4
"""The paper's model was made for 4 times the tokens that this one was made for."""
STYLES = {
    "untrained": ("#999999", ":"),
    "full": ("#000000", "--"),
    "sliding": ("#56b4e9", "-."),
    "s2": ("#cc79a7", "-."),
    "span": ("#d55e00", "-"),
    "random": ("#e69f00", "-"),
    "no_memory": ("#009e73", "-"),
    "lora": ("#0072b2", ":"),
    "lora_plus": ("#0072b2", "-."),
}
"""The rows in the picture, told apart by color-blind readers too (Okabe and Ito)."""
TRAINED = 2_048
"""Tokens of a row in training."""


@dataclass(frozen=True, slots=True)
class Ordering:
    """An ordering of the paper: row `better` is above row `worse`, by the mean over lengths.

    `lengths` are those up to `TRAINED` ("trained"), those beyond it ("longer"), or "all".
    """

    claim: str
    better: str
    worse: str
    measure: Literal["recall", "perplexity"] = "recall"
    lengths: Literal["all", "trained", "longer"] = "all"
    or_equal: bool = False

    def has(self, length: int) -> bool:
        """Return whether a length, of a model made for this one's tokens, is one of them."""
        return self.lengths == "all" or (length <= TRAINED) == (self.lengths == "trained")

    def lead(self, better: float, worse: float) -> float:
        """Return by how much the better one is better; a lower perplexity is."""
        return better - worse if self.measure == "recall" else worse - better


ORDERINGS = (
    Ordering("span beats random", "span", "random"),
    Ordering("random beats no memory", "random", "no_memory"),
    Ordering(
        "random chunks are at least as good as short ones", "span", "short_chunk", or_equal=True
    ),
    Ordering(
        "random chunks are at least as good as long ones", "span", "long_chunk", or_equal=True
    ),
    Ordering("the mean attention output beats the landmark", "span", "landmark"),
    Ordering("span beats sliding", "span", "sliding"),
    Ordering("span beats S2", "span", "s2"),
    Ordering("span beats full up to the length of training", "span", "full", lengths="trained"),
    Ordering("full beats span beyond it", "full", "span", lengths="longer"),
    Ordering("HyLoRA beats LoRA+", "span", "lora_plus"),
    Ordering("LoRA+ beats LoRA", "lora_plus", "lora"),
    Ordering("LoRA+ has a lower perplexity than HyLoRA", "lora_plus", "span", "perplexity"),
    Ordering("LoRA has a lower perplexity than LoRA+", "lora", "lora_plus", "perplexity"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One row read with one attention, by length, one number a seed.

    `recall` is the mean of three tasks of RULER and of `lists`, which is given by itself, too.
    """

    name: str
    attention: str
    recall: dict[int, list[float]]
    lists: dict[int, list[float]]
    perplexity: dict[int, list[float]]

    def mean(self, length: int) -> float:
        """Return the mean recall at a length over the seeds."""
        return fmean(self.recall[length])

    def by_seed(self, ordering: Ordering) -> list[float]:
        """The mean of what an ordering is by, of each seed that has all its lengths."""
        numbers = self.recall if ordering.measure == "recall" else self.perplexity
        counted = [values for length, values in numbers.items() if ordering.has(length)]
        return [fmean(values) for values in zip(*counted, strict=False)]


def read_rows() -> list[Row]:
    """Return what was found, the main rows first."""
    directory = RunDirectory(RESULTS)
    found: dict[tuple[str, str], Row] = {}
    names = sorted({path.stem.rsplit("-", 1)[0] for path in RESULTS.glob("*.jsonl")})
    ordered = [*(name for name in MAIN if name in names), *(n for n in names if n not in MAIN)]
    for name in ordered:
        for path in sorted(RESULTS.glob(f"{name}-*.jsonl")):
            records = directory.read_records(path.name)
            for attention in dict.fromkeys(r.attention for r in records if isinstance(r, READ)):
                kind = attention.split(",")[0]
                row = found.setdefault((name, kind), Row(name, kind, {}, {}, {}))
                _add(row, [r for r in records if isinstance(r, READ) and r.attention == attention])
    return list(found.values())


def _add(row: Row, records: Sequence[Read]) -> None:
    """Add to a row what one seed of it found."""
    for length in sorted({record.length for record in records}):
        own = [record for record in records if record.length == length]
        scores = [record.score for record in own if isinstance(record, RulerRecord)]
        lists = [record.accuracy for record in own if isinstance(record, RecallRecord)]
        row.recall.setdefault(length, []).append(fmean([*scores, *lists]))
        row.lists.setdefault(length, []).append(fmean(lists))
        for record in own:
            if isinstance(record, PerplexityRecord):
                row.perplexity.setdefault(length, []).append(record.perplexity)


def cell(values: Sequence[float], digits: int = 1) -> str:
    """Return a mean, and half of the range over the seeds where there are several."""
    if not values:
        return "–"
    half = (max(values) - min(values)) / 2
    return f"{fmean(values):.{digits}f}" + (f" ± {half:.{digits}f}" if len(values) > 1 else "")


def recall_table(rows: Sequence[Row], published: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the table of recall."""
    lengths = sorted({length for row in rows for length in row.recall})
    paper = published["lengths"]
    heads = [f"{length:,}" for length in lengths] + [f"paper, {length:,}" for length in paper]
    yield "| row | read with | seeds | " + " | ".join(heads) + " |"
    yield "| --- | --- | ---: |" + " ---: |" * len(heads)
    for row in rows:
        ours = [cell(row.recall.get(length, [])) for length in lengths]
        theirs = published["ruler"].get(row.name) if row.attention == "full" else None
        beside = [f"{value:.1f}" for value in theirs] if theirs else ["–"] * len(paper)
        seeds = len(next(iter(row.recall.values())))
        yield f"| {row.name} | {row.attention} | {seeds} | " + " | ".join([*ours, *beside]) + " |"


def list_table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table of the task that takes attention."""
    lengths = sorted({length for row in rows for length in row.lists})
    yield "| row | read with | " + " | ".join(f"{length:,}" for length in lengths) + " |"
    yield "| --- | --- |" + " ---: |" * len(lengths)
    for row in rows:
        cells = [cell(row.lists.get(length, [])) for length in lengths]
        yield f"| {row.name} | {row.attention} | " + " | ".join(cells) + " |"


def perplexity_table(rows: Sequence[Row], published: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the table of perplexity."""
    lengths = sorted({length for row in rows for length in row.perplexity})
    heads = [f"{length:,}" for length in lengths]
    heads += [f"paper, {SCALE * length:,}" for length in lengths]
    yield "| row | read with | " + " | ".join(heads) + " |"
    yield "| --- | --- |" + " ---: |" * len(heads)
    for row in rows:
        ours = [cell(row.perplexity.get(length, []), 2) for length in lengths]
        theirs = published["perplexity"].get(row.name) if row.attention == "full" else None
        shown = ["–" if isnan(value) else f"{value:.2f}" for value in theirs or []]
        beside = shown or ["–"] * len(lengths)
        yield f"| {row.name} | {row.attention} | " + " | ".join([*ours, *beside]) + " |"


def paper_lead(ordering: Ordering, published: dict[str, Any]) -> float:
    """Return the paper's difference, over the lengths at which it measured both."""
    source = published["ruler" if ordering.measure == "recall" else "perplexity"]
    lengths = published["lengths"]
    one, other = source[ordering.better], source[ordering.worse]
    pairs = [
        (better, worse)
        for length, better, worse in zip(lengths, one, other, strict=True)
        if ordering.has(length // SCALE) and not (isnan(better) or isnan(worse))
    ]
    return fmean(ordering.lead(*pair) for pair in pairs)


def ordering_lines(rows: Sequence[Row], published: dict[str, Any]) -> Iterator[str]:
    """Yield, for each of the paper's orderings, whether it holds here."""
    by_name = {row.name: row for row in rows if row.attention == "full"}
    kept: dict[str, list[str]] = {"every": [], "some": [], "no": []}
    yield "| ordering, by the mean over the lengths | paper | here | seeds where it holds |"
    yield "| --- | ---: | ---: | ---: |"
    for ordering in ORDERINGS:
        if ordering.better not in by_name or ordering.worse not in by_name:
            continue
        better, worse = (
            by_name[name].by_seed(ordering) for name in (ordering.better, ordering.worse)
        )
        leads = [ordering.lead(*pair) for pair in zip(better, worse, strict=False)]
        holds, digits = (
            sum(lead > 0 or (lead == 0 and ordering.or_equal) for lead in leads),
            1 + (ordering.measure == "perplexity"),
        )
        yield (
            f"| {ordering.claim} | {paper_lead(ordering, published):+.{digits}f} | "
            f"{fmean(leads):+.{digits}f} | {holds} of {len(leads)} |"
        )
        kept["every" if holds == len(leads) else "some" if holds else "no"].append(ordering.claim)
    yield ""
    yield from (f"In {which} seed: {'; '.join(claims)}.\n" for which, claims in kept.items())
    yield OUTLOOK


def draw(rows: Sequence[Row], published: dict[str, Any]) -> bytes:
    """Return a PNG: recall by length, here and in the paper."""
    figure = Figure(figsize=(11, 4.4), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    here, paper = figure.subplots(1, 2, sharey=True)
    for row in rows:
        if row.name not in STYLES or row.attention != "full":
            continue
        color, style = STYLES[row.name]
        lengths = sorted(row.recall)
        here.plot(
            lengths,
            [row.mean(length) for length in lengths],
            color=color,
            ls=style,
            marker="o",
            ms=3,
            label=row.name,
        )
        if row.name in published["ruler"]:
            values = published["ruler"][row.name]
            paper.plot(published["lengths"], values, color=color, ls=style, marker="o", ms=3)
    here.set_title("here: 2 M parameters, trained on 2,048 tokens", loc="left", fontsize=10)
    paper.set_title("Nunez et al. 2024: 2.7 B, trained on 8,192 tokens", loc="left", fontsize=10)
    here.set_ylabel("mean of the recall tasks, %")
    for axes in (here, paper):
        axes.set_xscale("log", base=2)
        axes.set_xlabel("length, tokens")
        axes.set_ylim(-3, 103)
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    here.legend(fontsize=8)
    content = io.BytesIO()
    figure.savefig(content, format="png", metadata={"Software": None})
    return content.getvalue()


HEAD = """\
# Expansion Span at a small scale

Made by `page.py` from the records in this folder; each row is `base.toml` with its file in `rows/`
put over it, run by `run.py`. Recall is the mean of four tasks, 50 samples each, in percent: three
of RULER (one needle in noise; in prose, four values of one key, and four needles of four) and
`lists`, keys and values in text, as many as the length has room for. With several seeds, ± half of
their range. Beside it: the paper's mean of eleven tasks of RULER at four times the lengths.

![recall by length](recall.png)
"""


OUTLOOK = """\
A seed draws the same samples for each row, so that rows differ by less than the ± of their seeds. A
training with span-expanded, random, sliding or full attention, with short or long chunks alone, or
with no memory at all ends within a point and a half of the others at every length: this model
carries needles in the state of its Mamba-2 layers, so that what its attention sees in training
hardly counts, and most leads above are of no weight. What does count is what trains: LoRA alone
gains little, LoRA+ and HyLoRA, which train embeddings and norms, too, most. Only the lists take
attention, and there what sees more in training is better at 2,048 tokens (full and sliding 12, the
others 8 to 11, S2 4). Of LoRA, LoRA+ and HyLoRA each has a lower perplexity and, on the mean, more
recall than the one before; in the paper perplexity ranks them the other way."""


def main() -> None:
    """Write the page and its picture."""
    rows, published = read_rows(), read_toml(HERE / "published.toml")
    parts = [
        HEAD,
        "## Recall\n",
        *recall_table(rows, published),
        "\n## Lists of keys and values alone\n",
        *list_table(rows),
        "\n## Perplexity (Persuasion)\n",
        *perplexity_table(rows, published),
        "\n## Which of the paper's orderings hold\n",
        *ordering_lines(rows, published),
    ]
    write(Path(RESULTS / "README.md"), ("\n".join(parts) + "\n").encode())
    write(RESULTS / "recall.png", draw(rows, published))


if __name__ == "__main__":
    main()
