"""What reflections, and the models' own sizes, ask of the gated delta rule."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from statespan.models.ops import gated_delta_rule
from statespan.models.ops.reference import reference_gated_delta_rule
from statespan.native import kernel_level, torch_only
from tests.models.ops.means import both_means, running_by
from tests.models.ops.operations import Arguments, assert_close, draw_from, results_and_gradients

pieces = pytest.mark.parametrize("length", [1, 3, 130])


def run(means: str, arguments: Arguments, **more: object) -> tuple[Tensor, Tensor]:
    with running_by(means):
        return gated_delta_rule(**arguments, **more)


def make(length: int, head: int, key: int, value: int) -> dict[str, Tensor]:
    draw = draw_from(length, torch.float32)
    return {
        "query": draw(2, length, head, key) / key**0.5,
        "key": normalize(draw(2, length, head, key), dim=-1),
        "value": draw(2, length, head, value),
        "log_decay": -draw(2, length, head).exp() / 8,
        "rate": 2 * draw(2, length, head).sigmoid(),
        "initial_state": draw(2, head, key, value),
    }


def one_key(length: int, rate: float, log_decay: float = 0.0) -> dict[str, Tensor]:
    """Write and read the row 2 of a drawn state; the value is 5."""
    chosen = torch.zeros(1, length, 1, 4)
    chosen[..., 2] = 1
    return {
        "query": chosen,
        "key": chosen,
        "value": torch.full((1, length, 1, 3), 5.0),
        "log_decay": torch.full((1, length, 1), log_decay),
        "rate": torch.full((1, length, 1), rate),
        "initial_state": draw_from(0, torch.float32)(1, 1, 4, 3),
    }


def reference(given: Arguments) -> tuple[Tensor, Tensor]:
    return reference_gated_delta_rule(**{name: tensor.double() for name, tensor in given.items()})


@pytest.mark.parametrize("sizes", [(2, 64, 64), (3, 33, 20), (2, 16, 130), (3, 1, 1)])
@pytest.mark.parametrize("length", [3, 65, 130])
def test_whole_and_odd_numbers_of_vectors_are_the_reference(
    sizes: tuple[int, int, int], length: int
) -> None:
    given = make(length, *sizes)
    ours = results_and_gradients(lambda leaves: gated_delta_rule(**leaves), given)
    assert_close(ours, results_and_gradients(reference, given), length)


@both_means
@pieces
def test_a_rate_of_0_keeps_the_state_bit_by_bit(means: str, length: int) -> None:
    given = one_key(length, 0.0)
    outputs, last = run(means, given)
    assert torch.equal(last, given["initial_state"])
    assert torch.equal(outputs[0, :, 0], last[0, 0, 2].expand(length, 3))


@both_means
@pieces
def test_a_rate_of_1_replaces_what_the_key_is_answered(means: str, length: int) -> None:
    given = one_key(length, 1.0)
    _, last = run(means, given)
    expected = given["initial_state"].clone()
    expected[0, 0, 2] = 5
    torch.testing.assert_close(last, expected, rtol=0, atol=1e-6)
    others = [0, 1, 3]
    assert torch.equal(last[0, 0, others], expected[0, 0, others])


@both_means
@pieces
def test_a_rate_of_2_reflects_exactly(means: str, length: int) -> None:
    given = one_key(length, 2.0)
    if means == "torch":
        # Its products sum in any order: exact where a number has a few bits to spare.
        given["initial_state"] = given["initial_state"].bfloat16().float()
    given["value"] = torch.zeros_like(given["value"])
    outputs, last = run(means, given)
    signs = torch.tensor([(-1.0) ** (t + 1) for t in range(length)])[:, None]
    assert torch.equal(outputs[0, :, 0], signs * given["initial_state"][0, 0, 2])
    assert torch.equal(last[0, 0, 2], outputs[0, -1, 0])


@both_means
@pieces
def test_a_steep_decay_forgets_to_exactly_nothing(means: str, length: int) -> None:
    outputs, last = run(means, one_key(length, 0.0, log_decay=-200.0))
    assert not outputs.any()
    assert not last.any()


@both_means
@pytest.mark.parametrize("length", [3, 12, 140])
def test_nan_stays_in_its_document(means: str, length: int) -> None:
    """Nor does it go back in time: rows of two documents, the first of them with a NaN."""
    given = make(length, 2, 4, 5)
    given["value"][:, 0] = torch.nan
    documents = (torch.arange(length) >= 2).long().expand(2, -1)
    outputs, last = run(means, given, documents=documents)
    assert outputs[:, :2].isnan().all()
    assert outputs[:, 2:].isfinite().all()
    assert last.isfinite().all()
    late = make(length, 2, 4, 5)
    late["value"][:, 2] = torch.nan
    outputs, _ = run(means, late)
    assert outputs[:, :2].isfinite().all()
    assert outputs[:, 2:].isnan().all()


def test_nan_among_the_gradients_goes_back_in_time_only() -> None:
    if kernel_level() is None:
        pytest.skip("no kernel was compiled")
    given = make(9, 2, 4, 5)
    over_time = [
        given[name].requires_grad_() for name in ("query", "key", "value", "log_decay", "rate")
    ]
    outputs, _ = gated_delta_rule(**given)
    weights = torch.ones_like(outputs)
    weights[:, 1] = torch.nan
    for grad in torch.autograd.grad(outputs, over_time, weights):
        assert grad[:, 1].isnan().any()
        assert grad[:, 2:].isfinite().all()


def test_a_backward_pass_may_do_without_the_kernel_of_the_forward_pass() -> None:
    given = make(70, 2, 4, 5)
    expected = results_and_gradients(lambda leaves: gated_delta_rule(**leaves), given)

    def forward_by_torch(leaves: Arguments) -> tuple[Tensor, Tensor]:
        with torch_only():
            return gated_delta_rule(**leaves)

    assert_close(results_and_gradients(forward_by_torch, given), expected, 70)
