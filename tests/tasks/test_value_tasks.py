"""Tasks of numbers beside their definitions, and baselines beside other ways to compute them."""

from __future__ import annotations

from math import cos, pi
from random import Random
from statistics import fmean, pvariance

import numpy as np
import pytest
from scipy.stats import kstest

from statespan.errors import InputError, LengthError
from statespan.tasks import TASKS, ValueSample, ValueTask, task, task_from_text
from statespan.tasks.definitions.dynamic_smoothness import _draw_terms

SPECIFICATIONS = [
    *("linear-functions", "linear-functions:dimension=1"),
    *("dynamic-smoothness", "dynamic-smoothness:window=3,frequency=2,decay=0,function=5"),
]
every_task = pytest.mark.parametrize("text", SPECIFICATIONS)


def made(text: str) -> ValueTask:
    found = task_from_text(text)
    assert isinstance(found, ValueTask)
    return found


def draw(text: str, count: int = 40, seed: int = 0, longest: int = 30) -> list[ValueSample]:
    return made(text).sample(length=(8, longest), count=count, rng=Random(seed))


def asked(sample: ValueSample) -> list[float]:
    return [answer for answer in sample.answers if answer is not None]


def test_every_registered_task_is_checked_here() -> None:
    values = {name for name in TASKS.names() if isinstance(task(name), ValueTask)}
    assert {text.partition(":")[0] for text in SPECIFICATIONS} == values


@every_task
def test_samples_are_vectors_of_the_lengths_asked(text: str) -> None:
    item = made(text)
    for sample in draw(text):
        assert 8 <= len(sample.inputs) == len(sample.answers) <= 30
        assert {len(vector) for vector in sample.inputs} == {item.num_inputs}
        assert asked(sample)


@every_task
def test_the_same_seed_draws_the_same_samples_and_another_others(text: str) -> None:
    assert draw(text, 5, seed=3) == draw(text, 5, seed=3)
    assert draw(text, 5, seed=3) != draw(text, 5, seed=4)


@every_task
def test_values_have_variance_1(text: str) -> None:
    values = [answer for sample in draw(text, 3_000) for answer in asked(sample)]
    assert abs(fmean(values)) < 0.05
    assert abs(pvariance(values) - 1) < 0.1


def test_a_value_is_a_linear_function_of_its_point() -> None:
    """One set of weights explains a sample, and is another one in the next."""
    found = []
    for sample in draw("linear-functions:dimension=3", 30):
        points = np.array(sample.inputs[0::2])
        values = np.array(asked(sample))
        assert (points[:, 3] == 0).all()
        weights = np.linalg.lstsq(points[:, :3], values, rcond=None)[0]
        np.testing.assert_allclose(points[:, :3] @ weights, values, atol=1e-9)
        found.append(tuple(weights.round(6)))
        for vector, answer in zip(sample.inputs[1::2], values, strict=False):
            assert vector == (0, 0, 0, answer)
        assert all(answer is None for answer in sample.answers[1::2])
    assert len(set(found)) == 30


def test_points_are_normal_and_independent() -> None:
    points = [v for s in draw("linear-functions:dimension=2", 400) for v in s.inputs[0::2]]
    for column in range(2):
        assert kstest([point[column] for point in points], "norm").pvalue > 0.001
    correlation = np.corrcoef(np.array(points)[:, :2].T)[0, 1]
    assert abs(correlation) < 0.05


def test_least_squares_knows_a_function_after_as_many_values_as_it_has_weights() -> None:
    item = made("linear-functions:dimension=4")
    estimate = item.fit([])
    for sample in draw("linear-functions:dimension=4", 30):
        pairs = list(zip(estimate(sample), asked(sample), strict=True))
        assert pairs[0][0] == 0
        assert all(guess == pytest.approx(value, abs=1e-6) for guess, value in pairs[4:])
        assert any(guess != pytest.approx(value, abs=1e-3) for guess, value in pairs[:4])


def test_least_squares_takes_the_smallest_weights_that_fit() -> None:
    """After one value y at x, these are x y / |x|²."""
    estimate = made("linear-functions:dimension=2").fit([])
    inputs = ((1.0, 2.0, 0.0), (0.0, 0.0, 3.0), (4.0, -1.0, 0.0))
    assert estimate(ValueSample(inputs, (3.0, None, 0.5)))[1] == pytest.approx(3 / 5 * (4 - 2))
    assert estimate(ValueSample(inputs[:1], (3.0,))) == [0.0]


def test_a_value_is_the_sum_of_waves_by_rank() -> None:
    """Computed anew from the definition: ranks by importance, fewer periods and less weight."""
    terms = _draw_terms(4, 3, 1.0, Random(7))
    assert [[periods for periods, _, _ in cosines] for cosines in terms] == [
        [1, 2, 3],
        [1],
        [1],
        [1],
    ]
    assert sum(factor**2 for cosines in terms for _, _, factor in cosines) == pytest.approx(2)
    sizes = [sum(factor**2 for _, _, factor in cosines) for cosines in terms]
    assert [sizes[0] / size for size in sizes] == pytest.approx([1, 4, 9, 16])
    for sample in draw("dynamic-smoothness:window=4,frequency=3,function=7", 20):
        assert sample.answers[:3] == (None, None, None)
        for end in range(4, len(sample.inputs) + 1):
            seen = dict(sample.inputs[end - 4 : end])
            total = 0.0
            for cosines in terms:
                number = seen.pop(max(seen))
                total += sum(f * cos(2 * pi * k * number + phase) for k, phase, f in cosines)
            assert sample.answers[end - 1] == pytest.approx(total)


def test_another_function_gives_other_values_of_the_same_inputs() -> None:
    first, second = (draw(f"dynamic-smoothness:function={n}", 1)[0] for n in (1, 2))
    assert first.inputs == second.inputs
    assert first.answers != second.answers


def test_the_baseline_of_places_is_blind_to_importance() -> None:
    """It explains what does not depend on the order of the ranks, and no more."""
    text = "dynamic-smoothness:window=2,frequency=1,decay=2"
    estimate = made(text).fit(draw(text, 300))
    tests = draw(text, 50, seed=9)
    pairs = [pair for s in tests for pair in zip(estimate(s), asked(s), strict=True)]
    assert 0.05 < fmean((guess - value) ** 2 for guess, value in pairs) < 0.95
    turned = [ValueSample(tuple((1 - u, x) for u, x in s.inputs), s.answers) for s in tests]
    assert [estimate(s) for s in turned] == [estimate(s) for s in tests]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("linear-functions:dimension=0", "dimension must be at least 1, got 0"),
        ("dynamic-smoothness:window=1", "window must be at least 2, got 1"),
        ("dynamic-smoothness:frequency=0", "frequency must be at least 1, got 0"),
        ("dynamic-smoothness:decay=-1", "decay must be at least 0, got -1.0"),
        ("dynamic-smoothness:decay=much", "decay of dynamic-smoothness must be a number"),
    ],
)
def test_what_does_not_fit_is_told(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        task_from_text(text)


def test_a_length_below_the_window_is_told() -> None:
    with pytest.raises(LengthError, match=r"has length 5. The nearest .* is 6"):
        task("dynamic-smoothness").sample(length=5, count=1, rng=Random(0))
