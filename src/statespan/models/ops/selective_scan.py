"""Mamba's selective scan on a CPU, in time linear in the length.

The states of one chunk of time at a time are kept, time first, so that each step of the recurrence
is one fused multiply-add over contiguous memory and all the rest of a chunk is a few large
operations. The backward pass recomputes the states of a chunk from the state at its start; so
nothing of size batch × length × channel × state ever exists.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["selective_scan"]

CHUNK_NUMBERS = 1 << 20
"""Numbers in one [chunk, batch, channel, state] block: small enough to stay in a CPU's cache."""


def selective_scan(
    inputs: Float[Tensor, "batch length channel"],
    delta: Float[Tensor, "batch length channel"],
    transition: Float[Tensor, "channel state"],
    write: Float[Tensor, "batch length state"],
    read: Float[Tensor, "batch length state"],
    initial_state: Float[Tensor, "batch channel state"] | None = None,
) -> tuple[Float[Tensor, "batch length channel"], Float[Tensor, "batch channel state"]]:
    """Return the outputs and the last state of Mamba's recurrence (Gu and Dao 2023, algorithm 2).

    h_t = exp(Δ_t A) ∘ h_{t-1} + Δ_t x_t B_t and y_t = h_t C_t, with A `transition` (negative for a
    decay), B `write`, C `read`. A missing `initial_state` is zero. The last state, given as the
    initial one of the next piece, continues the sequence. Time and memory are linear in `length`.
    Differentiable once, in every argument.

    Example:
        >>> import torch
        >>> ones = torch.ones(1, 3, 1)
        >>> outputs, state = selective_scan(ones, ones, torch.zeros(1, 1), ones, ones)
        >>> outputs.flatten().tolist(), state.item()
        ([1.0, 2.0, 3.0], 3.0)
    """
    if initial_state is None:
        initial_state = inputs.new_zeros(inputs.shape[0], *transition.shape)
    outputs, last_state = _SelectiveScan.apply(  # type: ignore[no-untyped-call]
        *(_time_first(tensor) for tensor in (inputs, delta)),
        transition,
        *(_time_first(tensor) for tensor in (write, read)),
        initial_state,
    )
    return outputs.transpose(0, 1), last_state


def _time_first(tensor: Tensor) -> Tensor:
    return tensor.transpose(0, 1).contiguous()


def _chunk_length(batch: int, channel: int, state: int) -> int:
    return max(1, CHUNK_NUMBERS // max(1, batch * channel * state))


def _run_chunk(
    scaled: Tensor, delta: Tensor, transition: Tensor, write: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the decays and the states of one chunk, both [time, batch, channel, state]."""
    decay = torch.mul(delta[..., None], transition).exp_()
    states = scaled[..., None] * write[:, :, None, :]
    for now, fade in zip(states.unbind(0), decay.unbind(0), strict=True):
        state = now.addcmul_(fade, state)
    return decay, states


class _SelectiveScan(torch.autograd.Function):
    """Time-first arguments and output; see `selective_scan`."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        delta: Tensor,
        transition: Tensor,
        write: Tensor,
        read: Tensor,
        initial_state: Tensor,
    ) -> tuple[Tensor, Tensor]:
        length = inputs.shape[0]
        chunk = _chunk_length(*initial_state.shape)
        scaled = inputs * delta
        outputs = torch.empty_like(inputs)
        starts = [initial_state]
        for begin in range(0, length, chunk):
            part = slice(begin, begin + chunk)
            _, states = _run_chunk(scaled[part], delta[part], transition, write[part], starts[-1])
            starts.append(states[-1].clone())
            outputs[part] = states.mul_(read[part][:, :, None, :]).sum(-1)
        last_state = starts.pop()
        ctx.save_for_backward(inputs, delta, transition, write, read, *starts)
        return outputs, last_state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        grad_outputs, carry = gradients
        inputs, delta, transition, write, read, *starts = ctx.saved_tensors
        chunk = _chunk_length(*carry.shape)
        scaled = inputs * delta
        grad_scaled, grad_delta = torch.empty_like(inputs), torch.empty_like(delta)
        grad_write, grad_read = torch.empty_like(write), torch.empty_like(read)
        grad_transition = torch.zeros_like(transition)
        for index in range(len(starts) - 1, -1, -1):
            part = slice(index * chunk, (index + 1) * chunk)
            decay, states = _run_chunk(
                scaled[part], delta[part], transition, write[part], starts[index]
            )
            seen = grad_outputs[part]
            grad_read[part] = torch.matmul(seen[:, :, None, :], states)[:, :, 0]
            grad_states = seen[..., None] * read[part][:, :, None, :]
            for now, fade in zip(
                reversed(grad_states.unbind(0)), reversed(decay.unbind(0)), strict=True
            ):
                carry = now.add_(carry) * fade
            grad_write[part] = torch.matmul(scaled[part][:, :, None, :], grad_states)[:, :, 0]
            grad_scaled[part] = torch.mul(grad_states, write[part][:, :, None, :]).sum(-1)
            # From here on grad_states becomes the gradient of the exponent Δ A.
            grad_states[0].mul_(starts[index])
            grad_states[1:].mul_(states[:-1])
            grad_states.mul_(decay)
            grad_delta[part] = torch.mul(grad_states, transition).sum(-1)
            grad_transition += grad_states.mul_(delta[part][..., None]).sum((0, 1))
        grad_delta.addcmul_(grad_scaled, inputs)
        return grad_scaled * delta, grad_delta, grad_transition, grad_write, grad_read, carry
