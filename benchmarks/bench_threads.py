"""What a second thread is worth to a Mamba's training step: one of torch's, and one of its own.

The model of `bench_operations.py` (d_model 64, 3 layers, d_state 16), forward and backward, in
turns; medians, microseconds of wall time a token. "own" are threads that live for one call, as the
kernels start them where torch has none to lend. Run it as it is, when torch's threads spin
between operations, and with OMP_WAIT_POLICY=PASSIVE.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from bench_operations import VOCAB, Row, logits_of, medians, step_of
from machine import describe_machine

from statespan.jobs.probe_stages import use_threads
from statespan.models import build_model
from statespan.models.mamba import MambaConfig
from statespan.native import lend_threads, library

SHAPES = ((50, 8), (50, 32), (128, 16), (512, 4), (2_048, 1))
"""Lengths and batches."""


@contextmanager
def own_threads() -> Iterator[None]:
    """Let the kernels start threads of their own in here."""
    kernels = library()
    assert kernels is not None, "no kernels were compiled"
    kernels.use_team(None)
    try:
        yield
    finally:
        lend_threads(kernels)


def _on(threads: int, step: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        with use_threads(threads):
            step()

    return run


def rows(repeats: int) -> Iterator[Row]:
    """Yield the microseconds of a token by length and batch."""
    for length, batch in SHAPES:
        generator = torch.Generator().manual_seed(0)
        config = MambaConfig(d_model=64, layers=3, d_state=16)
        model = build_model(config, vocab_size=VOCAB, num_outputs=VOCAB, generator=generator)
        ids = torch.randint(0, VOCAB, (batch, length), generator=generator)
        step = step_of(logits_of(model), model, ids)

        runs: dict[str, Callable[[], object]]
        runs = {"one": _on(1, step), "two": _on(2, step), "two, own": own_threads()(_on(2, step))}
        times = medians(runs, repeats, ids.numel())
        yield {"length": length, "batch": batch, "microseconds_per_token": times}


def main() -> None:
    """Measure, print each row and, if asked, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    arguments = parser.parse_args()
    found = []
    for row in rows(arguments.repeats):
        found.append(row)
        print(json.dumps(row), flush=True)
    if arguments.out is not None:
        policy = os.environ.get("OMP_WAIT_POLICY", "not set")
        facts = {"machine": describe_machine() | {"OMP_WAIT_POLICY": policy}, "rows": found}
        arguments.out.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
