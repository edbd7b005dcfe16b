"""Samples of numbers into examples: a training set, and tests by length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import final

from statespan.tasks import ValueSample, ValueTask
from statespan.training.data import ExampleData
from statespan.training.examples import Example
from statespan.training.split import draw_split

__all__ = ["ValueData", "build_value_data"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ValueData(ExampleData):
    """A training set and tests of a task of numbers, with the samples behind them."""

    train_samples: list[ValueSample]
    test_samples: list[list[ValueSample]]


def build_value_data(
    task: ValueTask,
    bins: list[tuple[int, int]],
    *,
    train_words: int,
    test_words: int,
    rng: Random,
) -> ValueData:
    """Draw the samples of one run of a task, as `build_data` draws words.

    Raises:
        LengthError: a bin has no sample.
    """
    draw = partial(task.sample, rng=rng)
    drawn = draw_split(draw, bins, train=train_words, test=test_words, rng=rng)
    return ValueData(
        bins=bins,
        train=_encode(drawn.train),
        tests=[_encode(samples) for samples in drawn.tests],
        seen=drawn.seen,
        train_samples=drawn.train,
        test_samples=drawn.tests,
    )


def _encode(samples: Iterable[ValueSample]) -> list[Example]:
    """Return the samples as examples, a vector of zeros before each."""
    return [
        Example(
            [(0.0,) * len(sample.inputs[0]), *sample.inputs],
            [0.0, *(0.0 if answer is None else answer for answer in sample.answers)],
            counted=[False, *(answer is not None for answer in sample.answers)],
        )
        for sample in samples
    ]
