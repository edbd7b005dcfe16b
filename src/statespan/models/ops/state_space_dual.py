"""Mamba-2's recurrence on a CPU, in time linear in the length, as small matrix products.

A compiled kernel does it where there is one (`kernels/state_space_dual.c`), torch elsewhere. Both
walk through time chunk by chunk (state-space duality); the backward pass recomputes a chunk from
the state at its start, so nothing of size batch × length × head × dim × state ever exists.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from statespan.errors import InputError
from statespan.models.ops.checks import (
    check_documents,
    check_dtypes,
    check_shape,
    computing_dtype,
)
from statespan.models.ops.gpu_operations import state_space_dual_on_gpu
from statespan.models.ops.operator import (
    Kind,
    empty_gradients,
    gradients_by_recomputation,
    make_operation,
)
from statespan.models.ops.starts import num_starts
from statespan.models.ops.state_space_dual_kernel import DualKernel
from statespan.models.ops.state_space_dual_torch import composite_state_space_dual
from statespan.models.ops.tokens import token_kinds
from statespan.native import is_native

__all__ = ["state_space_dual"]


def state_space_dual(
    inputs: Float[Tensor, "batch length head dim"],
    delta: Float[Tensor, "batch length head"],
    transition: Float[Tensor, " head"],
    write: Float[Tensor, "batch length *group state"],
    read: Float[Tensor, "batch length *group state"],
    initial_state: Float[Tensor, "batch head dim state"] | None = None,
    *,
    skip: Float[Tensor, " head"] | None = None,
    delta_bias: Float[Tensor, " head"] | None = None,
    softplus: bool = False,
    delta_limits: tuple[float, float] | None = None,
    documents: Int[Tensor, "batch length"] | None = None,
) -> tuple[Float[Tensor, "batch length head dim"], Float[Tensor, "batch head dim state"]]:
    """Return the outputs and the last state of Mamba-2's recurrence (Dao and Gu 2024, eq. 1).

    h_t = exp(Δ_t a) h_{t-1} + Δ_t x_t B_tᵀ and y_t = h_t C_t + D x_t, with a `transition` (negative
    for a decay), B `write`, C `read`, D `skip`. Δ is `delta` plus `delta_bias`, through softplus if
    `softplus`, and no less and no more than `delta_limits`. What is None is left out. With a group
    axis in `write` and `read`, each group of neighboring heads has its own.

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
        >>> outputs, state = state_space_dual(ones[..., None], ones, torch.zeros(1), ones, ones)
        >>> outputs.flatten().tolist(), state.item()
        ([1.0, 2.0, 3.0], 3.0)
    """
    check_dtypes(
        inputs=inputs, delta=delta, transition=transition, write=write, read=read, skip=skip,
        delta_bias=delta_bias, initial_state=initial_state,
    )  # fmt: skip
    batch, length, head, dim = _check_shapes(inputs, delta, transition, write, read, initial_state)
    check_shape("skip", skip, head)
    check_shape("delta_bias", delta_bias, head)
    check_documents(documents, batch, length)
    on_gpu = state_space_dual_on_gpu(
        inputs, delta, transition, write, read, initial_state, skip=skip, delta_bias=delta_bias,
        softplus=softplus, delta_limits=delta_limits, documents=documents,
    )  # fmt: skip
    if on_gpu is not None:
        return on_gpu
    low, high = (-math.inf, math.inf) if delta_limits is None else map(float, delta_limits)
    dtype, state = computing_dtype(inputs), write.shape[-1]
    groups = write.shape[2] if write.ndim == 4 else 1
    if initial_state is None:
        initial_state = inputs.new_zeros(batch, head, dim, state, dtype=dtype)
    outputs, last = _state_space_dual(
        inputs.to(dtype),
        delta.to(dtype),
        transition.to(dtype),
        write.to(dtype).reshape(batch, length, groups, state),
        read.to(dtype).reshape(batch, length, groups, state),
        None if skip is None else skip.to(dtype),
        None if delta_bias is None else delta_bias.to(dtype),
        None if documents is None else token_kinds(documents),
        initial_state.to(dtype),
        softplus,
        low,
        high,
        torch.is_grad_enabled(),
    )
    return outputs.to(inputs.dtype), last


def _check_shapes(
    inputs: Tensor,
    delta: Tensor,
    transition: Tensor,
    write: Tensor,
    read: Tensor,
    initial_state: Tensor | None,
) -> torch.Size:
    check_shape("inputs", inputs, None, None, None, None)
    batch, length, head, dim = inputs.shape
    groups = [None] if write.ndim == 4 else []
    check_shape("transition", transition, head)
    check_shape("delta", delta, batch, length, head)
    check_shape("write", write, batch, length, *groups, None)
    if write.ndim == 4 and (write.shape[2] == 0 or head % write.shape[2]):
        raise InputError(
            f"write must have a number of groups that divides the heads, {head}, "
            f"got {write.shape[2]}."
        )
    check_shape("read", read, *write.shape)
    check_shape("initial_state", initial_state, batch, head, dim, write.shape[-1])
    return inputs.shape


def _forward(
    inputs: Tensor,
    delta: Tensor,
    transition: Tensor,
    write: Tensor,
    read: Tensor,
    skip: Tensor | None,
    delta_bias: Tensor | None,
    tokens: Tensor | None,
    initial: Tensor,
    softplus: bool,
    low: float,
    high: float,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs, last states and, if `keep`, the states that the kernel's chunks start from.

    Rows: inputs [row, length, head, dim]; delta [row, length, head]; write, read [row, length,
    group, state]; tokens [row, length]; initial [row, head, dim, state]. Members: transition,
    skip, delta_bias [member, head]. Kept states: [row, chunk, head, state, dim].
    """
    arguments = (inputs, delta, transition, write, read, skip, delta_bias, tokens)
    starts = _empty_starts(inputs, initial, keep)
    if is_native(inputs):
        kernel = DualKernel(*arguments, softplus=softplus, low=low, high=high)
        outputs, last = kernel.forward(initial, starts if starts.shape[1] else None)
        return outputs, last, starts
    outputs, last = composite_state_space_dual(*arguments, initial, softplus, low, high)
    return outputs.contiguous(), last.clone(memory_format=torch.contiguous_format), starts


