"""Squared errors of a model that estimates numbers, beside those of the task's baseline."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch

from statespan.models import SequenceModel
from statespan.records import ErrorRecord, PositionRecord
from statespan.tasks import Estimate, ValueSample, ValueTask
from statespan.training import Example, ValueData, batch_examples

__all__ = ["evaluate_errors"]

Sums: TypeAlias = dict[int, float]
"""Position, which counts the inputs up to it from 1 -> a sum over the samples that ask there."""


def evaluate_errors(
    model: SequenceModel,
    task: ValueTask,
    data: ValueData,
    *,
    on_step: Callable[[int], None] = lambda _: None,
) -> list[ErrorRecord | PositionRecord]:
    """Return a record for each bin, and one for each position of the last bin that is asked.

    The baseline learns of the training set.
    """
    estimate = task.fit(data.train_samples)
    bins: list[ErrorRecord] = []
    positions: list[PositionRecord] = []
    tests = zip(data.bins, data.tests, data.test_samples, strict=True)
    for done, ((lower, upper), examples, samples) in enumerate(tests, start=1):
        positions = _positions(
            _count(samples), _model_errors(model, examples), _baseline_errors(estimate, samples)
        )
        bins.append(
            ErrorRecord(
                lower=lower,
                upper=upper,
                samples=len(samples),
                positions=sum(record.samples for record in positions),
                squared_error=sum(record.squared_error for record in positions),
                baseline=task.baseline,
                baseline_squared_error=sum(r.baseline_squared_error for r in positions),
            )
        )
        on_step(done)
    return [*bins, *positions]


def _positions(counts: Counter[int], model: Sums, baseline: Sums) -> list[PositionRecord]:
    return [
        PositionRecord(
            position=position,
            samples=counts[position],
            squared_error=model[position],
            baseline_squared_error=baseline[position],
        )
        for position in sorted(counts)
    ]


def _asked(sample: ValueSample) -> list[tuple[int, float]]:
    """Return the positions that are asked, with the answers."""
    return [(p, answer) for p, answer in enumerate(sample.answers, 1) if answer is not None]


def _count(samples: Sequence[ValueSample]) -> Counter[int]:
    return Counter(position for sample in samples for position, _ in _asked(sample))


@torch.no_grad()
def _model_errors(model: SequenceModel, examples: Sequence[Example]) -> Sums:
    """Return the sums of squared errors; place 0 is the vector of zeros before the first."""
    model.eval()
    errors: Sums = defaultdict(float)
    for batch in batch_examples(examples):
        wrong = (model(batch.tokens).logits[..., 0] - batch.targets).double().square()
        sums = torch.where(batch.mask, wrong, 0).sum(0)
        for position, total in enumerate(sums.tolist()):
            errors[position] += total
    return errors


def _baseline_errors(estimate: Estimate, samples: Sequence[ValueSample]) -> Sums:
    errors: Sums = defaultdict(float)
    for sample in samples:
        for (position, answer), guess in zip(_asked(sample), estimate(sample), strict=True):
            errors[position] += (guess - answer) ** 2
    return errors
