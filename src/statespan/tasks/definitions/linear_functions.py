"""Learning linear functions in context (Garg et al. 2022; of state-space models, Park et al. 2024).

Axes: `example`, a point and its value; `input`, the coordinates of a point.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np

from statespan.tasks.catalogue import TASKS
from statespan.tasks.task import at_least
from statespan.tasks.value_task import Estimate, ValueSample, ValueTask

__all__: list[str] = []


@TASKS.register("linear-functions")
def linear_functions(*, dimension: int = 5) -> ValueTask:
    """Points and values of a linear function in turns, another one a sample; values are asked.

    The coordinates of a point are normal; the function's weights are, too, and so small that a
    value has variance 1. A point is read as (point, 0) and a value as (0, value).
    """
    at_least(1, dimension=dimension)

    def draw(length: int, rng: Random) -> ValueSample:
        weights = [rng.gauss(0, dimension**-0.5) for _ in range(dimension)]
        inputs: list[tuple[float, ...]] = []
        answers: list[float | None] = []
        while len(inputs) < length:
            point = [rng.gauss(0, 1) for _ in range(dimension)]
            value = sum(weight * part for weight, part in zip(weights, point, strict=True))
            inputs += [(*point, 0.0), (*[0.0] * dimension, value)]
            answers += [value, None]
        return ValueSample(tuple(inputs[:length]), tuple(answers[:length]))

    return ValueTask(
        source="Garg et al. 2022, arXiv:2208.01066; Park et al. 2024, arXiv:2402.04248",
        bins=[(2, 6 * dimension), (6 * dimension + 1, 12 * dimension)],
        draw=draw,
        has_length=lambda length: length >= 1,
        num_inputs=dimension + 1,
        baseline="least squares over the values so far",
        fit=_least_squares,
    )


def _least_squares(samples: Sequence[ValueSample]) -> Estimate:
    """Return the estimate by the smallest weights of least squares; it learns of no sample."""
    del samples

    def estimate(sample: ValueSample) -> list[float]:
        points = np.array(sample.inputs[0::2])[:, :-1]
        values = np.array(sample.inputs[1::2])[:, -1] if len(sample.inputs) > 1 else np.zeros(0)
        found = [0.0]
        for count in range(1, len(points)):
            weights = np.linalg.lstsq(points[:count], values[:count])[0]
            found.append(float(points[count] @ weights))
        return found

    return estimate
