"""Microseconds per token of training a Mamba: ours beside the fallback of `transformers`.

One process, one run, the same weights, the same batch, the two measured in turns; the median over
the repeats, and the ratio of the medians. Run: `python benchmarks/bench_training.py --help`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from machine import describe_machine
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from statespan.models import build_model
from statespan.models.mamba import MambaConfig

VOCAB = 8


def measure(forward: Callable[[Tensor], Tensor], model: nn.Module, tokens: Tensor) -> float:
    """Return the seconds of one forward and backward pass."""
    model.zero_grad(set_to_none=True)
    began = time.perf_counter()
    loss = cross_entropy(forward(tokens).flatten(0, 1), tokens.flatten())
    torch.autograd.backward(loss)
    return time.perf_counter() - began


def compare(length: int, batch: int, repeats: int) -> dict[str, float]:
    """Return the medians, in microseconds per token, and their ratio; the gradients must agree."""
    generator = torch.Generator().manual_seed(0)
    config = MambaConfig(d_model=64, layers=3, d_state=16)
    ours = build_model(config, vocab_size=VOCAB, num_outputs=VOCAB, generator=generator)
    theirs = transformers.AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        transformers.AutoConfig.for_model(**ours.transformers_config() or {})
    )
    theirs.load_state_dict(ours.state_dict())
    theirs.train()
    tokens = torch.randint(0, VOCAB, (batch, length), generator=generator)
    times: dict[str, list[float]] = {"ours": [], "fallback": []}
    for repeat in range(repeats + 1):
        pair = {
            "ours": measure(lambda ids: ours(ids).logits, ours, tokens),
            "fallback": measure(lambda ids: theirs(ids, use_cache=False).logits, theirs, tokens),
        }
        for name, seconds in pair.items():
            if repeat:  # the first one warms up
                times[name].append(1e6 * seconds / tokens.numel())
    fallback = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, fallback[name].grad, rtol=1e-3, atol=1e-5)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "length": length,
        "batch": batch,
        **medians,
        "ratio": medians["fallback"] / medians["ours"],
    }


def main() -> None:
    """Measure, print a table and, if asked, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[50, 128, 512])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    print("training a Mamba, d_model 64, 3 layers, d_state 16: microseconds per token")
    print(f"{'length':>6} {'batch':>6} {'ours':>9} {'fallback':>9} {'ratio':>7}")
    rows = []
    for length in arguments.lengths:
        row = compare(length, arguments.batch, arguments.repeats)
        rows.append(row)
        print(
            f"{length:>6} {arguments.batch:>6} {row['ours']:>9.1f} {row['fallback']:>9.1f} "
            f"{row['ratio']:>7.1f}",
            flush=True,
        )
    if arguments.out:
        text = json.dumps(
            {"machine": describe_machine(), "threads": arguments.threads, "rows": rows}, indent=2
        )
        arguments.out.parent.mkdir(exist_ok=True)
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