def _backward(
    inputs: Tensor,
    delta: Tensor,
    transition: Tensor,
    write: Tensor,
    read: Tensor,
    skip: Tensor | None,
    delta_bias: Tensor | None,
    tokens: Tensor | None,
    initial: Tensor,
    softplus: bool,
    low: float,
    high: float,
    keep: bool,  # noqa: ARG001 (the arguments are those of _forward)
    starts: Tensor,
    grad_outputs: Tensor | None,
    grad_last: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the tensors that `_forward` takes, an empty one for the tokens."""
    arguments = (inputs, delta, transition, write, read, skip, delta_bias, tokens)
    if not is_native(inputs) or starts.shape[1] != num_starts(inputs.shape[1]):
        return gradients_by_recomputation(  # type: ignore[return-value]
            composite_state_space_dual,
            (*arguments, initial, softplus, low, high),
            grad_outputs,
            grad_last,
        )
    if not starts.shape[1]:
        starts = initial.transpose(2, 3)[:, None].contiguous()
    if grad_outputs is None:
        grad_outputs = torch.zeros_like(inputs)
    if grad_last is None:
        grad_last = torch.zeros_like(initial)
    kernel = DualKernel(*arguments, softplus=softplus, low=low, high=high)
    grads = kernel.backward(starts, grad_outputs, grad_last)
    return (
        grads.inputs,
        grads.delta,
        grads.transition,
        grads.write,
        grads.read,
        inputs.new_empty(0) if skip is None else grads.skip,
        inputs.new_empty(0) if delta_bias is None else grads.delta_bias,
        inputs.new_empty(0),
        grads.initial,
    )


def _empty_starts(inputs: Tensor, initial: Tensor, keep: bool) -> Tensor:
    row, length, head, dim = inputs.shape
    kept = num_starts(length) if keep and is_native(inputs) else 0
    return inputs.new_empty(row, kept, head, initial.shape[-1], dim)


def _fake(inputs: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    initial, keep = rest[7], rest[-1]
    starts = _empty_starts(inputs, initial, keep)
    return inputs.new_empty(inputs.shape), initial.new_empty(initial.shape), starts


_KINDS: tuple[Kind, ...] = (
    "row", "row", "member", "row", "row", "member", "member", "row", "row",
    "fixed", "fixed", "fixed", "fixed",
)  # fmt: skip

_state_space_dual = make_operation(
    "state_space_dual",
    _forward,
    _backward,
    kinds=_KINDS,
    fake=_fake,
    fake_backward=empty_gradients(9),
)
