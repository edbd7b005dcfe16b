"""Mamba's selective scan on a CPU, in time linear in the length.

A compiled kernel does it where there is one (`kernels/selective_scan.c`), torch elsewhere. Both
walk through time chunk by chunk; the backward pass recomputes the states of a chunk from the state
at its start, so nothing of size batch × length × channel × state ever exists.
"""

from __future__ import annotations

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from statespan.models.ops.checks import (
    check_documents,
    check_dtypes,
    check_shape,
    computing_dtype,
)
from statespan.models.ops.gpu_operations import selective_scan_on_gpu
from statespan.models.ops.operator import (
    Kind,
    empty_gradients,
    gradients_by_recomputation,
    make_operation,
)
from statespan.models.ops.selective_scan_kernel import CHUNK, ScanKernel, has_scan_kernel
from statespan.models.ops.selective_scan_torch import composite_selective_scan
from statespan.models.ops.tokens import token_kinds

__all__ = ["selective_scan"]


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
    on_gpu = selective_scan_on_gpu(
        inputs, delta, transition, write, read, initial_state, skip=skip, gate=gate,
        delta_bias=delta_bias, softplus=softplus, documents=documents,
    )  # fmt: skip
    if on_gpu is not None:
        return on_gpu
    dtype = computing_dtype(inputs)
    per_group = (batch, length, *(groups or [1]), state)
    if initial_state is None:
        initial_state = inputs.new_zeros(batch, channel, state, dtype=dtype)
    outputs, last = _selective_scan(
        inputs.to(dtype),
        delta.to(dtype),
        transition.to(dtype).t(),
        write.to(dtype).reshape(per_group),
        read.to(dtype).reshape(per_group),
        None if skip is None else skip.to(dtype),
        None if gate is None else gate.to(dtype),
        None if delta_bias is None else delta_bias.to(dtype),
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
    if has_scan_kernel(inputs, transition):
        return ScanKernel(*arguments, softplus=softplus).forward(initial)
    outputs, last = composite_selective_scan(*arguments, initial, softplus)
    return outputs.contiguous(), last.contiguous(), _no_starts(inputs)


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
    if starts.ndim == 2:  # nothing was kept: torch went forward
        return gradients_by_recomputation(  # type: ignore[return-value]
            composite_selective_scan, (*arguments, initial, softplus), grad_outputs, grad_last
        )
    if grad_outputs is None:
        grad_outputs = inputs.new_zeros(1, 1, inputs.shape[2]).expand_as(inputs)
    grad_gate = None if gate is None else gate.new_empty(gate.shape)
    grads = ScanKernel(*arguments, softplus=softplus).backward(
        starts, grad_outputs, grad_last, grad_gate=grad_gate
    )
    return (
        grads.inputs,
        grads.delta,
        grads.transition,
        grads.write,
        grads.read,
        inputs.new_empty(0) if skip is None else grads.skip,
        inputs.new_empty(0) if grad_gate is None else grad_gate,
        inputs.new_empty(0) if delta_bias is None else grads.delta_bias,
        inputs.new_empty(0),
        grads.initial,
    )


def _no_starts(inputs: Tensor) -> Tensor:
    return inputs.new_empty(len(inputs), 0)


def _fake(inputs: Tensor, _: Tensor, transition: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    initial = rest[6]
    row, length, channel = inputs.shape
    if has_scan_kernel(inputs, transition):
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
