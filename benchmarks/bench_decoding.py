"""The cost of one more token: attention with the stock cache, and with `SpanState`.

One layer's attention alone, batch 1, float32. The stock side does what `DynamicLayer` of
`transformers` does: it concatenates all keys and values with the new ones, and attends to them all
(`scaled_dot_product_attention`). The span side has chunks of 2,048 tokens, blocks of 32 and 8
retrieved ones a decision. Its cost depends on the place in the chunk, so all tokens measured stand
in the middle of one. Figures are medians of the tokens; wall time and process time are both given.
With several threads, where a system puts them decides for a whole process: `--runs` measures in
several processes, one after the other, and gives the medians over them, of ratios as well.
The context is put in without computing its own attention, which nothing here reads.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from machine import describe_machine
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from statespan.memory import RECALL, SlidingAttention, SpanAttention, SpanState
from statespan.memory.protocol import Attention

CHUNK, BLOCK, TOP_K, HEADS, WIDTH = 2_048, 32, 8, 8, 64
LENGTHS = [2_048, 4_096, 8_192, 16_384, 32_768, 65_536, 131_072]
RESULTS = Path(__file__).parent / "results" / "decoding.json"
Row = dict[str, Any]


def configs() -> dict[str, Attention]:
    """Return what is measured, by name."""
    found: dict[str, Attention] = {"sliding": SlidingAttention(CHUNK), "recall": RECALL}
    selections: tuple[Any, ...] = ("previous", "running", "token")
    for selection in selections:
        for summary in ("key", "attention"):
            found[f"{selection}, {summary}"] = SpanAttention(
                chunk=CHUNK, block=BLOCK, top_k=TOP_K, selection=selection, summary=summary
            )
    return found


def draw(length: int, kv_heads: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return random queries, keys and values."""
    query, key, value = (
        torch.randn(1, heads, length, WIDTH, generator=generator)
        for heads in (HEADS, kv_heads, kv_heads)
    )
    return query, key, value


def medians(
    extend: Callable[[Tensor, Tensor, Tensor], object], kv_heads: int, tokens: int
) -> dict[str, float]:
    """Return microseconds of wall and process time of a token, the first few left out."""
    generator = torch.Generator().manual_seed(1)
    wall, process = [], []
    for _ in range(tokens + 4):
        inputs = draw(1, kv_heads, generator)
        begin = (time.perf_counter(), time.process_time())
        extend(*inputs)
        wall.append(time.perf_counter() - begin[0])
        process.append(time.process_time() - begin[1])
    return {
        "wall": 1e6 * statistics.median(wall[4:]),
        "process": 1e6 * statistics.median(process[4:]),
    }


class StockCache:
    """All keys and values, concatenated anew for each token."""

    def __init__(self, key: Tensor, value: Tensor) -> None:
        self.key, self.value = key, value

    def extend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Append tokens and return their attention."""
        self.key = torch.cat((self.key, key), dim=2)
        self.value = torch.cat((self.value, value), dim=2)
        return scaled_dot_product_attention(query, self.key, self.value, enable_gqa=True)


def rows_of(length: int, kv_heads: int, tokens: int, names: list[str]) -> Iterator[Row]:
    """Yield a row for the stock cache and for each config, at one length of the context."""
    context = draw(length - CHUNK // 2, kv_heads, torch.Generator().manual_seed(0))
    facts = {"length": length, "kv_heads": kv_heads}
    stock = StockCache(*context[1:])
    yield {**facts, "name": "stock", "microseconds": medians(stock.extend, kv_heads, tokens // 4)}
    del stock
    for name in names:
        state = SpanState(configs()[name])
        with patch("statespan.memory.state.span_attention", lambda query, *_, **__: query):
            state.extend(*context)
        yield {**facts, "name": name, "microseconds": medians(state.extend, kv_heads, tokens)}


def ratios(rows: list[Row]) -> list[Row]:
    """Return what each side costs beside itself at 4,096 tokens, and beside the stock cache."""
    costs = {(row["name"], row["kv_heads"], row["length"]): row["microseconds"] for row in rows}
    found = []
    for (name, kv_heads, length), spent in costs.items():
        short = costs.get((name, kv_heads, 4_096))
        stock = costs["stock", kv_heads, length]
        row: Row = {"name": name, "kv_heads": kv_heads, "length": length}
        row["stock_over_this"] = {kind: stock[kind] / spent[kind] for kind in spent}
        if short is not None:
            row["over_4096"] = {kind: spent[kind] / short[kind] for kind in spent}
        found.append(row)
    return found


def medians_of_runs(runs: list[list[Row]], key: str) -> list[Row]:
    """Return rows with the medians of numbers under `key` over runs, and the runs' wall times."""
    found = []
    for rows in zip(*runs, strict=True):
        if key not in rows[0]:
            found.append(rows[0])
            continue
        kinds = {kind: statistics.median(row[key][kind] for row in rows) for kind in rows[0][key]}
        found.append({**rows[0], key: kinds, "runs": [row[key]["wall"] for row in rows]})
    return found


def measure_in_processes(runs: int, out: Path) -> None:
    """Measure as the command line says, in a process a run, and write the medians."""
    command = [sys.executable, *sys.argv, "--runs", "1", "--out"]
    with tempfile.TemporaryDirectory() as folder:
        places = [Path(folder) / f"{run}.json" for run in range(runs)]
        for place in places:
            subprocess.run([*command, str(place)], check=True)
        facts = [json.loads(place.read_text()) for place in places]
    rows = medians_of_runs([each["rows"] for each in facts], "microseconds")
    of_runs = medians_of_runs([each["ratios"] for each in facts], "over_4096")
    settings = {"runs": runs, "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "not set")}
    machine = facts[0]["machine"] | settings
    out.write_text(
        json.dumps({"machine": machine, "rows": rows, "ratios": of_runs}, indent=2) + "\n"
    )


def main() -> None:
    """Measure, print each row and, if asked, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--kv-heads", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--names", nargs="+", choices=configs(), default=list(configs()))
    parser.add_argument("--tokens", type=int, default=60, help="tokens of which medians are taken")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=int, default=1, help="processes that measure in turn")
    parser.add_argument("--out", type=Path, default=RESULTS, help="a JSON file for the figures")
    arguments = parser.parse_args()
    if arguments.runs > 1:
        measure_in_processes(arguments.runs, arguments.out)
        return
    torch.set_num_threads(arguments.threads)
    rows: list[Row] = []
    with torch.inference_mode():
        for kv_heads in arguments.kv_heads:
            for length in arguments.lengths:
                for row in rows_of(length, kv_heads, arguments.tokens, arguments.names):
                    rows.append(row)
                    print(json.dumps(row), flush=True)
                    write(arguments.out, rows)
    for row in ratios(rows):
        print(json.dumps(row), flush=True)


def write(path: Path, rows: list[Row]) -> None:
    """Write what has been measured so far, with the machine."""
    path.parent.mkdir(exist_ok=True)
    machine = describe_machine() | {"threads": torch.get_num_threads()}
    facts = {"machine": machine, "rows": rows, "ratios": ratios(rows)}
    path.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
