"""Mamba's selective scan on a CPU, in time linear in the length.

A compiled kernel does it where there is one (`kernels/selective_scan.c`), torch elsewhere. Both
walk through time chunk by chunk; the backward pass recomputes the states of a chunk from the state
at its start, so nothing of size batch × length × channel × state ever exists.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from statespan.models.ops.checks import (
    check_documents,
    check_dtypes,
    check_shape,
    computing_dtype,
)
from statespan.models.ops.native import call, contiguous, is_native, num_threads, rows
from statespan.models.ops.operator import (
    Kind,
    empty_gradients,
    gradients_by_recomputation,
    make_operation,
    rows_per_member,
    sum_rows,
)
from statespan.models.ops.selective_scan_torch import composite_selective_scan
from statespan.models.ops.tokens import token_kinds

__all__ = ["selective_scan"]

CHUNK = 64
"""Tokens from one kept state to the next in the compiled kernel, as in its source."""

MOST_STATES = 256
"""The largest state that the compiled kernel holds, as in its source."""


def selective_scan(
    inputs: Float[Tensor, "batch length channel"],
    delta: Float[Tensor, "batch length channel"],
    transition: Float[Tensor, "channel state"],
    write: Float[Tensor, "batch length *group state"],
    read: Float[Tensor, "batch length *group state"],
    initial_state: Float[Tensor, "batch channel state"] | None = None,
    *,
    skip: Float[Tensor, " channel"] | None = None,
    gate: Float[Tensor, "batch length channel"] | None = None,
    delta_bias: Float[Tensor, " channel"] | None = None,
    softplus: bool = False,
    documents: Int[Tensor, "batch length"] | None = None,
) -> tuple[Float[Tensor, "batch length channel"], Float[Tensor, "batch channel state"]]:
    """Return the outputs and the last state of Mamba's recurrence (Gu and Dao 2023, algorithm 2).

    h_t = exp(Δ_t A) ∘ h_{t-1} + Δ_t x_t B_t and y_t = (h_t C_t + D ∘ x_t) ∘ silu(z_t), with A
    `transition` (negative for a decay), B `write`, C `read`, D `skip`, z `gate`. Δ is `delta`
    plus `delta_bias`, through softplus if `softplus`. What is None is left out. With a group axis
    in `write` and `read`, each group of neighboring channels has its own.

    A missing `initial_state` is zero. The last state, given as the initial one of the next piece,
    continues the sequence; one token at a time is the same operation. `documents` has the number
    of the document of each token (see `statespan.models.ops.tokens.token_kinds`): a state never
    passes from one document to the next, and padding, a negative number, leaves it as it is.

    Time and memory are linear in the length. bfloat16 is computed and its state kept in float32.
    Differentiable once, in every argument of floats.

    Raises:
        InputError: a shape, dtype or device does not fit; the message names the argument.

    Example:
        >>> import torch
        >>> ones = torch.ones(1, 3, 1)
        >>> outputs, state = selective_scan(ones, ones, torch.zeros(1, 1), ones, ones)
        >>> outputs.flatten().tolist(), state.item()
        ([1.0, 2.0, 3.0], 3.0)
    """
    check_dtypes(
        inputs=inputs, delta=delta, transition=transition, write=write, read=read, skip=skip,
        gate=gate, delta_bias=delta_bias, initial_state=initial_state,
    )  # fmt: skip
    check_shape("inputs", inputs, None, None, None)
    batch, length, channel = inputs.shape
    check_shape("transition", transition, channel, None)
    state = transition.shape[1]
    groups = [write.shape[2]] if write.ndim == 4 else []
    check_shape("delta", delta, batch, length, channel)
    check_shape("write", write, batch, length, *groups, state)
    check_shape("read", read, batch, length, *groups, state)
    check_shape("initial_state", initial_state, batch, channel, state)
    check_shape("gate", gate, batch, length, channel)
    check_shape("skip", skip, channel)
    check_shape("delta_bias", delta_bias, channel)
    check_documents(documents, batch, length)
    dtype = computing_dtype(inputs)
    per_group = (batch, length, *(groups or [1]), state)
    if initial_state is None:
        initial_state = inputs.new_zeros(batch, channel, state, dtype=dtype)
    outputs, last, _ = _selective_scan(
        inputs.to(dtype),
        delta.to(dtype),
        transition.to(dtype).t()[None],
        write.to(dtype).reshape(per_group),
        read.to(dtype).reshape(per_group),
        None if skip is None else skip.to(dtype)[None],
        None if gate is None else gate.to(dtype),
        None if delta_bias is None else delta_bias.to(dtype)[None],
        None if documents is None else token_kinds(documents),
        initial_state.to(dtype).transpose(1, 2),
        softplus,
    )
    return outputs.to(inputs.dtype), last.transpose(1, 2)


def _forward(
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
) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs, last states and the states that each chunk starts from.

    Rows: inputs, delta, gate [row, length, channel]; write, read [row, length, group, state];
    tokens [row, length]; initial [row, state, channel]. Members: transition [member, state,
    channel]; skip, delta_bias [member, channel]. Kept states: [row, chunk, state, channel].
    """
    arguments = (inputs, delta, transition, write, read, skip, gate, delta_bias, tokens)
    if not _has_kernel(inputs, transition):
        outputs, last = composite_selective_scan(*arguments, initial, softplus)
        return outputs.contiguous(), last.contiguous(), _no_starts(inputs)
    row, length, channel = inputs.shape
    outputs = inputs.new_empty(row, length, channel)
    last = initial.clone(memory_format=torch.contiguous_format)
    starts = inputs.new_empty(row, -(-length // CHUNK), *transition.shape[1:])
    native = _Native(*arguments, softplus=softplus)
    results = (outputs, last, starts)
    call("selective_scan_forward", *native.tensors, *results, *native.strides, *native.sizes)
    return outputs, last, starts


def _backward(
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
    starts: Tensor,
    grad_outputs: Tensor | None,
    grad_last: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the tensors that `_forward` takes, an empty one for the tokens."""
    arguments = (inputs, delta, transition, write, read, skip, gate, delta_bias, tokens)
    if not _has_kernel(inputs, transition):
        return gradients_by_recomputation(  # type: ignore[return-value]
            composite_selective_scan, (*arguments, initial, softplus), grad_outputs, grad_last
        )
    row, length, channel = inputs.shape
    members, state = transition.shape[:2]
    if grad_outputs is None:
        grad_outputs = inputs.new_zeros(1, 1, channel).expand(row, length, channel)
    grad_outputs = rows(grad_outputs)
    if grad_last is None:
        grad_last = torch.zeros_like(initial)
    grad_state = grad_last.clone(memory_format=torch.contiguous_format)
    native = _Native(*arguments, softplus=softplus)
    grad_inputs, grad_delta = (inputs.new_empty(row, length, channel) for _ in range(2))
    grad_gate = inputs.new_empty((row, length, channel) if gate is not None else 0)
    grad_write, grad_read = (inputs.new_zeros(native.parts, *write.shape) for _ in range(2))
    grad_transition = inputs.new_zeros(row, state, channel)
    grad_skip, grad_bias = (inputs.new_zeros(row, channel) for _ in range(2))
    call(
        "selective_scan_backward", *native.tensors, starts, grad_outputs, grad_inputs, grad_delta,
        grad_transition, grad_write, grad_read, grad_skip, grad_gate, grad_bias, grad_state,
        *native.strides, *grad_outputs.stride()[:2], *native.sizes,
    )  # fmt: skip
    return (
        grad_inputs,
        grad_delta,
        sum_rows(grad_transition, members),
        _sum_parts(grad_write),
        _sum_parts(grad_read),
        inputs.new_empty(0) if skip is None else sum_rows(grad_skip, members),
        grad_gate,
        inputs.new_empty(0) if delta_bias is None else sum_rows(grad_bias, members),
        inputs.new_empty(0),
        grad_state,
    )


def _has_kernel(inputs: Tensor, transition: Tensor) -> bool:
    return is_native(inputs) and transition.shape[1] <= MOST_STATES


def _no_starts(inputs: Tensor) -> Tensor:
    return inputs.new_empty(len(inputs), 0)


def _sum_parts(gradients: Tensor) -> Tensor:
    return gradients.sum(0) if len(gradients) > 1 else gradients.squeeze(0)


class _Native:
    """The arguments of the kernels, in the order of their source."""

    def __init__(
        self,
        inputs: Tensor,
        delta: Tensor,
        transition: Tensor,
        write: Tensor,
        read: Tensor,
        skip: Tensor | None,
        gate: Tensor | None,
        delta_bias: Tensor | None,
        tokens: Tensor | None,
        *,
        softplus: bool,
    ) -> None:
        inputs, delta, write, read = (rows(tensor) for tensor in (inputs, delta, write, read))
        gate = None if gate is None else rows(gate)
        row, length, channel = inputs.shape
        state = transition.shape[1]
        threads = num_threads(row * length * channel * state)
        self.parts = max(1, min(-(-threads // max(1, row)), channel // 16))
        self.tensors = (
            inputs, delta, transition.contiguous(), write, read, contiguous(skip), gate,
            contiguous(delta_bias), contiguous(tokens),
        )  # fmt: skip
        self.strides = (
            *inputs.stride()[:2], *delta.stride()[:2],
            *(delta if gate is None else gate).stride()[:2],
            *write.stride()[:3], *read.stride()[:3],
        )  # fmt: skip
        self.sizes = (
            row, length, channel, state, write.shape[2], rows_per_member(row, transition),
            int(softplus), self.parts, threads,
        )  # fmt: skip


def _fake(inputs: Tensor, _: Tensor, transition: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    initial = rest[6]
    row, length, channel = inputs.shape
    if _has_kernel(inputs, transition):
        starts = inputs.new_empty(row, -(-length // CHUNK), *transition.shape[1:])
    else:
        starts = _no_starts(inputs)
    return inputs.new_empty(row, length, channel), initial.new_empty(initial.shape), starts


_KINDS: tuple[Kind, ...] = (
    "row", "row", "member", "row", "row", "member", "row", "member", "row", "row", "fixed",
)  # fmt: skip

_selective_scan = make_operation(
    "selective_scan",
    _forward,
    _backward,
    kinds=_KINDS,
    fake=_fake,
    fake_backward=empty_gradients(10),
)
