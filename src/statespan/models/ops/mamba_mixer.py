"""A whole Mamba layer as one operation: projections, convolution, scan and their one backward.

A compiled kernel does it where there is one (`kernels/mamba_mixer.c`), this package's other
operations elsewhere. For a small model the calls that this saves, and products of matrices that
stay in the cache, are half of the time.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import linear, rms_norm

from statespan.models.ops.causal_convolution import causal_convolution
from statespan.models.ops.causal_convolution_kernel import has_convolution_kernel
from statespan.models.ops.checks import check_documents, check_dtypes, check_shape
from statespan.models.ops.mamba_mixer_kernel import MixerKernel, kept_size, piece_length
from statespan.models.ops.operator import (
    Kind,
    empty_gradients,
    gradients_by_recomputation,
    make_operation,
)
from statespan.models.ops.selective_scan import selective_scan
from statespan.models.ops.selective_scan_kernel import has_scan_kernel
from statespan.models.ops.tokens import PADDING, STARTS, token_kinds

__all__ = ["mamba_mixer"]


def mamba_mixer(
    hidden: Float[Tensor, "batch length width"],
    in_projection: Float[Tensor, "channels2 width"],
    convolution: Float[Tensor, "channel window"],
    convolution_bias: Float[Tensor, " channel"],
    x_projection: Float[Tensor, "selected channel"],
    delta_projection: Float[Tensor, "channel rank"],
    delta_bias: Float[Tensor, " channel"],
    transition_log: Float[Tensor, "channel state"],
    skip: Float[Tensor, " channel"],
    out_projection: Float[Tensor, "width channel"],
    initial_window: Float[Tensor, "batch past channel"] | None = None,
    initial_state: Float[Tensor, "batch channel state"] | None = None,
    *,
    norm: Float[Tensor, " width"] | None = None,
    epsilon: float = 1e-5,
    documents: Int[Tensor, "batch length"] | None = None,
) -> tuple[
    Float[Tensor, "batch length width"],
    Float[Tensor, "batch past channel"],
    Float[Tensor, "batch channel state"],
]:
    """Return the outputs of a Mamba layer, its last window and its last state (Gu and Dao 2023).

    `in_projection` gives the channels and their gates; the convolved channels, through silu, give
    by `x_projection` the low-rank step (`rank` numbers), the writes and the reads; then comes
    `selective_scan` with A = -exp(`transition_log`). Missing initial values are zeros; `documents`
    is as in `selective_scan`. All tensors are of one dtype, float32 or float64.

    With `norm` it is a whole block: what goes in is x / sqrt(mean(x²) + `epsilon`) times `norm`,
    and what comes out is added to `hidden`.

    Raises:
        InputError: a shape, dtype or device does not fit; the message names the argument.
    """
    parameters = {
        "in_projection": in_projection, "convolution": convolution,
        "convolution_bias": convolution_bias, "x_projection": x_projection,
        "delta_projection": delta_projection, "delta_bias": delta_bias,
        "transition_log": transition_log, "skip": skip, "out_projection": out_projection,
    }  # fmt: skip
    initial = {"initial_window": initial_window, "initial_state": initial_state}
    every: dict[str, Any] = {"hidden": hidden, "norm": norm, **parameters, **initial}
    check_dtypes(**every)
    check_shape("hidden", hidden, None, None, None)
    batch, length, width = hidden.shape
    check_shape("transition_log", transition_log, None, None)
    channel, state = transition_log.shape
    check_shape("delta_projection", delta_projection, channel, None)
    rank = delta_projection.shape[1]
    check_shape("in_projection", in_projection, 2 * channel, width)
    check_shape("convolution", convolution, channel, None)
    past = convolution.shape[1] - 1
    check_shape("x_projection", x_projection, rank + 2 * state, channel)
    check_shape("out_projection", out_projection, width, channel)
    for name in ("convolution_bias", "delta_bias", "skip"):
        check_shape(name, parameters[name], channel)
    check_shape("norm", norm, width)
    check_shape("initial_window", initial_window, batch, past, channel)
    check_shape("initial_state", initial_state, batch, channel, state)
    check_documents(documents, batch, length)
    if initial_window is None:
        initial_window = hidden.new_zeros(batch, past, channel)
    if initial_state is None:
        initial_state = hidden.new_zeros(batch, channel, state)
    if documents is not None:
        # What lies in padding would else come into the gradient of the first projection.
        hidden = hidden.masked_fill((documents < 0)[..., None], 0)
    outputs, window, last = _mamba_mixer(
        hidden,
        norm,
        *parameters.values(),
        None if documents is None else token_kinds(documents),
        initial_window,
        initial_state.transpose(1, 2),
        epsilon,
        piece_length(batch, length),
    )
    return outputs, window, last.transpose(1, 2)


def _has_kernel(hidden: Tensor, convolution: Tensor, transition_log: Tensor) -> bool:
    return has_convolution_kernel(hidden, convolution.mT) and has_scan_kernel(
        hidden, transition_log.mT
    )


def _forward(
    hidden: Tensor,
    norm: Tensor | None,
    in_projection: Tensor,
    convolution: Tensor,
    convolution_bias: Tensor,
    x_projection: Tensor,
    delta_projection: Tensor,
    delta_bias: Tensor,
    transition_log: Tensor,
    skip: Tensor,
    out_projection: Tensor,
    tokens: Tensor | None,
    initial_window: Tensor,
    initial_state: Tensor,
    epsilon: float,
    piece: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return outputs, last windows and states, and what the backward pass wants kept.

    Rows: hidden [row, length, width], tokens, the initial window and state [row, state, channel].
    Members: every parameter, as in `mamba_mixer` behind an axis of members.
    """
    parameters = (
        norm, in_projection, convolution, convolution_bias, x_projection, delta_projection,
        delta_bias, transition_log, skip, out_projection,
    )  # fmt: skip
    if _has_kernel(hidden, convolution, transition_log):
        kernel = MixerKernel(hidden, parameters, tokens, epsilon=epsilon, piece=piece)
        return kernel.forward(initial_window, initial_state)
    initial = (initial_window, initial_state)
    results = _composite(hidden, *parameters, tokens, *initial, epsilon)
    return *results, hidden.new_empty(len(hidden), 0)


