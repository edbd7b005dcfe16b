"""Estimating a function whose smoothness depends on its input (Nishikawa and Suzuki 2024).

Their class has functions of a sequence that are rough in its important tokens and smooth in the
others, where the input itself says which are important. They prove rates of estimation; the
function here, an instance of such a class, is our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sqrt
from random import Random

import numpy as np
from numpy.typing import NDArray

from statespan.errors import InputError
from statespan.tasks.catalogue import TASKS
from statespan.tasks.task import at_least
from statespan.tasks.value_task import Estimate, ValueSample, ValueTask

__all__: list[str] = []

FITTED_SAMPLES = 2_000
"""Training samples of which the baseline learns."""


@TASKS.register("dynamic-smoothness")
def dynamic_smoothness(
    *, window: int = 6, frequency: int = 4, decay: float = 1.0, function: int = 0
) -> ValueTask:
    """Pairs of an importance and a number; a function of the last ones by importance is asked.

    Both are uniform from 0 to 1. Of the last `window` pairs, the number of the r-th important
    counts with r^(-decay), as a sum of cosines of up to `frequency` / r periods: the less
    important, the smoother. `function` chooses the phases. The values have variance 1.
    """
    at_least(2, window=window)
    at_least(1, frequency=frequency)
    if decay < 0:
        raise InputError(f"decay must be at least 0, got {decay}.")
    terms = _draw_terms(window, frequency, decay, Random(function))

    def draw(length: int, rng: Random) -> ValueSample:
        inputs = tuple((rng.random(), rng.random()) for _ in range(length))
        asked = [_evaluate(terms, inputs[end - window : end]) for end in range(window, length + 1)]
        return ValueSample(inputs, (*[None] * (window - 1), *asked))

    return ValueTask(
        source="Nishikawa and Suzuki 2024, arXiv:2405.19036",
        bins=[(window, 5 * window), (5 * window + 1, 10 * window)],
        draw=draw,
        has_length=lambda length: length >= window,
        num_inputs=2,
        baseline="least squares on the cosines of each place, whatever its importance",
        fit=lambda samples: _fit_places(samples, window, frequency),
    )


def _draw_terms(
    window: int, frequency: int, decay: float, rng: Random
) -> list[list[tuple[int, float, float]]]:
    """Return, rank by rank, (periods, phase, factor) of each cosine; the squares sum up to 2."""
    sizes = [max(1, frequency // rank) for rank in range(1, window + 1)]
    weights = [rank**-decay for rank in range(1, window + 1)]
    total = sqrt(sum(weight**2 for weight in weights) / 2)
    return [
        [
            (periods, rng.uniform(0, 2 * pi), weight / sqrt(size) / total)
            for periods in range(1, size + 1)
        ]
        for size, weight in zip(sizes, weights, strict=True)
    ]


def _evaluate(
    terms: Sequence[Sequence[tuple[int, float, float]]], pairs: Sequence[tuple[float, float]]
) -> float:
    ranked = sorted(pairs, reverse=True)
    return sum(
        factor * cos(2 * pi * periods * number + phase)
        for (_, number), cosines in zip(ranked, terms, strict=True)
        for periods, phase, factor in cosines
    )


def _fit_places(samples: Sequence[ValueSample], window: int, frequency: int) -> Estimate:
    """Return the linear estimate that treats each of the last places alike in every sample."""
    chosen = samples[:FITTED_SAMPLES]
    features = np.concatenate([_features(sample, window, frequency) for sample in chosen])
    values = np.array([answer for s in chosen for answer in s.answers if answer is not None])
    weights = np.linalg.lstsq(features, values)[0]

    def estimate(sample: ValueSample) -> list[float]:
        found: list[float] = (_features(sample, window, frequency) @ weights).tolist()
        return found

    return estimate


def _features(sample: ValueSample, window: int, frequency: int) -> NDArray[np.float64]:
    """Return [answer, feature]: 1, and the cosines and sines of each number in the window."""
    numbers = np.array(sample.inputs)[:, 1]
    angles = 2 * pi * np.arange(1, frequency + 1) * numbers[:, None]
    waves = np.concatenate((np.cos(angles), np.sin(angles)), axis=1)
    count = len(numbers) - window + 1
    shifted = [waves[shift : shift + count] for shift in range(window)]
    return np.concatenate((np.ones((count, 1)), *shifted), axis=1)
