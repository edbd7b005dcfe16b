"""The operations by the kernels of other packages, for tensors on a GPU.

Each function has the arguments of the operation of its name, checked already, and returns that
operation's results, or None where torch must do the work: no kernel is there, or it cannot do what
was asked. What the kernels are given is laid out as their packages have it.

These ways were tried with stand-ins of the same signatures on a CPU, not on a GPU.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.functional import softplus as softplus_of

from statespan.models.ops.gpu import find_kernel
from statespan.models.ops.operator import gradients_by_recomputation
from statespan.models.ops.selective_scan_torch import composite_selective_scan
from statespan.models.ops.tokens import PADDING, STARTS, token_kinds

__all__ = [
    "causal_convolution_on_gpu",
    "gated_delta_rule_on_gpu",
    "selective_scan_on_gpu",
    "state_space_dual_on_gpu",
]

Results: TypeAlias = tuple[Tensor, Tensor] | None

MOST_STATE = 256
"""The longest state of mamba-ssm's scan, and the longest key of flash-linear-attention's rule."""

DUAL_CHUNK = 256
"""The chunk that mamba-ssm's own Mamba-2 layers take."""

LEAST_EXPONENT = -128.0
"""A decay of less is 0 in float32; sums of exponents down to here keep their fractions."""


def causal_convolution_on_gpu(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    initial_state: Tensor | None,
    *,
    activation: str | None,
    documents: Tensor | None,
) -> Results:
    """Return the convolution by causal-conv1d: 2 to 4 steps wide, over channels by the eight.

    Documents are for calls without an initial state and without padding; whether there is some is
    read back from the GPU.
    """
    (channel, width), length = weight.shape, inputs.shape[1]
    kernel = find_kernel("causal_convolution", inputs, weight)
    if kernel is None or channel % 8 or not 2 <= width <= 4:
        return None
    bias = None if bias is None else bias.to(weight.dtype)
    aligned = inputs.stride(2) == 1 and inputs.stride(0) % 8 == inputs.stride(1) % 8 == 0
    channels_last = (inputs if aligned else inputs.contiguous()).transpose(1, 2)
    if documents is None:
        if initial_state is not None:
            initial_state = initial_state.to(inputs.dtype).contiguous().transpose(1, 2)
        outputs, last = kernel(
            channels_last, weight, bias, initial_states=initial_state, return_final_states=True,
            activation=activation,
        )  # fmt: skip
        return outputs.transpose(1, 2), last.transpose(1, 2)
    if initial_state is not None or not _holds(documents >= 0):
        return None
    numbers = _document_numbers(token_kinds(documents))
    outputs = kernel(channels_last, weight, bias, seq_idx=numbers, activation=activation)
    window = pad(inputs, (0, 0, width - 1, 0))[:, length:]
    same = pad(numbers, (width - 1, 0), value=-1)[:, length:] == numbers[:, -1:]
    return outputs.transpose(1, 2), window.masked_fill(~same[..., None], 0)


def selective_scan_on_gpu(
    inputs: Tensor,
    delta: Tensor,
    transition: Tensor,
    write: Tensor,
    read: Tensor,
    initial_state: Tensor | None,
    *,
    skip: Tensor | None,
    gate: Tensor | None,
    delta_bias: Tensor | None,
    softplus: bool,
    documents: Tensor | None,
) -> Results:
    """Return the scan by mamba-ssm, which knows no initial state and no documents."""
    over_time = (inputs, delta, write, read, gate)
    kernel = find_kernel("selective_scan", *over_time)
    known = initial_state is None and documents is None and transition.shape[1] <= MOST_STATE
    if kernel is None or not known:
        return None
    same = all(tensor is None or tensor.dtype is inputs.dtype for tensor in over_time)
    dtype = inputs.dtype if same else torch.float32
    time_last = [None if t is None else t.to(dtype).movedim(1, -1) for t in over_time]
    outputs, last = kernel(
        *time_last[:2], transition.float(), *time_last[2:4],
        None if skip is None else skip.float(), z=time_last[4],
        delta_bias=None if delta_bias is None else delta_bias.float(),
        delta_softplus=softplus, return_last_state=True,
    )  # fmt: skip
    last = _LastState.apply(last, softplus, inputs, delta, transition, write, delta_bias)  # type: ignore[no-untyped-call]
    return outputs.transpose(1, 2).to(inputs.dtype), last


class _LastState(torch.autograd.Function):
    """The last state that mamba-ssm found, with a gradient: its own backward leaves it out."""

    @staticmethod
    def forward(ctx: Any, last: Tensor, softplus: bool, *scanned: Tensor | None) -> Tensor:
        ctx.softplus = softplus
        ctx.save_for_backward(*scanned)
        return last.float().clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        scanned = ctx.saved_tensors
        found = gradients_by_recomputation(_last_state, (*scanned, ctx.softplus), gradient)
        given = zip(scanned, found, strict=True)
        return None, None, *(None if tensor is None else grad for tensor, grad in given)


