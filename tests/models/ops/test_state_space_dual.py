"""What compiled models, and Mamba-2's own sizes, ask of the state-space dual scan."""

from __future__ import annotations

from inspect import unwrap

import pytest
import torch
from torch import Tensor

from statespan.errors import InputError
from statespan.models.ops import state_space_dual
from statespan.models.ops.reference import reference_state_space_dual
from statespan.native import kernel_level, torch_only
from tests.models.ops.means import both_means, running_by
from tests.models.ops.operations import Arguments, assert_close, draw_from, results_and_gradients

pieces = pytest.mark.parametrize("length", [1, 3, 130])
STATE = torch.tensor([[0.1234567, -3.0], [1e-30, 7e20]])[None, None]


def run(means: str, arguments: Arguments, **more: object) -> tuple[Tensor, Tensor]:
    with running_by(means):
        return state_space_dual(**arguments, **more)


def make(length: int, head: int, dim: int, group: int, state: int) -> dict[str, Tensor]:
    draw = draw_from(length, torch.float32)
    return {
        "inputs": draw(2, length, head, dim),
        "delta": draw(2, length, head),
        "transition": -draw(head).exp(),
        "write": draw(2, length, group, state) / state**0.5,
        "read": draw(2, length, group, state) / state**0.5,
        "skip": draw(head),
        "initial_state": draw(2, head, dim, state),
    }


def reference(given: Arguments) -> tuple[Tensor, Tensor]:
    wide = {name: tensor.double() for name, tensor in given.items()}
    return reference_state_space_dual(**wide, softplus=True)


def one_state(length: int, delta: float, value: float = 1.0) -> dict[str, Tensor]:
    """One head of two dims over the two columns of STATE, with A = -1; the first one is read."""
    return {
        "inputs": torch.full((1, length, 1, 2), value),
        "delta": torch.full((1, length, 1), delta),
        "transition": -torch.ones(1),
        "write": torch.ones(1, length, 2),
        "read": torch.tensor([1.0, 0.0]).expand(1, length, 2),
        "initial_state": STATE,
    }


@pytest.mark.parametrize("sizes", [(3, 64, 1, 64), (4, 33, 2, 20), (2, 16, 2, 130), (3, 1, 3, 1)])
@pytest.mark.parametrize("length", [3, 65, 130])
def test_whole_and_odd_numbers_of_vectors_are_the_reference(
    sizes: tuple[int, int, int, int], length: int
) -> None:
    given = make(length, *sizes)
    ours = results_and_gradients(lambda leaves: state_space_dual(**leaves, softplus=True), given)
    assert_close(ours, results_and_gradients(reference, given), length)


@both_means
@pieces
def test_a_step_of_no_size_keeps_the_state_bit_by_bit(means: str, length: int) -> None:
    outputs, last = run(means, one_state(length, 0.0))
    assert torch.equal(last, STATE)
    assert torch.equal(outputs[0, :, 0], STATE[0, 0, :, 0].expand(length, 2))


@both_means
@pieces
@pytest.mark.parametrize("delta", [200.0, 1e30, 3e38])
def test_a_large_step_forgets_to_exactly_nothing(means: str, length: int, delta: float) -> None:
    outputs, last = run(means, one_state(length, delta, value=0.0))
    assert not outputs.any()
    assert not last.any()


@both_means
@pieces
def test_steps_far_on_either_side_of_softplus_are_exact(means: str, length: int) -> None:
    _, kept = run(means, one_state(length, -200.0), softplus=True)
    assert torch.equal(kept, STATE)
    _, written = run(means, one_state(length, 128.0), softplus=True)
    assert torch.equal(written, torch.full_like(STATE, 128.0))


@both_means
def test_a_state_that_overflows_in_a_step_is_infinite(means: str) -> None:
    growing = one_state(1, 1e3, value=0.0) | {"transition": torch.ones(1)}
    given = growing | {"initial_state": STATE.abs(), "read": torch.ones(1, 1, 2)}
    outputs, last = run(means, given)
    assert outputs.isposinf().all()
    assert last.isposinf().all()


@both_means
@pieces
def test_limits_hold_the_steps(means: str, length: int) -> None:
    _, low = run(means, one_state(length, -5.0), delta_limits=(0.0, 1.0))
    assert torch.equal(low, STATE)
    given = one_state(length, 5.0)
    held = run(means, given, delta_limits=(0.0, 0.25))
    plain = run(means, given | {"delta": torch.full((1, length, 1), 0.25)})
    for ours, theirs in zip(held, plain, strict=True):
        assert torch.equal(ours, theirs)


@both_means
@pytest.mark.parametrize("length", [3, 12, 140])
def test_nan_stays_in_its_document(means: str, length: int) -> None:
    """Nor does it go back in time: rows of two documents, the first of them with a NaN."""
    given = make(length, 2, 5, 1, 4)
    given["write"][:, 0] = torch.nan
    given["inputs"][:, 1] = torch.inf
    documents = (torch.arange(length) >= 2).long().expand(2, -1)
    outputs, last = run(means, given, documents=documents)
    assert not outputs[:, :2].isfinite().any()
    assert outputs[:, 2:].isfinite().all()
    assert last.isfinite().all()
    late = make(length, 2, 5, 1, 4)
    late["write"][:, 2] = torch.nan
    outputs, _ = run(means, late)
    assert outputs[:, :2].isfinite().all()
    assert outputs[:, 2:].isnan().all()


def test_nan_among_the_gradients_goes_back_in_time_only() -> None:
    if kernel_level() is None:
        pytest.skip("no kernel was compiled")
    given = make(9, 2, 5, 1, 4)
    over_time = [given[name].requires_grad_() for name in ("inputs", "delta", "write", "read")]
    outputs, _ = state_space_dual(**given)
    weights = torch.ones_like(outputs)
    weights[:, 1] = torch.nan
    for grad in torch.autograd.grad(outputs, over_time, weights):
        assert grad[:, 1].isnan().any()
        assert grad[:, 2:].isfinite().all()


def test_a_backward_pass_may_do_without_the_kernel_of_the_forward_pass() -> None:
    given = make(70, 2, 5, 1, 4)
    expected = results_and_gradients(lambda leaves: state_space_dual(**leaves), given)

    def forward_by_torch(leaves: Arguments) -> tuple[Tensor, Tensor]:
        with torch_only():
            return state_space_dual(**leaves)

    assert_close(results_and_gradients(forward_by_torch, given), expected, 70)


def test_without_gradients_nothing_is_kept_and_the_results_are_the_same() -> None:
    given = make(70, 2, 5, 1, 4)
    with torch.no_grad():
        silent = state_space_dual(**given)
    for ours, theirs in zip(silent, state_space_dual(**given), strict=True):
        assert torch.equal(ours, theirs)


def test_groups_divide_the_heads() -> None:
    given = make(5, 3, 4, 1, 4)
    given["write"] = given["read"] = torch.zeros(2, 5, 2, 4)
    with pytest.raises(InputError, match=r"write must have a number of groups .*, 3, got 2"):
        unwrap(state_space_dual)(**given)
