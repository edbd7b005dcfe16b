"""The diagonal linear recurrence on a CPU, real or complex, in time linear in the length.

A compiled kernel does it where there is one (`kernels/diagonal_recurrence.c`), torch elsewhere.
Complex numbers are computed with as pairs of real ones.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Inexact, Int
from torch import Tensor

from statespan.models.ops.checks import check_documents, check_dtypes, check_shape
from statespan.models.ops.diagonal_recurrence_torch import composite_diagonal_recurrence
from statespan.models.ops.operator import (
    Kind,
    empty_gradients,
    gradients_by_recomputation,
    make_operation,
)
from statespan.models.ops.starts import CHUNK
from statespan.models.ops.tokens import token_kinds
from statespan.native import call, contiguous, is_native, num_parts, num_threads, rows

__all__ = ["diagonal_recurrence"]


def diagonal_recurrence(
    inputs: Inexact[Tensor, "batch length channel"],
    decay: Inexact[Tensor, "batch length channel"],
    initial_state: Inexact[Tensor, "batch channel"] | None = None,
    *,
    documents: Int[Tensor, "batch length"] | None = None,
) -> tuple[Inexact[Tensor, "batch length channel"], Inexact[Tensor, "batch channel"]]:
    """Return all states of h_t = a_t ∘ h_{t-1} + x_t, with a `decay`, and the last one.

    Real, or complex if any argument is. A missing `initial_state` is zero. The last state, given
    as the initial one of the next piece, continues the sequence; one token at a time is the same
    operation. `documents` has the number of the document of each token (see
    `statespan.models.ops.tokens.token_kinds`): a state never passes from one document to the next;
    padding, a negative number, leaves it as it is, and its own entry among the states is 0.

    Time and memory are linear in the length. bfloat16 is computed and its last state kept in
    float32. Differentiable once, in every argument.

    Raises:
        InputError: a shape, dtype or device does not fit; the message names the argument.

    Example:
        >>> import torch
        >>> turns, ones = torch.full((1, 3, 1), 1j), torch.ones(1, 3, 1)
        >>> states, last = diagonal_recurrence(ones, turns)
        >>> states.flatten().tolist(), last.item()
        ([(1+0j), (1+1j), 1j], 1j)
    """
    check_dtypes(allow_complex=True, inputs=inputs, decay=decay, initial_state=initial_state)
    check_shape("inputs", inputs, None, None, None)
    batch, length, channel = inputs.shape
    check_shape("decay", decay, batch, length, channel)
    check_shape("initial_state", initial_state, batch, channel)
    check_documents(documents, batch, length)
    wide = torch.float64 if inputs.dtype in (torch.float64, torch.complex128) else torch.float32
    given = [tensor for tensor in (inputs, decay, initial_state) if tensor is not None]
    is_complex = any(tensor.is_complex() for tensor in given)
    dtype = wide.to_complex() if is_complex else wide
    if initial_state is None:
        initial_state = inputs.new_zeros(batch, channel, dtype=dtype)
    states, last = _diagonal_recurrence(
        *(_as_floats(tensor.to(dtype)) for tensor in (inputs, decay)),
        None if documents is None else token_kinds(documents),
        _as_floats(initial_state.to(dtype)),
        is_complex,
    )
    if is_complex:
        return _as_complex(states), _as_complex(last)
    return states.to(inputs.dtype), last


def _as_floats(tensor: Tensor) -> Tensor:
    """Return complex numbers as neighboring real and imaginary parts; real ones as they are."""
    return torch.view_as_real(tensor.resolve_conj()).flatten(-2) if tensor.is_complex() else tensor


def _as_complex(floats: Tensor) -> Tensor:
    pairs = floats.reshape(*floats.shape[:-1], floats.shape[-1] // 2, 2)
    return torch.view_as_complex(pairs)


def _forward(
    inputs: Tensor, decay: Tensor, tokens: Tensor | None, initial: Tensor, is_complex: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return states, last states and the states that the kernel's chunks start from.

    Floats or pairs of them: inputs, decay [row, length, float]; tokens [row, length]; initial
    [row, float]; kept states [row, chunk, float].
    """
    starts = _empty_starts(inputs)
    if not is_native(inputs):
        states, last = composite_diagonal_recurrence(inputs, decay, tokens, initial, is_complex)
        return states.contiguous(), last.clone(memory_format=torch.contiguous_format), starts
    inputs, decay = rows(inputs), rows(decay)
    states = torch.empty_like(inputs, memory_format=torch.contiguous_format)
    last = initial.clone(memory_format=torch.contiguous_format)
    call(
        "diagonal_recurrence_forward", inputs, decay, contiguous(tokens), states, last, starts,
        *inputs.stride()[:2], *decay.stride()[:2], *_sizes(inputs, is_complex),
    )  # fmt: skip
    return states, last, starts


def _backward(
    inputs: Tensor,
    decay: Tensor,
    tokens: Tensor | None,
    initial: Tensor,
    is_complex: bool,
    starts: Tensor,
    grad_states: Tensor | None,
    grad_last: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the tensors that `_forward` takes, an empty one for the tokens."""
    if starts.shape != _empty_starts(inputs).shape or not is_native(inputs):
        arguments = (inputs, decay, tokens, initial, is_complex)
        return gradients_by_recomputation(  # type: ignore[return-value]
            composite_diagonal_recurrence, arguments, grad_states, grad_last
        )
    inputs, decay = rows(inputs), rows(decay)
    grad_states = rows(torch.zeros_like(inputs) if grad_states is None else grad_states)
    grad_last = torch.zeros_like(initial) if grad_last is None else grad_last
    grad_initial = grad_last.clone(memory_format=torch.contiguous_format)
    grad_inputs, grad_decay = (inputs.new_empty(inputs.shape) for _ in range(2))
    call(
        "diagonal_recurrence_backward", inputs, decay, contiguous(tokens), starts, grad_states,
        grad_inputs, grad_decay, grad_initial, *inputs.stride()[:2], *decay.stride()[:2],
        *grad_states.stride()[:2], *_sizes(inputs, is_complex),
    )  # fmt: skip
    return grad_inputs, grad_decay, inputs.new_empty(0), grad_initial


def _sizes(inputs: Tensor, is_complex: bool) -> tuple[int, ...]:
    row, _, floats = inputs.shape
    threads = num_threads(inputs.numel())
    parts = num_parts(threads, row, floats // 16)
    return (*inputs.shape, int(is_complex), parts, threads)


def _empty_starts(inputs: Tensor) -> Tensor:
    row, length, floats = inputs.shape
    return inputs.new_empty(row, -(-length // CHUNK) if is_native(inputs) else 0, floats)


def _fake(inputs: Tensor, _: Tensor, __: Any, initial: Tensor, ___: bool) -> tuple[Tensor, ...]:
    outputs = inputs.new_empty(inputs.shape)
    return outputs, initial.new_empty(initial.shape), _empty_starts(inputs)


_KINDS: tuple[Kind, ...] = ("row", "row", "row", "row", "fixed")

_diagonal_recurrence = make_operation(
    "diagonal_recurrence",
    _forward,
    _backward,
    kinds=_KINDS,
    fake=_fake,
    fake_backward=empty_gradients(4),
)