def _last_state(
    inputs: Tensor,
    delta: Tensor,
    transition: Tensor,
    write: Tensor,
    delta_bias: Tensor | None,
    softplus: bool,
) -> tuple[Tensor]:
    inputs, delta, transition, write = (t.float() for t in (inputs, delta, transition, write))
    write = write if write.ndim == 4 else write[:, :, None]
    bias = None if delta_bias is None else delta_bias.float()[None]
    initial = inputs.new_zeros(len(inputs), *transition.t().shape)
    _, last = composite_selective_scan(
        inputs, delta, transition.t()[None], write, write, None, None, bias, None, initial, softplus
    )
    return (last.transpose(1, 2),)


def state_space_dual_on_gpu(
    inputs: Tensor,
    delta: Tensor,
    transition: Tensor,
    write: Tensor,
    read: Tensor,
    initial_state: Tensor | None,
    *,
    skip: Tensor | None,
    delta_bias: Tensor | None,
    softplus: bool,
    delta_limits: tuple[float, float] | None,
    documents: Tensor | None,
) -> Results:
    """Return the scan by mamba-ssm, for half precision and for Δ a from -128 to 0 with Δ ≥ 0.

    The kernel adds the exponents Δ a up, so that extreme ones swallow others; whether they are in
    that range is read back from the GPU. Between its chunks of 256 tokens the kernel keeps the
    state in half precision.
    """
    kernel = find_kernel("state_space_dual", inputs, write, read)
    if kernel is None or not inputs.dtype is write.dtype is read.dtype:
        return None
    step, numbers, padding = delta.float(), None, None
    if documents is not None:
        tokens = token_kinds(documents)
        numbers, padding = _document_numbers(tokens), tokens == PADDING
        inputs, step, write, read = _without_padding(padding, inputs, step, write, read)
    step = step if delta_bias is None else step + delta_bias.float()
    step = softplus_of(step) if softplus else step
    step = step if delta_limits is None else step.clamp(*delta_limits)
    if padding is not None:
        # With Δ = 0 a decay is exactly 1 and nothing is written; what reads with 0 gives 0.
        (step,) = _without_padding(padding, step)
    exponent = step * transition.float()
    if not _holds((step >= 0) & (exponent <= 0) & (exponent >= LEAST_EXPONENT)):
        return None
    grouped = (t if t.ndim == 4 else t[:, :, None] for t in (write, read))
    outputs, last = kernel(
        inputs, step, transition.float(), *grouped, DUAL_CHUNK,
        D=None if skip is None else skip.float(),
        initial_states=None if initial_state is None else initial_state.float(),
        seq_idx=numbers, dt_limit=(0.0, math.inf), return_final_states=True,
    )  # fmt: skip
    return outputs, last


def gated_delta_rule_on_gpu(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    log_decay: Tensor,
    rate: Tensor,
    initial_state: Tensor | None,
    *,
    documents: Tensor | None,
) -> Results:
    """Return the rule by flash-linear-attention, for half precision and for states that fade.

    Whether they do, and where documents start, is read back from the GPU. A sequence of fewer
    tokens than heads is left to torch: the kernel takes its axes for swapped.
    """
    kernel = find_kernel("gated_delta_rule", query, key, value)
    same = query.dtype is key.dtype is value.dtype
    if kernel is None or not same or key.shape[3] > MOST_STATE or key.shape[1] < key.shape[2]:
        return None
    padding = None
    if documents is not None:
        tokens = token_kinds(documents)
        padding = tokens == PADDING
        # With a rate of 0 and a decay of 1, padding leaves the state of any document as it is, and
        # a query of 0 gives 0.
        query, key, value, log_decay, rate = _without_padding(
            padding, query, key, value, log_decay, rate
        )
    if not _holds(log_decay <= 0):
        return None
    arguments = (query, key, value, log_decay.float().clamp_min(LEAST_EXPONENT), rate)
    state = None if initial_state is None else initial_state.float()
    if padding is None:
        outputs, last = kernel(
            *arguments, scale=1.0, initial_state=state, output_final_state=True
        )  # fmt: skip
        return outputs, last
    bounds, lasts = _document_bounds(tokens)
    states = value.new_zeros(len(bounds) - 1, *key.shape[2:], value.shape[3], dtype=torch.float32)
    if state is not None:
        states = states.index_copy(0, pad(lasts[:-1] + 1, (1, 0)), state)
    outputs, ends = kernel(
        *(tensor.flatten(0, 1)[None] for tensor in arguments), scale=1.0, initial_state=states,
        output_final_state=True, cu_seqlens=bounds,
    )  # fmt: skip
    return outputs.reshape(value.shape), ends[lasts]


def _document_bounds(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Return where each document starts in all rows put end to end, and each row's last document.

    A row starts a document of its own. After the starts comes the end of it all.
    """
    starts = tokens == STARTS
    starts[:, 0] = True
    bounds = pad(starts.flatten().nonzero().flatten(), (0, 1), value=tokens.numel())
    return bounds, starts.sum(1).cumsum(0) - 1


def _document_numbers(tokens: Tensor) -> Tensor:
    """Return the number of each token's document in its row; 0 continues what came before."""
    return (tokens == STARTS).cumsum(1).to(torch.int32).contiguous()


def _without_padding(padding: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Return tensors [batch, length, ...] with 0 where there is padding."""
    return tuple(
        tensor.masked_fill(padding.reshape(*padding.shape, *[1] * (tensor.ndim - 2)), 0)
        for tensor in tensors
    )


def _holds(condition: Tensor) -> bool:
    """Return whether all of `condition` is true, which waits for the GPU."""
    return bool(condition.all())