def _backward(
    hidden: Tensor,
    norm: Tensor | None,
    in_projection: Tensor,
    convolution: Tensor,
    convolution_bias: Tensor,
    x_projection: Tensor,
    delta_projection: Tensor,
    delta_bias: Tensor,
    transition_log: Tensor,
    skip: Tensor,
    out_projection: Tensor,
    tokens: Tensor | None,
    initial_window: Tensor,
    initial_state: Tensor,
    epsilon: float,
    piece: int,
    kept: Tensor,
    grad_outputs: Tensor | None,
    grad_window: Tensor | None,
    grad_last: Tensor | None,
) -> tuple[
    Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor,
    Tensor, Tensor,
]:  # fmt: skip
    """Return the gradients of the tensors that `_forward` takes, an empty one for the tokens."""
    parameters = (
        norm, in_projection, convolution, convolution_bias, x_projection, delta_projection,
        delta_bias, transition_log, skip, out_projection,
    )  # fmt: skip
    if not kept.shape[1]:  # nothing was kept: torch went forward
        arguments = (hidden, *parameters, tokens, initial_window, initial_state, epsilon)
        return gradients_by_recomputation(  # type: ignore[return-value]
            _composite, arguments, grad_outputs, grad_window, grad_last
        )
    kernel = MixerKernel(hidden, parameters, tokens, epsilon=epsilon, piece=piece)
    grad_outputs = hidden.new_zeros(hidden.shape) if grad_outputs is None else grad_outputs
    grad_window = torch.zeros_like(initial_window) if grad_window is None else grad_window
    grad_last = torch.zeros_like(initial_state) if grad_last is None else grad_last
    grads = kernel.backward(kept, grad_outputs, grad_window, grad_last)
    return (  # type: ignore[return-value]
        grads.hidden, *grads.parameters, hidden.new_empty(0), grads.window, grads.state,
    )  # fmt: skip


def _composite(hidden: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs, last windows and states by this package's other operations."""
    *parameters, tokens, windows, states, epsilon = rest
    members = len(parameters[1])
    results = []
    for member in range(members):
        part = slice(len(hidden) * member // members, len(hidden) * (member + 1) // members)
        results.append(
            _one_member(
                hidden[part],
                [None if each is None else each[member] for each in parameters],
                None if tokens is None else tokens[part],
                windows[part],
                states[part],
                epsilon,
            )
        )
    outputs, lasts, finals = (torch.cat(parts) for parts in zip(*results, strict=True))
    return outputs, lasts, finals


def _one_member(
    hidden: Tensor,
    parameters: list[Any],
    tokens: Tensor | None,
    window: Tensor,
    state: Tensor,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    norm, in_projection, convolution, convolution_bias, x_projection, *rest = parameters
    delta_projection, delta_bias, transition_log, skip, out_projection = rest
    documents = None
    if tokens is not None:
        documents = (tokens == STARTS).cumsum(1).masked_fill(tokens == PADDING, -1)
    mixed = hidden if norm is None else rms_norm(hidden, norm.shape, norm, epsilon)
    inputs, gate = linear(mixed, in_projection).chunk(2, dim=-1)
    inputs, window = causal_convolution(
        inputs, convolution, convolution_bias, window, activation="silu", documents=documents
    )
    rank, state_size = delta_projection.shape[1], transition_log.shape[1]
    selected = linear(inputs, x_projection)
    step, write, read = torch.split(selected, [rank, state_size, state_size], dim=-1)
    outputs, last = selective_scan(
        inputs,
        linear(step, delta_projection),
        -transition_log.exp(),
        write,
        read,
        state.transpose(1, 2),
        skip=skip,
        gate=gate,
        delta_bias=delta_bias,
        softplus=True,
        documents=documents,
    )
    outputs = linear(outputs, out_projection)
    return outputs if norm is None else hidden + outputs, window, last.transpose(1, 2)


def _fake(hidden: Tensor, norm: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    del norm
    _, convolution, _, x_projection, _, _, transition_log, *_, windows, states, _, piece = rest
    row, length, _ = hidden.shape
    kept = 0
    if _has_kernel(hidden, convolution, transition_log):
        kept = kept_size(length, piece, convolution, x_projection, transition_log)
    results = (tensor.new_empty(tensor.shape) for tensor in (hidden, windows, states))
    return *results, hidden.new_empty(row, kept)


_KINDS: tuple[Kind, ...] = ("row", *(("member",) * 10), "row", "row", "row", "fixed", "fixed")

_mamba_mixer = make_operation(
    "mamba_mixer",
    _forward,
    _backward,
    kinds=_KINDS,
    fake=_fake,
    fake_backward=empty_gradients(14),
    num_results=3,
)
