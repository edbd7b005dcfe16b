"""The selective scan in torch's own functions, for where no compiled kernel is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import silu
from torch.nn.functional import softplus as softplus_of

from statespan.models.ops.operator import rows_per_member
from statespan.models.ops.tokens import PADDING, STARTS

__all__ = ["composite_selective_scan"]

CHUNK_NUMBERS = 1 << 20
"""Numbers in a [time, row, state, group, channel] block: few enough to stay in a CPU's cache."""


def composite_selective_scan(
    inputs: Tensor,
    delta: Tensor,
    transition: Tensor,
    write: Tensor,
    read: Tensor,
    skip: Tensor | None,
    gate: Tensor | None,
    delta_bias: Tensor | None,
    tokens: Tensor | None,
    initial: Tensor,
    softplus: bool,
) -> tuple[Tensor, Tensor]:
    """Return outputs and last states, by differentiable functions, of what the kernel is given."""
    groups, repeats = write.shape[2], rows_per_member(len(inputs), transition)
    padding = None if tokens is None else (tokens == PADDING)[..., None]
    if padding is not None:
        inputs, delta = (tensor.masked_fill(padding, 0) for tensor in (inputs, delta))
        write, read = (tensor.masked_fill(padding[..., None], 0) for tensor in (write, read))
        gate = None if gate is None else gate.masked_fill(padding, 0)
    if delta_bias is not None:
        delta = delta + delta_bias.repeat_interleave(repeats, 0)[:, None]
    if softplus:
        delta = softplus_of(delta)
    if padding is not None:
        # With Δ = 0 a decay is exactly 1 and nothing is written.
        delta = delta.masked_fill(padding, 0)

    def split(tensor: Tensor) -> Tensor:
        return tensor.reshape(*tensor.shape[:-1], groups, tensor.shape[-1] // groups)

    outputs, last, _ = _Recurrence.apply(  # type: ignore[no-untyped-call]
        *(_time_first(split(tensor)) for tensor in (inputs, delta)),
        split(transition).repeat_interleave(repeats, 0),
        *(_time_first(tensor) for tensor in (write, read)),
        split(initial),
        None if tokens is None else (tokens == STARTS).t(),
    )
    outputs = outputs.transpose(0, 1).flatten(-2)
    if skip is not None:
        outputs = outputs + skip.repeat_interleave(repeats, 0)[:, None] * inputs
    if gate is not None:
        outputs = outputs * silu(gate)
    return outputs, last.flatten(-2)


def _time_first(tensor: Tensor) -> Tensor:
    return tensor.transpose(0, 1).contiguous()


def _chunk_length(initial: Tensor) -> int:
    return max(1, CHUNK_NUMBERS // max(1, initial.numel()))


def _run_chunk(
    scaled: Tensor,
    delta: Tensor,
    transition: Tensor,
    write: Tensor,
    state: Tensor,
    cuts: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return the decays and the states of one chunk, both [time, row, state, group, channel]."""
    decay = torch.mul(delta[:, :, None], transition).exp_()
    states = scaled[:, :, None] * _over_channels(write)
    for t, (now, fade) in enumerate(zip(states.unbind(0), decay.unbind(0), strict=True)):
        if cuts is not None:
            state = state.masked_fill(cuts[t], 0)
        state = now.addcmul_(fade, state)
    return decay, states


def _over_channels(tensor: Tensor) -> Tensor:
    """Return [time, row, group, state] as [time, row, state, group, 1]."""
    return tensor.transpose(-1, -2)[..., None]


class _Recurrence(torch.autograd.Function):
    """The bare recurrence: time first, channels [group, channel], a transition a row.

    `cuts` [time, row, 1, 1, 1] says where the state begins anew.
    """

    @staticmethod
    def forward(
        inputs: Tensor,
        delta: Tensor,
        transition: Tensor,
        write: Tensor,
        read: Tensor,
        initial: Tensor,
        starts_document: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        chunk = _chunk_length(initial)
        scaled = inputs * delta
        outputs = torch.empty_like(inputs)
        state, starts = initial, []
        for begin in range(0, len(inputs), chunk):
            part = slice(begin, begin + chunk)
            starts.append(state)
            cuts = _cuts(starts_document, part)
            _, states = _run_chunk(scaled[part], delta[part], transition, write[part], state, cuts)
            state = states[-1].clone()
            outputs[part] = states.mul_(_over_channels(read[part])).sum(2)
        kept = torch.stack(starts) if starts else initial.new_empty(0, *initial.shape)
        return outputs, state.clone(), kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs, output[2])
        ctx.mark_non_differentiable(output[2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        grad_outputs, carry, _ = gradients
        inputs, delta, transition, write, read, _, starts_document, starts = ctx.saved_tensors
        chunk = _chunk_length(carry)
        scaled = inputs * delta
        grad_scaled, grad_delta = torch.empty_like(inputs), torch.empty_like(delta)
        grad_write, grad_read = torch.empty_like(write), torch.empty_like(read)
        grad_transition = torch.zeros_like(transition)
        for index in range(len(starts) - 1, -1, -1):
            part = slice(index * chunk, (index + 1) * chunk)
            cuts = _cuts(starts_document, part)
            decay, states = _run_chunk(
                scaled[part], delta[part], transition, write[part], starts[index], cuts
            )
            seen = grad_outputs[part]
            grad_read[part] = torch.einsum("trgc,trngc->trgn", seen, states)
            grad_states = seen[:, :, None] * _over_channels(read[part])
            for t in range(len(decay) - 1, -1, -1):
                carry = grad_states[t].add_(carry) * decay[t]
                if cuts is not None:
                    carry.masked_fill_(cuts[t], 0)
            grad_write[part] = torch.einsum("trgc,trngc->trgn", scaled[part], grad_states)
            grad_scaled[part] = torch.mul(grad_states, _over_channels(write[part])).sum(2)
            # From here on grad_states becomes the gradient of the exponent Δ A.
            grad_states[0].mul_(starts[index])
            grad_states[1:].mul_(states[:-1])
            grad_states.mul_(decay)
            if cuts is not None:
                grad_states.masked_fill_(cuts, 0)
            grad_delta[part] = torch.mul(grad_states, transition).sum(2)
            grad_transition += grad_states.mul_(delta[part][:, :, None]).sum(0)
        grad_delta.addcmul_(grad_scaled, inputs)
        grad_inputs = grad_scaled * delta
        return grad_inputs, grad_delta, grad_transition, grad_write, grad_read, carry, None


def _cuts(starts_document: Tensor | None, part: slice) -> Tensor | None:
    """Return, as [time, row, 1, 1, 1], which tokens of a chunk start a document."""
    return None if starts_document is None else starts_document[part][..., None, None, None]
