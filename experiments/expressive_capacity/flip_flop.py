"""Train on FFL(0.8), 512 symbols, and follow whole-sequence accuracy on FFL(0.8), (0.98), (0.1).

python experiments/expressive_capacity/flip_flop.py [--layers 1] [--rate 1e-3]
    [--weight-decay 0.1] [--fading spread] [--steps 20000]

Prints a row every `--every` steps, and leaves them in a file of `curves/`;
begun again, it goes on from its last checkpoint under `runs/`. It ends early where all three are at
100 % twice in a row. A sequence is right if the set of next symbols is at all 512 positions: after
r the stored bit, elsewhere what may follow. The authors' model (1 layer, d_model 16, d_state 16,
batches of 32) had a learning rate of 1e-5, and first reached 100 % on FFL(0.8) after 103,000 steps
and on FFL(0.98) after 137,000.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random
from typing import Any

import torch

import statespan
from statespan.evaluation import score, total_score
from statespan.models import build_model
from statespan.models.mamba import MambaConfig
from statespan.records import TrainingRecord, read_bytes, write_atomically
from statespan.training import TrainingConfig, TrainingRun, build_data, build_readout, torch_stream
from statespan.training.data import AnswerSets
from statespan.training.loop import train_alone

HERE = Path(__file__).parent
LENGTH, TRAINED = 512, 0.8
IGNORE = (0.8, 0.98, 0.1)
PUBLISHED = {0.8: 103_000, 0.98: 137_000}


def language(ignore: float) -> statespan.Language:
    return statespan.language("flip-flop", ignore=ignore)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--fading", choices=["spread", "none"], default="spread")
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--every", type=int, default=250)
    parser.add_argument("--words", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = (options.layers, f"{options.rate:g}", f"{options.weight_decay:g}", options.fading)
    name = "-".join(map(str, ("flip-flop", *settings)))
    folder, results = HERE / "runs" / name, HERE / "curves" / f"{name}.jsonl"
    for place in (folder, results.parent):
        place.mkdir(parents=True, exist_ok=True)
    draw: Any = {"sampler": "published", "rng": Random(0)}
    data = build_data(
        language(TRAINED), [(LENGTH, LENGTH)], train_words=100_000, test_words=1, **draw
    )
    readout = build_readout("symbols", data.vocabulary, data.answer_sets)
    tests = {}
    for ignore in IGNORE:
        sets = AnswerSets(data.vocabulary)
        words = language(ignore).sample(length=LENGTH, count=options.words, **draw)
        tests[ignore] = (sets.encode(language(ignore), words), sets.table())

    model = build_model(
        MambaConfig(layers=options.layers, d_model=16, fading=options.fading),
        vocab_size=data.vocabulary.size,
        num_outputs=readout.num_outputs,
        generator=torch_stream(0, "initialization"),
    )
    rows = (
        [json.loads(line) for line in read_bytes(results).splitlines()] if results.exists() else []
    )

    def note(record: TrainingRecord) -> None:
        row: dict[str, Any] = {"step": record.step, "loss": record.loss}
        for ignore, (words, sets) in tests.items():
            totals = total_score(score(model, readout, words, sets))
            row[f"{ignore}"] = 100 * totals["correct"] / totals["words"]
        model.train()
        rows.append(row)
        print(json.dumps(row), flush=True)
        write_atomically(results, "".join(json.dumps(r) + "\n" for r in rows).encode())

    def is_learned() -> bool:
        return len(rows) > 1 and all(row[f"{i}"] == 100 for row in rows[-2:] for i in IGNORE)

    run = TrainingRun(
        model,
        readout,
        data.train,
        TrainingConfig(
            steps=options.steps,
            learning_rate=options.rate,
            weight_decay=options.weight_decay,
            schedule="constant",
            report_every=options.every,
        ),
        seed=0,
        checkpoint_path=folder / "checkpoint.safetensors",
        on_record=note,
        is_learned=is_learned,
    )
    rows[:] = [row for row in rows if row["step"] <= run.done]
    train_alone(run)
    for ignore in IGNORE:
        first = next((row["step"] for row in rows if row[f"{ignore}"] == 100), None)
        print(f"FFL({ignore}): 100 % first after {first} steps; published {PUBLISHED.get(ignore)}")


if __name__ == "__main__":
    main()
