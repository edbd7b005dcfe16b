"""The diagonal linear recurrence in torch's own functions, for where no compiled kernel is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from statespan.models.ops.tokens import PADDING, STARTS

__all__ = ["composite_diagonal_recurrence"]


def composite_diagonal_recurrence(
    inputs: Tensor, decay: Tensor, tokens: Tensor | None, initial: Tensor, is_complex: bool
) -> tuple[Tensor, Tensor]:
    """Return states and last states, by differentiable functions, of what the kernel is given."""
    if not inputs.numel():
        return torch.zeros_like(inputs), initial
    cuts = padding = None
    if tokens is not None:
        cuts, padding = (tokens == STARTS)[..., None], (tokens == PADDING)[..., None]
        inputs, decay = inputs.masked_fill(padding, 0), decay.masked_fill(padding, 0)
    if is_complex:
        inputs, decay, initial = (_as_complex(tensor) for tensor in (inputs, decay, initial))
    if padding is not None:
        decay = decay.masked_fill(padding, 1)
    states: Tensor = _Recurrence.apply(inputs, decay, initial, cuts)  # type: ignore[no-untyped-call]
    last = states[:, -1]
    if padding is not None:
        states = states.masked_fill(padding, 0)
    if is_complex:
        return torch.view_as_real(states).flatten(-2), torch.view_as_real(last).flatten(-2)
    return states, last


def _as_complex(floats: Tensor) -> Tensor:
    pairs = floats.reshape(*floats.shape[:-1], floats.shape[-1] // 2, 2)
    return torch.complex(pairs[..., 0], pairs[..., 1])


def _run(inputs: Tensor, decay: Tensor, state: Tensor, cuts: Tensor | None) -> Tensor:
    """Return all states [row, length, channel]; where `cuts` [row, length, 1], none came before."""
    states = inputs.transpose(0, 1).clone(memory_format=torch.contiguous_format)
    fades = decay.transpose(0, 1)
    for t, (now, fade) in enumerate(zip(states.unbind(0), fades.unbind(0), strict=True)):
        if cuts is not None:
            state = state.masked_fill(cuts[:, t], 0)
        state = now.addcmul_(fade, state)
    return states.transpose(0, 1)


def _next(tensor: Tensor) -> Tensor:
    """Return, at each time, what `tensor` [row, length, ...] has at the next; zeros at the last."""
    return torch.cat((tensor[:, 1:], torch.zeros_like(tensor[:, :1])), dim=1)


class _Recurrence(torch.autograd.Function):
    """The states; their gradients are the same recurrence, backward in time."""

    @staticmethod
    def forward(inputs: Tensor, decay: Tensor, initial: Tensor, cuts: Tensor | None) -> Tensor:
        return _run(inputs, decay, initial, cuts)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, decay, initial, cuts = inputs
        ctx.save_for_backward(decay, initial, cuts, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        decay, initial, cuts, states = ctx.saved_tensors
        before = torch.cat((initial[:, None], states[:, :-1]), dim=1)
        if cuts is not None:
            before = before.masked_fill(cuts, 0)
        # Going back in time, a gradient arrives at t through the decay of t + 1.
        (grads,) = gradients
        ahead = _next(decay.conj()).flip(1)
        cuts_ahead = None if cuts is None else _next(cuts).flip(1)
        flipped = _run(grads.flip(1), ahead, torch.zeros_like(initial), cuts_ahead)
        grad_states = flipped.flip(1)
        return (
            grad_states,
            grad_states * before.conj(),
            grad_states[:, 0] * decay[:, 0].conj(),
            None,
        )
