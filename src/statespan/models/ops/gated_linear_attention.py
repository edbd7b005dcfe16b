"""Gated linear attention on a CPU, in time linear in the length.

A compiled kernel does it where there is one (`kernels/gated_linear_attention.c`), torch elsewhere.
Both walk through time chunk by chunk; the backward pass recomputes a chunk from the state at its
start, so nothing of size batch × length × head × key × value ever exists.
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
from statespan.models.ops.gated_linear_attention_torch import composite_gated_linear_attention
from statespan.models.ops.operator import (
    Kind,
    empty_gradients,
    gradients_by_recomputation,
    make_operation,
)
from statespan.models.ops.starts import CHUNK
from statespan.models.ops.tokens import token_kinds
from statespan.native import call, contiguous, is_native, num_threads, rows

__all__ = ["gated_linear_attention"]


def gated_linear_attention(
    query: Float[Tensor, "batch length head key"],
    key: Float[Tensor, "batch length head key"],
    value: Float[Tensor, "batch length head value"],
    log_decay: Float[Tensor, "batch length head key"],
    initial_state: Float[Tensor, "batch head key value"] | None = None,
    *,
    documents: Int[Tensor, "batch length"] | None = None,
) -> tuple[Float[Tensor, "batch length head value"], Float[Tensor, "batch head key value"]]:
    """Return the outputs and the last state of gated linear attention (Yang et al. 2023).

    S_t = diag(exp(g_t)) S_{t-1} + k_t v_tᵀ and o_t = S_tᵀ q_t, with g `log_decay`: each key has a
    decay of its own at every step. The eigenvalues are the decays, so never negative; a logarithm
    of 0 keeps all bits, one of -104 or less forgets exactly. Scaling `query` is the caller's work.

    A missing `initial_state` is zero. The last state, given as the initial one of the next piece,
    continues the sequence; one token at a time is the same operation. `documents` has the number
    of the document of each token (see `statespan.models.ops.tokens.token_kinds`): a state never
    passes from one document to the next, and padding, a negative number, leaves it as it is.

    Time and memory are linear in the length. bfloat16 is computed and its state kept in float32.
    Differentiable once, in every argument of floats.

    Raises:
        InputError: a shape, dtype or device does not fit; the message names the argument.

    Example:
        >>> import math, torch
        >>> ones, value = torch.ones(1, 3, 1, 1), torch.tensor([3.0, 5.0, 5.0]).view(1, 3, 1, 1)
        >>> outputs, state = gated_linear_attention(ones, ones, value, math.log(0.5) * ones)
        >>> outputs.flatten().tolist(), state.item()
        ([3.0, 6.5, 8.25], 8.25)
    """
    check_dtypes(
        query=query, key=key, value=value, log_decay=log_decay, initial_state=initial_state
    )
    check_shape("query", query, None, None, None, None)
    batch, length, head, size = query.shape
    check_shape("key", key, batch, length, head, size)
    check_shape("value", value, batch, length, head, None)
    check_shape("log_decay", log_decay, batch, length, head, size)
    check_shape("initial_state", initial_state, batch, head, size, value.shape[3])
    check_documents(documents, batch, length)
    dtype = computing_dtype(query)
    if initial_state is None:
        initial_state = query.new_zeros(batch, head, size, value.shape[3], dtype=dtype)
    outputs, last = _gated_linear_attention(
        *(tensor.to(dtype) for tensor in (query, key, value, log_decay)),
        None if documents is None else token_kinds(documents),
        initial_state.to(dtype),
        torch.is_grad_enabled(),
    )
    return outputs.to(query.dtype), last


def _forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    log_decay: Tensor,
    tokens: Tensor | None,
    initial: Tensor,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs, last states and, if `keep`, the states that the kernel's chunks start from.

    All tensors have rows first: [row, length, head, key or value]; tokens [row, length]; initial
    [row, head, key, value]; kept [row, chunk, head, value, key].
    """
    starts = _empty_starts(query, initial, keep)
    if not is_native(query):
        arguments = (query, key, value, log_decay, tokens)
        outputs, last = composite_gated_linear_attention(*arguments, initial)
        return outputs.contiguous(), last.clone(memory_format=torch.contiguous_format), starts
    outputs = torch.empty_like(value, memory_format=torch.contiguous_format)
    last = initial.clone(memory_format=torch.contiguous_format)
    query, key, value, log_decay = map(rows, (query, key, value, log_decay))
    call(
        "gated_linear_attention_forward", query, key, value, log_decay, contiguous(tokens),
        outputs, last, starts if starts.shape[1] else None,
        *_strides(query, key, value, log_decay), *_sizes(query, value),
    )  # fmt: skip
    return outputs, last, starts


def _backward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    log_decay: Tensor,
    tokens: Tensor | None,
    initial: Tensor,
    keep: bool,  # noqa: ARG001 (the arguments are those of _forward)
    starts: Tensor,
    grad_outputs: Tensor | None,
    grad_last: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the tensors that `_forward` takes, an empty one for the tokens."""
    if not is_native(query) or starts.shape[1] != _num_starts(query):
        arguments = (query, key, value, log_decay, tokens, initial)
        return gradients_by_recomputation(  # type: ignore[return-value]
            composite_gated_linear_attention, arguments, grad_outputs, grad_last
        )
    grad_outputs = rows(torch.zeros_like(value) if grad_outputs is None else grad_outputs)
    grad_last = torch.zeros_like(initial) if grad_last is None else grad_last
    grad_state = grad_last.clone(memory_format=torch.contiguous_format)
    query, key, value, log_decay = map(rows, (query, key, value, log_decay))
    gradients = [query.new_empty(t.shape) for t in (query, key, value, log_decay)]
    call(
        "gated_linear_attention_backward", query, key, value, log_decay, contiguous(tokens),
        starts, grad_outputs, *gradients, grad_state,
        *_strides(query, key, value, log_decay, grad_outputs), *_sizes(query, value),
    )  # fmt: skip
    return (*gradients, query.new_empty(0), grad_state)  # type: ignore[return-value]


def _strides(*tensors: Tensor) -> list[int]:
    """Return the strides of rows, times and heads."""
    return [stride for tensor in tensors for stride in tensor.stride()[:-1]]


def _sizes(query: Tensor, value: Tensor) -> tuple[int, ...]:
    work = query.numel() * value.shape[-1]
    return (*query.shape, value.shape[-1], num_threads(work))


def _num_starts(query: Tensor) -> int:
    return -(-query.shape[1] // CHUNK)


def _empty_starts(query: Tensor, initial: Tensor, keep: bool) -> Tensor:
    kept = _num_starts(query) if keep and is_native(query) else 0
    return query.new_empty(len(query), kept, *initial.mT.shape[1:])


def _fake(query: Tensor, _: Tensor, value: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    initial, keep = rest[2:]
    starts = _empty_starts(query, initial, keep)
    return value.new_empty(value.shape), initial.new_empty(initial.shape), starts


_KINDS: tuple[Kind, ...] = ("row",) * 6 + ("fixed",)

_gated_linear_attention = make_operation(
    "gated_linear_attention",
    _forward,
    _backward,
    kinds=_KINDS,
    fake=_fake,
    fake_backward=empty_gradients(6),
)
