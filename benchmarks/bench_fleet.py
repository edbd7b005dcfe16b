"""A fleet of small models beside the same models trained one after the other.

One process, one run, the same examples, the two measured in turns; the median of each over the
repeats, and the ratio of the medians. Every member's losses must agree with those of its lone run.
Run: `python benchmarks/bench_fleet.py --out benchmarks/results/fleet.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from machine import describe_machine

from statespan import language, native
from statespan.models import ModelConfig, build_model
from statespan.models.mamba import MambaConfig
from statespan.models.mamba2 import Mamba2Config
from statespan.models.transformer import TransformerConfig
from statespan.training import (
    LanguageData,
    TrainingConfig,
    TrainingRun,
    build_data,
    build_readout,
    python_stream,
    torch_stream,
    train_alone,
    train_fleet,
)

MODELS: dict[str, ModelConfig] = {
    "mamba": MambaConfig(d_model=16, layers=1),
    "mamba-64": MambaConfig(d_model=64, layers=2),
    "mamba2": Mamba2Config(d_model=16, layers=1, head_dim=16, d_state=16),
    "transformer": TransformerConfig(d_model=16, layers=1, heads=2, d_feedforward=32),
}


def draw(shortest: int, longest: int) -> LanguageData:
    """Return words of parity, as many tokens long as said, BOS included."""
    return build_data(
        language("parity"),
        [(shortest - 1, longest - 1)],
        sampler="uniform",
        train_words=2_000,
        test_words=5,
        rng=python_stream(0, "data"),
    )


def make_runs(
    model: ModelConfig, data: LanguageData, batch: int, steps: int, seeds: range, folder: Path
) -> tuple[list[TrainingRun], list[list[float]]]:
    """Return runs that start anew, one a seed, and where each will put its losses."""
    config = TrainingConfig(steps=steps, batch_size=batch, warmup=0, report_every=1_000_000)
    losses: list[list[float]] = [[] for _ in seeds]
    runs = []
    for seed, own in zip(seeds, losses, strict=True):
        readout = build_readout(config.loss, data.vocabulary, data.answer_sets)
        runs.append(
            TrainingRun(
                build_model(
                    model,
                    vocab_size=data.vocabulary.size,
                    num_outputs=readout.num_outputs,
                    generator=torch_stream(seed, "initialization"),
                ),
                readout,
                data.train,
                config,
                seed=seed,
                checkpoint_path=Path(tempfile.mkdtemp(dir=folder)) / "checkpoint.safetensors",
                on_record=lambda _: None,
                on_step=lambda _, loss, own=own: own.append(loss),  # type: ignore[misc]
            )
        )
    return runs, losses


def train_one_by_one(runs: Sequence[TrainingRun]) -> None:
    """Train the runs one after the other."""
    for run in runs:
        train_alone(run)


def measure(train: Callable[[], object]) -> tuple[float, float]:
    """Return the wall seconds and the process seconds that it takes."""
    wall, process = time.perf_counter(), time.process_time()
    train()
    return time.perf_counter() - wall, time.process_time() - process


def compare(
    name: str, lengths: tuple[int, int], batch: int, members: int, steps: int, repeats: int
) -> dict[str, object]:
    """Return the medians in milliseconds a member and step, and their ratios."""
    data = draw(*lengths)
    walls: dict[str, list[float]] = {"fleet": [], "alone": []}
    processes: dict[str, list[float]] = {"fleet": [], "alone": []}
    with tempfile.TemporaryDirectory() as folder:
        for repeat in range(repeats + 1):
            found = []
            for kind in walls:
                seeds = range(members)
                runs, losses = make_runs(MODELS[name], data, batch, steps, seeds, Path(folder))
                train = train_fleet if kind == "fleet" else train_one_by_one
                wall, process = measure(lambda train=train, runs=runs: train(runs))  # type: ignore[misc]
                if repeat:  # the first one warms up
                    walls[kind].append(1e3 * wall / steps / members)
                    processes[kind].append(1e3 * process / steps / members)
                found.append(torch.tensor(losses))
            torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)
    wall_medians = {kind: statistics.median(values) for kind, values in walls.items()}
    process_medians = {kind: statistics.median(values) for kind, values in processes.items()}
    return {
        "model": name,
        "lengths": lengths,
        "batch": batch,
        "members": members,
        "wall_ms": wall_medians,
        "process_ms": process_medians,
        "ratio": wall_medians["alone"] / wall_medians["fleet"],
        "process_ratio": process_medians["alone"] / process_medians["fleet"],
    }


def main() -> None:
    """Measure, print a table and, if asked, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["mamba"])
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--shortest", type=int, nargs="+", default=[50, 2])
    parser.add_argument("--longest", type=int, default=50)
    parser.add_argument("--members", type=int, default=32)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print("milliseconds of wall time a member and step")
    print(f"{'model':>12} {'lengths':>8} {'batch':>6} {'alone':>8} {'fleet':>8} {'ratio':>6}")
    rows = []
    for name in arguments.models:
        for shortest in arguments.shortest:
            for batch in arguments.batches:
                lengths = (shortest, arguments.longest)
                sizes = (arguments.members, arguments.steps, arguments.repeats)
                row = compare(name, lengths, batch, *sizes)
                rows.append(row)
                times = row["wall_ms"]
                assert isinstance(times, dict)
                print(
                    f"{name:>12} {lengths[0]:>3}-{lengths[1]:<4} {batch:>6} "
                    f"{times['alone']:>8.2f} {times['fleet']:>8.2f} {row['ratio']:>6.2f}",
                    flush=True,
                )
    if arguments.out:
        machine = {
            **describe_machine(),
            "kernels": native.kernel_level(),
            "load": os.getloadavg()[0],
        }
        text = json.dumps(
            {"machine": machine, "threads": arguments.threads, "rows": rows}, indent=2
        )
        arguments.out.parent.mkdir(exist_ok=True)
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
