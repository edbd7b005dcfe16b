"""Train on Dyck(8, 10), up to 700 symbols, by width, depth and rate; test on up to 1,400.

python experiments/expressive_capacity/bounded_dyck.py [--widths 20 40 60 80 100] [--layers 1 2]
    [--rates 1e-4 1e-3] [--tokens 6000000]

As language models: cross-entropy of the next token. Each model leaves a row in
`curves/bounded-dyck.jsonl`: of the positions where a bracket is open, how often the share of the
right closing one, in what the model gives to all closing ones, is above 0.8. That is the measure of
the published figure ("close accuracy"). Stopped and begun again, it goes on from what is finished,
and from the last checkpoint under `runs/`. The published runs had 15 to 20 epochs of 2,000,000
tokens, at a rate of 1e-4 with one layer and of 1e-3 with two; here both rates are tried with both,
on a fifth of the tokens.
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path
from random import Random

import torch

import statespan
from statespan.models import SequenceModel, build_model
from statespan.models.mamba import MambaConfig
from statespan.records import read_bytes, write_atomically
from statespan.training import (
    LanguageData,
    TrainingConfig,
    TrainingRun,
    build_data,
    build_readout,
    torch_stream,
)
from statespan.training.examples import Example, batch_examples
from statespan.training.loop import train_alone

HERE = Path(__file__).parent
RESULTS = HERE / "curves" / "bounded-dyck.jsonl"
LANGUAGE = statespan.language("bounded-dyck", brackets=8, depth=10)
BINS = [(2, 700), (702, 1400)]
BATCH = 10
PUBLISHED = {
    (1, 1e-4): {20: 0.712, 40: 0.730, 60: 0.738, 80: 0.765, 100: 0.768},
    (2, 1e-3): {20: 0.9761, 40: 0.9766, 60: 0.9906, 80: 0.9835, 100: 0.9840},
    (2, 1e-4): {20: 0.8275, 40: 0.8522, 60: 0.8702, 80: 0.8878, 100: 0.8942},
}
"""Close accuracy on 701 to 1,400 symbols, by layers and rate and by width."""


def next_symbols(data: LanguageData, examples: list[Example]) -> list[Example]:
    """Return the examples with, after each prefix, the place in the alphabet of what comes next."""
    first, end = min(data.vocabulary.answer_ids[:-1]), len(data.vocabulary.alphabet)
    return [
        Example(example.tokens, [*(int(token) - first for token in example.tokens[1:]), end])
        for example in examples
    ]


@torch.no_grad()
def close_accuracy(model: SequenceModel, data: LanguageData, examples: list[Example]) -> float:
    """Return at how many positions with an open bracket the right closing one is preferred."""
    model.eval()
    closing = [i for i, symbol in enumerate(data.vocabulary.alphabet) if symbol.endswith(")")]
    right = total = 0
    for batch in batch_examples(examples):
        chances = torch.softmax(model(batch.tokens).logits[batch.mask], dim=-1)[:, closing]
        wanted = data.answer_sets[batch.targets[batch.mask]][:, closing]
        is_open = wanted.any(dim=1)
        share = (chances * wanted).sum(1) / chances.sum(1)
        right += int((share[is_open] > 0.8).sum())
        total += int(is_open.sum())
    return right / total


def train_one(data: LanguageData, shape: MambaConfig, rate: float, tokens: int) -> SequenceModel:
    """Return a model trained on about so many tokens, from its last checkpoint if there is one."""
    size = len(data.vocabulary.alphabet) + 1
    readout = build_readout("class-cross-entropy", data.vocabulary, torch.eye(size).bool())
    examples = next_symbols(data, data.train)
    mean = sum(len(example.tokens) for example in examples) / len(examples)
    steps = round(tokens / (BATCH * mean))
    model = build_model(
        shape,
        vocab_size=data.vocabulary.size,
        num_outputs=readout.num_outputs,
        generator=torch_stream(0, "initialization"),
    )
    name = f"bounded-dyck-{shape.layers}-{shape.d_model}-{rate:g}-{tokens}"
    folder = HERE / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    config = TrainingConfig(steps=steps, batch_size=BATCH, learning_rate=rate, report_every=250)
    run = TrainingRun(
        model,
        readout,
        examples,
        config,
        seed=0,
        checkpoint_path=folder / "checkpoint.safetensors",
        on_record=lambda record: print(f"{folder.name} {record.step}/{steps} {record.loss:.3f}"),
    )
    train_alone(run)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[20, 40, 60, 80, 100])
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 1e-3])
    parser.add_argument("--tokens", type=int, default=6_000_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = build_data(
        LANGUAGE, BINS, sampler="published", train_words=20_000, test_words=300, rng=Random(0)
    )
    RESULTS.parent.mkdir(exist_ok=True)
    rows = (
        [json.loads(line) for line in read_bytes(RESULTS).splitlines()] if RESULTS.exists() else []
    )
    for layers, width, rate in product(options.layers, options.widths, options.rates):
        key = {"layers": layers, "width": width, "rate": rate, "tokens": options.tokens}
        if any(key.items() <= row.items() for row in rows):
            continue
        model = train_one(data, MambaConfig(layers=layers, d_model=width), rate, options.tokens)
        short, long = (close_accuracy(model, data, examples) for examples in data.tests)
        published = PUBLISHED.get((layers, rate), {}).get(width)
        rows.append({**key, "short": short, "long": long, "published_long": published})
        print(json.dumps(rows[-1]), flush=True)
        write_atomically(RESULTS, "".join(json.dumps(row) + "\n" for row in rows).encode())


if __name__ == "__main__":
    main()
