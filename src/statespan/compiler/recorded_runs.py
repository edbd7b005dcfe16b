"""Runs of a `transformers` model, token by token with its cache, with all that it held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, final

import torch
from torch import Tensor

from statespan.compiler.abstract_machine import TOKEN, AbstractMachine, after, before
from statespan.training import BOS

__all__ = ["RecordedStep", "recorded_runs"]

NUM_RUNS = 8
LENGTH = 48
SHARE_ALLOWED = 0.9


@final
@dataclass(frozen=True, slots=True)
class RecordedStep:
    """One step of several runs: what they read, and what the model held after it.

    Attributes:
        words: what each run has read, BOS included.
        points: where the abstract machine is, in its variables.
        streams: the residual stream after each block: [run, channel].
        states: the recurrent state of each block, flat: [run, number].
        logits: [run, token].
    """

    words: Sequence[tuple[int, ...]]
    points: Sequence[list[int]]
    streams: Sequence[Tensor]
    states: Sequence[Tensor]
    logits: Tensor


@torch.inference_mode()
def recorded_runs(
    model: Any,
    machine: AbstractMachine,
    *,
    rng: Random,
    num_runs: int = NUM_RUNS,
    length: int = LENGTH,
) -> list[RecordedStep]:
    """Return runs of so many tokens after BOS, drawn from those for which something is promised.

    Most tokens are drawn from the symbols that may follow, so that most runs stay alive.
    """
    points = [machine.point(BOS, machine.origin) for _ in range(num_runs)]
    words: list[tuple[int, ...]] = [(BOS,)] * num_runs
    found: list[RecordedStep] = []
    cache = None
    for _ in range(length + 1):
        tokens = torch.tensor([[word[-1]] for word in words])
        output = model(tokens, cache_params=cache, use_cache=True, output_hidden_states=True)
        cache = output.cache_params
        # The last of them is after the final norm.
        streams = [stream[:, -1].float() for stream in output.hidden_states[:-1]]
        states = [layer.recurrent_states[0].float().flatten(1).clone() for layer in cache.layers]
        found.append(RecordedStep(words, points, streams, states, output.logits[:, -1].float()))
        drawn = [_draw(machine, point, rng) for point in points]
        words = [(*word, token) for word, token in zip(words, drawn, strict=True)]
        points = [
            machine.point(token, _memories(machine, point))
            for token, point in zip(drawn, points, strict=True)
        ]
    return found


def _memories(machine: AbstractMachine, point: Sequence[int]) -> list[int]:
    return [point[after(memory)] for memory in range(machine.num_memories)]


def _draw(machine: AbstractMachine, point: Sequence[int], rng: Random) -> int:
    """Return a token for which something is promised, most often one that may follow."""
    diagrams = machine.diagrams
    tokens = range(diagrams.sizes[TOKEN])
    at = list(point)
    for memory, value in enumerate(_memories(machine, point)):
        at[before(memory)] = value
    promised = [token for token in tokens if diagrams.at(machine.promised, [token, *at[1:]])]
    said = [diagrams.at(node, point) for node in machine.answers]
    # The symbols come last among the tokens, and first among the answers.
    symbols = tokens[len(tokens) - len(said) + 1 :]
    allowed = [token for token, yes in zip(symbols, said, strict=False) if yes]
    return rng.choice(allowed if allowed and rng.random() < SHARE_ALLOWED else promised)
