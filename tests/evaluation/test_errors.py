"""Squared errors are those of the model and of the baseline, position by position."""

from __future__ import annotations

from random import Random

import pytest
import torch

from statespan.evaluation import evaluate_errors
from statespan.models import ModelConfig, Output, SequenceModel
from statespan.models.model import Inputs, ModelState
from statespan.records import ErrorRecord, PositionRecord
from statespan.tasks import ValueTask, task
from statespan.training import build_value_data

TASK = task("linear-functions", dimension=2)
assert isinstance(TASK, ValueTask)
BINS = [(2, 6), (7, 12)]
DATA = build_value_data(TASK, BINS, train_words=200, test_words=30, rng=Random(0))


class Same(SequenceModel):
    """Answers the last coordinate of what was read, plus `offset`."""

    Config = ModelConfig

    def __init__(self, offset: float) -> None:
        super().__init__(ModelConfig(), vocab_size=3, num_outputs=1)
        self.offset = offset

    def forward(self, tokens: Inputs, state: ModelState | None = None) -> Output:
        return Output(tokens[..., -1:] + self.offset, ())

    def initialize(self, generator: torch.Generator) -> None:
        raise NotImplementedError


def test_a_model_that_always_answers_one_number_errs_by_the_answers() -> None:
    assert isinstance(TASK, ValueTask)
    records = evaluate_errors(Same(0.5), TASK, DATA)
    bins = [record for record in records if isinstance(record, ErrorRecord)]
    for record, bounds, samples in zip(bins, BINS, DATA.test_samples, strict=True):
        answers = [a for sample in samples for a in sample.answers if a is not None]
        assert (record.lower, record.upper) == bounds
        assert (record.samples, record.positions) == (30, len(answers))
        assert record.squared_error == pytest.approx(sum((a - 0.5) ** 2 for a in answers), rel=1e-5)


def test_positions_of_the_last_bin_sum_up_to_it() -> None:
    assert isinstance(TASK, ValueTask)
    records = evaluate_errors(Same(0), TASK, DATA)
    last = [record for record in records if isinstance(record, ErrorRecord)][-1]
    positions = [record for record in records if isinstance(record, PositionRecord)]
    assert [record.position for record in positions] == [1, 3, 5, 7, 9, 11]
    assert sum(record.samples for record in positions) == last.positions
    assert sum(r.squared_error for r in positions) == pytest.approx(last.squared_error)
    assert sum(r.baseline_squared_error for r in positions) == pytest.approx(
        last.baseline_squared_error
    )
    first = [sample.answers[0] for sample in DATA.test_samples[-1]]
    assert positions[0].squared_error == pytest.approx(
        sum(answer**2 for answer in first if answer is not None), rel=1e-5
    )


def test_the_baseline_is_that_of_the_task() -> None:
    """Least squares knows the function after two values, as many as it has weights."""
    assert isinstance(TASK, ValueTask)
    records = evaluate_errors(Same(0), TASK, DATA)
    positions = [record for record in records if isinstance(record, PositionRecord)]
    errors = [record.baseline_squared_error / record.samples for record in positions]
    assert min(errors[:2]) > 0.05
    assert max(errors[2:]) < 1e-12
