"""The diagonal recurrence over complex numbers, and what rotations ask of it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from statespan.models.ops import diagonal_recurrence
from statespan.models.ops.reference import reference_diagonal_recurrence
from tests.models.ops.means import both_means, running_by
from tests.models.ops.operations import Draw, assert_close, draw_from


def run(means: str, *arguments: Tensor, **more: object) -> tuple[Tensor, Tensor]:
    with running_by(means):
        return diagonal_recurrence(*arguments, **more)


def draw_complex(draw: Draw, *shape: int) -> Tensor:
    return torch.complex(draw(*shape), draw(*shape))


def make(length: int, channel: int, dtype: torch.dtype) -> list[Tensor]:
    """Inputs, decays within the unit circle and a state, all complex."""
    draw = draw_from(length, dtype)
    decay = draw_complex(draw, 3, length, channel)
    return [
        draw_complex(draw, 3, length, channel),
        decay / (1 + decay.abs()),
        draw_complex(draw, 3, channel),
    ]


def gradients(results: tuple[Tensor, Tensor], leaves: list[Tensor]) -> dict[str, Tensor]:
    """Return the real and imaginary parts of results and gradients of a fixed weighted sum."""
    draw = draw_from(1, torch.float64)
    loss = sum(
        ((result * draw_complex(draw, *result.shape)).real.sum() for result in results),
        torch.zeros(()),
    )
    grads = torch.autograd.grad(loss, leaves)
    names = ("outputs", "last", "inputs", "decay", "initial_state")
    tensors = (*results, *grads)
    return {
        name: torch.view_as_real(tensor.detach()) if tensor.is_complex() else tensor.detach()
        for name, tensor in zip(names, tensors, strict=True)
    }


@both_means
@pytest.mark.parametrize("length", [1, 2, 7, 64, 100, 200])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_complex_numbers_are_the_reference(means: str, length: int, dtype: torch.dtype) -> None:
    given = make(length, 11, dtype)
    documents = (torch.arange(length) // 5 - 1).expand(3, -1)
    for more in ({}, {"documents": documents}):
        leaves = [tensor.clone().requires_grad_() for tensor in given]
        wide = [tensor.to(torch.complex128).requires_grad_() for tensor in given]
        ours = gradients(run(means, *leaves, **more), leaves)
        theirs = gradients(reference_diagonal_recurrence(*wide, **more), wide)
        assert all(tensor.dtype == dtype for tensor in ours.values())
        assert_close(ours, theirs, length)


@both_means
def test_real_inputs_may_meet_complex_decays(means: str) -> None:
    inputs, decay, state = make(9, 4, torch.float32)
    real = inputs.real.clone().requires_grad_()
    turns = decay.requires_grad_()
    states, last = run(means, real, turns, state)
    expected, _ = run(means, inputs.real.to(torch.complex64), decay, state)
    assert torch.equal(states, expected)
    grads = torch.autograd.grad(states.abs().sum() + last.abs().sum(), (real, turns))
    assert [grad.dtype for grad in grads] == [torch.float32, torch.complex64]


@both_means
@pytest.mark.parametrize("length", [1, 4, 130])
def test_quarter_turns_are_exact(means: str, length: int) -> None:
    inputs = torch.zeros(1, length, 3, dtype=torch.complex64)
    state = torch.tensor([[0.1 + 0.7j, -3 + 1e-20j, 1e30 + 0j]])
    states, last = run(means, inputs, torch.full_like(inputs, 1j), state)
    expected = state
    for t in range(length):
        expected = torch.complex(-expected.imag, expected.real)
        assert torch.equal(states[:, t], expected)
    assert torch.equal(last, expected)


@both_means
@pytest.mark.parametrize("length", [1, 130])
@pytest.mark.parametrize("decay", [0.0, 1.0, -1.0])
def test_decays_of_0_and_of_either_sign_of_1_are_exact(
    means: str, length: int, decay: float
) -> None:
    state = torch.tensor([[0.1234567, -1e-30, 3e30]])
    inputs = torch.zeros(1, length, 3)
    states, last = run(means, inputs, torch.full_like(inputs, decay), state)
    for t in range(length):
        assert torch.equal(states[:, t], decay ** (t + 1) * state)
    assert torch.equal(last, states[:, -1])


@both_means
def test_nan_stays_in_its_document(means: str) -> None:
    inputs, decay, state = (tensor.real.clone() for tensor in make(12, 4, torch.float32))
    inputs[:, 1] = torch.nan
    documents = (torch.arange(12) >= 2).long().expand(3, -1)
    leaves = [inputs.requires_grad_(), decay.requires_grad_(), state.requires_grad_()]
    states, last = run(means, *leaves, documents=documents)
    assert states[:, 1].isnan().all()
    assert states[:, 0].isfinite().all()
    assert states[:, 2:].isfinite().all()
    grads = torch.autograd.grad(states[:, 2:].sum() + last.sum(), leaves)
    assert all(grad[:, 2:].isfinite().all() for grad in grads[:2])
    assert not grads[2].any()
