"""Many small models trained as one: one forward, one backward and one optimizer step for all.

A step of a small model is mostly the starting of operations; a fleet starts them once for all its
members. Each member keeps its own order of examples, rate, clipping, records and checkpoints, and
gets the numbers that it would get alone, up to the rounding of sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from statespan.errors import ConfigError, TrainingError
from statespan.models import architecture
from statespan.training.examples import Batch, Example, PackedExamples
from statespan.training.fading import mean_log_fading
from statespan.training.loop import TrainingRun
from statespan.training.stacked import (
    StackedAdamW,
    StackedModels,
    clip_gradients,
    has_member_rules,
)

__all__ = ["split_by_length", "train_fleet"]

CALL_NUMBERS = 1 << 25
"""What a call of the models costs before any arithmetic, in parameters times tokens."""


def train_fleet(runs: Sequence[TrainingRun]) -> list[TrainingError | None]:
    """Train the runs to their last steps, all at once; return what stopped each, None if nothing.

    Their models must have one shape: the same config, vocabulary size and number of outputs.
    Languages, losses, seeds and training configs can differ. A member that has finished, or whose
    loss is no longer finite, takes no part in the steps of the others. What each leaves (model,
    optimizer, records, checkpoints) is what `train` leaves, up to rounding; either takes up the
    checkpoints of the other.

    Raises:
        ConfigError: the models are not of one shape, or of a kind that cannot run as one.
        StorageError: a checkpoint could not be written; the one before is kept.
    """
    if not runs:
        return []
    _check(runs)
    fleet = _Fleet(runs)
    errors: list[TrainingError | None] = [None] * len(runs)
    waiting = list(range(len(runs)))
    while waiting:
        chosen = [(row, runs[row].next_examples()) for row in waiting]
        active = [(row, indices) for row, indices in chosen if indices is not None]
        waiting = []
        for row, loss, positions in fleet.step(dict(active)):
            try:
                runs[row].finish_step(loss, positions)
                waiting.append(row)
            except TrainingError as error:
                errors[row] = error
    return errors


def _check(runs: Sequence[TrainingRun]) -> None:
    first = runs[0].model
    for run in runs[1:]:
        for name in ("config", "vocab_size", "num_outputs"):
            need, came = getattr(first, name), getattr(run.model, name)
            if need != came:
                raise ConfigError(
                    f"the models of a fleet must have one {name}, got {need} and {came}: train "
                    "them in fleets of their own."
                )
    if not has_member_rules(first):
        raise ConfigError(
            f"a fleet needs models that torch.func.vmap can run, {architecture(first.config)} is "
            "none: train its members alone."
        )


@final
@dataclass(frozen=True, slots=True)
class _Part:
    """What one call of the models gave: a loss and a number of positions for each of `rows`."""

    rows: list[int]
    losses: Float[Tensor, " member"]
    positions: list[int]
    gradients: Float[Tensor, "member number"]


@final
class _Fleet:
    """The stacked models of some runs, their optimizer and their examples."""

    def __init__(self, runs: Sequence[TrainingRun]) -> None:
        self._runs = runs
        self._models = StackedModels([run.model for run in runs])
        self._optimizer = StackedAdamW(self._models, [(run.model, run.optimizer) for run in runs])
        self._call = CALL_NUMBERS // self._models.values.shape[1]
        self._examples, self._begins = _pack([run.examples for run in runs])
        for run in runs:
            run.model.train()

    def step(self, chosen: dict[int, list[int]]) -> list[tuple[int, float, int]]:
        """Make a step of the members in `chosen`, each with the examples of its own named there.

        Returns (member, mean loss, number of positions) for each of them, in growing order.
        """
        if not chosen:
            return []
        rows = list(chosen)
        indices = self._indices(chosen)
        sizes = self._examples.sizes(indices).amax(1) * indices.shape[1]
        groups = split_by_length(sizes.tolist(), self._call)
        parts = [
            self._differentiate([rows[place] for place in group], indices[group])
            for group in groups
        ]
        gradients = parts[0].gradients
        if len(parts) > 1:
            gradients = torch.empty(len(rows), gradients.shape[1])
            for group, part in zip(groups, parts, strict=True):
                gradients[group] = part.gradients
        configs = [self._runs[row].config for row in rows]
        limits = torch.tensor([config.clip for config in configs])
        rates = torch.tensor([self._runs[row].learning_rate for row in rows], dtype=torch.float64)
        self._optimizer.step(rows, clip_gradients(gradients, limits), rates)
        found = (zip(p.rows, p.losses.tolist(), p.positions, strict=True) for p in parts)
        return sorted(chain.from_iterable(found))

    def _indices(self, chosen: dict[int, list[int]]) -> Tensor:
        """Return the places [member, batch] of the examples, filled up with empty ones (-1)."""
        longest = max(map(len, chosen.values()))
        padded = [own + [-1] * (longest - len(own)) for own in chosen.values()]
        indices = torch.tensor(padded)
        begins = torch.tensor([self._begins[row] for row in chosen])[:, None]
        return torch.where(indices < 0, -1, indices + begins)

    def _differentiate(self, rows: list[int], indices: Tensor) -> _Part:
        """Return the losses of the members `rows` and their gradients."""
        batch: Batch = self._examples.batch(indices)
        parameters = self._models.parameters(rows)
        logits = self._models.logits(parameters, batch.tokens)
        positions: list[int] = batch.mask.sum((1, 2)).tolist()
        seen = batch.mask.flatten().nonzero()[:, 0]
        outputs = torch.split(logits.flatten(0, 2).index_select(0, seen), positions)
        targets = torch.split(batch.targets.flatten()[seen], positions)
        losses = torch.stack(
            [
                self._runs[row].readout.loss(output, target) / len(output)
                for row, output, target in zip(rows, outputs, targets, strict=True)
            ]
        )
        total = losses.sum() + self._penalty(rows, parameters)
        gradients = torch.autograd.grad(total, list(parameters.values()))
        joined = torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)
        return _Part(rows, losses.detach(), positions, joined)

    def _penalty(self, rows: Sequence[int], parameters: Mapping[str, Tensor]) -> Tensor | float:
        """Return what is added to the losses of the members `rows`, in all."""
        total: Tensor | float = 0.0
        for place, row in enumerate(rows):
            if weight := self._runs[row].config.fading_penalty:
                own = ((name, value[place]) for name, value in parameters.items())
                total = total + weight * mean_log_fading(own)
        return total


def _pack(sets: Sequence[list[Example]]) -> tuple[PackedExamples, list[int]]:
    """Return the training sets end to end, and where each begins; one that is shared once."""
    distinct = {id(examples): examples for examples in sets}
    ends = accumulate((len(examples) for examples in distinct.values()), initial=0)
    begins = dict(zip(distinct, ends, strict=False))
    packed = PackedExamples([item for examples in distinct.values() for item in examples])
    return packed, [begins[id(examples)] for examples in sets]


def split_by_length(sizes: Sequence[int], overhead: int) -> list[list[int]]:
    """Return groups of members, each to be run at the size of its largest, of the least cost.

    A group costs `overhead` and, for each of its members, the largest of their `sizes`. Members
    keep their order within a group. Takes time quadratic in the number of members.

    Example:
        >>> split_by_length([50, 9, 48, 10], overhead=20)
        [[1, 3], [0, 2]]
        >>> split_by_length([50, 9, 48, 10], overhead=200)
        [[0, 1, 2, 3]]
    """
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    best: list[tuple[int, list[int]]] = [(0, [0])]
    for end, member in enumerate(order, start=1):
        costs = (
            (best[begin][0] + overhead + (end - begin) * sizes[member], [*best[begin][1], end])
            for begin in range(end)
        )
        best.append(min(costs))
    return [sorted(order[begin:end]) for begin, end in pairwise(best[-1][1])]
