"""The attention of one layer, forward and backward: time and peak memory, by length.

Full attention (PyTorch's `scaled_dot_product_attention`), a sliding window, S², span-expanded
attention with blocks chosen by chunk, by previous chunk, running, and by token, and `RECALL`. All
of a length run in turns; figures are medians, wall time and process time both, of one run each
beyond 16,384 tokens. Beyond 8,192, full attention runs with fewer heads (`--full-heads`, no fewer
than threads, so that none is idle): its cost is per head. The growth of the peak memory over a
forward pass is that of a fresh process (Linux), beyond 16,384 tokens with fewer heads for all; what
is freed is given back at once there (glibc), so that holes in the heap do not count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from machine import describe_machine
from torch import Tensor

from statespan.memory import (
    RECALL,
    Attention,
    FullAttention,
    ShiftedAttention,
    SlidingAttention,
    SpanAttention,
    span_attention,
)

CHUNK, DIM = 2_048, 64
LENGTHS = (2_048, 4_096, 8_192, 16_384, 32_768, 65_536, 131_072)
MEMORY_LENGTHS = (4_096, 16_384, 131_072)
ALL_HEADS, REPEATED = 8_192, 16_384
"""Tokens up to which full attention has all heads, and up to which runs are repeated."""
RESULTS = Path(__file__).parent / "results" / "attention.json"
ATTENTIONS: dict[str, Attention] = {
    "full": FullAttention(),
    "sliding": SlidingAttention(CHUNK),
    "shifted": ShiftedAttention(CHUNK),
    "span, chunk": SpanAttention(chunk=CHUNK, selection="chunk"),
    "span, previous": SpanAttention(chunk=CHUNK, selection="previous"),
    "span, running": SpanAttention(chunk=CHUNK, selection="running"),
    "span, token": SpanAttention(chunk=CHUNK, selection="token"),
    "recall": RECALL,
}
"""Blocks of 32, 8 of them, are the default and the paper's."""
Row = dict[str, Any]
Times = dict[str, dict[str, float]]


def inputs(length: int, heads: int) -> list[Tensor]:
    """Return queries, keys and values, which want gradients."""
    generator = torch.Generator().manual_seed(0)
    shape = (1, heads, length, DIM)
    return [torch.randn(shape, generator=generator).requires_grad_() for _ in range(3)]


def timed(run: Callable[[], object]) -> dict[str, float]:
    """Return the seconds of wall and of process time that a run takes."""
    wall, process = time.perf_counter(), time.process_time()
    run()
    return {"wall": time.perf_counter() - wall, "process": time.process_time() - process}


def step_of(config: Attention, length: int, heads: int) -> Callable[[], dict[str, float]]:
    """Return a pass forward and backward, which gives its times, a head each."""
    leaves = inputs(length, heads)
    query, key, value = leaves
    gradient = torch.ones_like(query)

    def step() -> dict[str, float]:
        spent = timed(
            lambda: torch.autograd.grad(span_attention(query, key, value, config), leaves, gradient)
        )
        return {kind: seconds / heads for kind, seconds in spent.items()}

    return step


def time_row(length: int, names: list[str], repeats: int, heads: int, full_heads: int) -> Row:
    """Return the median milliseconds a head of each attention at one length."""
    fewer = full_heads if length > ALL_HEADS else heads
    steps = {
        name: step_of(ATTENTIONS[name], length, fewer if name == "full" else heads)
        for name in names
    }
    spent: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    if length <= REPEATED:
        for step in steps.values():
            step()  # the first one warms up
    for _ in range(repeats if length <= REPEATED else 1):
        for name, step in steps.items():
            spent[name].append(step())
    times: Times = {
        name: {kind: 1e3 * statistics.median(each[kind] for each in all_) for kind in all_[0]}
        for name, all_ in spent.items()
    }
    row: Row = {"length": length, "milliseconds_per_head": times}
    if "full" in times:
        row["full_over"] = {
            name: {kind: times["full"][kind] / each[kind] for kind in each}
            for name, each in times.items()
        }
    return row


PEAK = """
import sys
from pathlib import Path
import torch
from bench_attention import ATTENTIONS, inputs, span_attention
length, heads, name, threads = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
torch.set_num_threads(threads)
def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
def forward(tensors):
    return span_attention(*tensors, ATTENTIONS[name])
forward(inputs(4_096, 1))
tensors = inputs(length, heads)
Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now
before = peak()
output = forward(tensors)
print(peak() - before)
"""


def memory_row(length: int, names: list[str], heads: int, threads: int) -> Row:
    """Return by how many MiB the peak memory grows over a forward pass that keeps gradients."""
    grown = {}
    for name in names:
        arguments = [str(length), str(heads), name, str(threads)]
        command = [sys.executable, "-c", PEAK, *arguments]
        done = subprocess.run(
            command,
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent,
            env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
        )
        grown[name] = int(done.stdout) / 1024
    row: Row = {"length": length, "heads": heads, "mebibytes": grown}
    if "full" in grown:
        row["over_full"] = {name: size / grown["full"] for name, size in grown.items()}
    return row


def break_even(rows: list[Row], name: str) -> float | None:
    """Return the length from which on an attention takes less process time than full attention.

    Between two lengths, the logarithm of the ratio is taken as linear in that of the length.
    """
    ratios = [(row["length"], row["full_over"][name]["process"]) for row in rows]
    if ratios and all(ratio >= 1 for _, ratio in ratios):
        return float(ratios[0][0])
    for (shorter, below), (longer, above) in reversed(list(pairwise(ratios))):
        if below < 1 <= above:
            share = (0 - _log(below)) / (_log(above) - _log(below))
            return float(shorter * (longer / shorter) ** share)
    return None


def _log(number: float) -> float:
    return float(torch.tensor(number, dtype=torch.float64).log())


def main() -> None:
    """Measure, print each row and, if asked, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=list(LENGTHS))
    parser.add_argument("--attentions", nargs="+", choices=ATTENTIONS, default=list(ATTENTIONS))
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--full-heads", type=int, default=2)
    parser.add_argument("--memory-lengths", type=int, nargs="*", default=list(MEMORY_LENGTHS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS, help="a JSON file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    names = arguments.attentions
    results: Row = {
        "machine": describe_machine() | {"threads": arguments.threads},
        "chunk": CHUNK, "dim": DIM, "heads": arguments.heads, "memory": [], "times": [],
    }  # fmt: skip
    for length in arguments.lengths:
        if length in arguments.memory_lengths:
            few = arguments.full_heads if length > REPEATED else arguments.heads
            memory = memory_row(length, names, few, arguments.threads)
            results["memory"].append(memory)
            print(json.dumps(memory), flush=True)
        times = time_row(length, names, arguments.repeats, arguments.heads, arguments.full_heads)
        results["times"].append(times)
        if "full" in names:
            results["break_even"] = {name: break_even(results["times"], name) for name in names}
        print(json.dumps(times), flush=True)
        arguments.out.parent.mkdir(exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
