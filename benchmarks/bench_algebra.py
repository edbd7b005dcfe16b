"""How large a language the algebra decides, and how fast: one core, pure Python.

Run: `python benchmarks/bench_algebra.py --out benchmarks/results/algebra.json`.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

from machine import describe_machine

from statespan.algebra import is_aperiodic, syntactic_monoid, transition_monoid
from statespan.algebra.green import green_classes
from statespan.algebra.images import image_orbit
from statespan.languages import language
from statespan.languages.automaton import DFA


def all_maps(num_states: int) -> DFA:
    """Return an automaton whose monoid has all maps of its states: n^n elements."""
    n = num_states
    cycle = [(q + 1) % n for q in range(n)]
    swap = [1, 0, *range(2, n)]
    merge = [0, 0, *range(2, n)]
    return DFA(("a", "b", "c"), 0, frozenset({0}), tuple(zip(cycle, swap, merge, strict=True)))


def many_images(num_states: int) -> DFA:
    """Return an aperiodic automaton of monotone maps with very many image sets."""
    n = num_states
    columns = [[q if q <= i else q - 1 for q in range(n)] for i in range(0, n - 1, 3)]
    columns += [[q if q < i else min(q + 1, n - 1) for q in range(n)] for i in (1, n // 2)]
    alphabet = tuple(f"s{i}" for i in range(len(columns)))
    return DFA(alphabet, n // 2, frozenset({0}), tuple(zip(*columns, strict=True)))


def measure(name: str, size: Callable[[], int]) -> dict[str, object]:
    """Return the seconds of one run, what it counted, and the peak memory of the process so far."""
    began = time.perf_counter()
    count = size()
    seconds = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    row = {"what": name, "count": count, "seconds": round(seconds, 3), "peak_gib": round(memory, 2)}
    print(f"{name:58} {count:>9,} {seconds:>8.2f} s {memory:>6.2f} GiB", flush=True)
    return row


def main() -> None:
    """Measure, print a line each and, if asked, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    arguments = parser.parse_args()
    wide = many_images(20)
    rows = [
        measure("monoid of d-12", lambda: len(syntactic_monoid(language("d-12").dfa()))),
        measure("monoid of all maps of 6 states", lambda: len(transition_monoid(all_maps(6)))),
        measure("monoid of all maps of 7 states", lambda: len(transition_monoid(all_maps(7)))),
        measure(
            "its Green classes",
            lambda: green_classes(transition_monoid(all_maps(7))).num_j_classes,
        ),
        measure("image sets of an automaton of 20 states", lambda: len(image_orbit(wide).images)),
        measure("is it star-free (1: yes)", lambda: int(is_aperiodic(wide))),
    ]
    if arguments.out:
        text = json.dumps({"machine": describe_machine(), "rows": rows}, indent=2)
        arguments.out.parent.mkdir(exist_ok=True)
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
