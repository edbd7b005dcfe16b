"""Causal depthwise convolution over a few steps, with its activation, as in every Mamba block."""

from __future__ import annotations

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad, silu

from statespan.errors import InputError
from statespan.models.ops.causal_convolution_kernel import (
    ConvolutionKernel,
    has_convolution_kernel,
)
from statespan.models.ops.checks import (
    check_documents,
    check_dtypes,
    check_shape,
    computing_dtype,
)
from statespan.models.ops.gpu_operations import causal_convolution_on_gpu
from statespan.models.ops.operator import (
    Kind,
    empty_gradients,
    gradients_by_recomputation,
    make_operation,
    rows_per_member,
)
from statespan.models.ops.tokens import PADDING, STARTS, token_kinds

__all__ = ["causal_convolution"]


def causal_convolution(
    inputs: Float[Tensor, "batch length channel"],
    weight: Float[Tensor, "channel width"],
    bias: Float[Tensor, " channel"] | None,
    initial_state: Float[Tensor, "batch past channel"] | None = None,
    *,
    activation: Literal["silu"] | None = None,
    documents: Int[Tensor, "batch length"] | None = None,
) -> tuple[Float[Tensor, "batch length channel"], Float[Tensor, "batch past channel"]]:
    """Return the causal depthwise convolution of `inputs`, and the last width - 1 inputs.

    y_t = f(bias + Σ_k weight[:, k] x_{t - width + 1 + k}), with f the `activation` or nothing. A
    missing `bias` is zero, and so is a missing `initial_state` (the width - 1 inputs before the
    first); the one returned continues the sequence. `documents` has the number of the document of
    each token: no window reaches from one document into another, and padding, a negative number,
    is not there at all. bfloat16 is computed in float32. Differentiable once.

    Raises:
        InputError: a shape, dtype or device does not fit; the message names the argument.

    Example:
        >>> import torch
        >>> outputs, state = causal_convolution(
        ...     torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[10.0, 1.0]]), torch.zeros(1)
        ... )
        >>> outputs.flatten().tolist(), state.item()
        ([1.0, 12.0, 23.0], 3.0)
    """
    check_dtypes(inputs=inputs, weight=weight, bias=bias, initial_state=initial_state)
    check_shape("inputs", inputs, None, None, None)
    batch, length, channel = inputs.shape
    check_shape("weight", weight, channel, None)
    width = weight.shape[1]
    check_shape("bias", bias, channel)
    check_shape("initial_state", initial_state, batch, width - 1, channel)
    check_documents(documents, batch, length)
    if activation not in (None, "silu"):
        raise InputError(f'activation must be "silu" or None, got {activation!r}.')
    on_gpu = causal_convolution_on_gpu(
        inputs, weight, bias, initial_state, activation=activation, documents=documents
    )
    if on_gpu is not None:
        return on_gpu
    dtype = computing_dtype(inputs)
    if initial_state is None:
        initial_state = inputs.new_zeros(batch, width - 1, channel)
    outputs, last = _causal_convolution(
        inputs.to(dtype),
        weight.to(dtype).t(),
        inputs.new_zeros(channel, dtype=dtype) if bias is None else bias.to(dtype),
        None if documents is None else token_kinds(documents),
        initial_state.to(dtype),
        activation == "silu",
    )
    return outputs.to(inputs.dtype), last.to(inputs.dtype)


def _forward(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor,
    tokens: Tensor | None,
    initial: Tensor,
    activated: bool,
) -> tuple[Tensor, Tensor]:
    """Return outputs and last windows.

    Rows: inputs [row, length, channel]; tokens [row, length]; initial [row, width - 1, channel].
    Members: weight [member, width, channel]; bias [member, channel].
    """
    if has_convolution_kernel(inputs, weight):
        kernel = ConvolutionKernel(inputs, weight, bias, tokens, activated=activated)
        return kernel.forward(initial)
    outputs, last = _composite(inputs, weight, bias, tokens, initial, activated)
    return outputs, last.clone()


def _backward(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor,
    tokens: Tensor | None,
    initial: Tensor,
    activated: bool,
    grad_outputs: Tensor | None,
    grad_last: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients of the tensors that `_forward` takes, an empty one for the tokens."""
    if not has_convolution_kernel(inputs, weight):
        arguments = (inputs, weight, bias, tokens, initial, activated)
        return gradients_by_recomputation(  # type: ignore[return-value]
            _composite, arguments, grad_outputs, grad_last
        )
    if grad_outputs is None:
        grad_outputs = inputs.new_zeros(1, 1, inputs.shape[2]).expand_as(inputs)
    grad_inputs = inputs.new_empty(inputs.shape)
    kernel = ConvolutionKernel(inputs, weight, bias, tokens, activated=activated)
    grads = kernel.backward(initial, grad_outputs, grad_last, grad_inputs)
    return grad_inputs, grads.weight, grads.bias, inputs.new_empty(0), grads.initial


def _composite(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor,
    tokens: Tensor | None,
    initial: Tensor,
    activated: bool,
) -> tuple[Tensor, Tensor]:
    """Return outputs and last windows, of torch's own differentiable functions."""
    length, width, repeats = inputs.shape[1], weight.shape[1], rows_per_member(len(inputs), weight)
    weight, bias = (tensor.repeat_interleave(repeats, 0) for tensor in (weight, bias))
    past = torch.cat((initial, inputs), dim=1)
    if tokens is None:
        outputs = bias[:, None]
        for k in range(width):
            outputs = torch.addcmul(outputs, past[:, k : k + length], weight[:, None, k])
        last = past[:, length:]
    else:
        outputs, last = _over_tokens(past, weight, bias, tokens)
    if activated:
        outputs = silu(outputs)
    if tokens is not None:
        outputs = outputs.masked_fill((tokens == PADDING)[..., None], 0)
    return outputs, last


def _over_tokens(
    past: Tensor, weight: Tensor, bias: Tensor, tokens: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the convolution within documents, padding left out, before the activation."""
    before = weight.shape[1] - 1
    kept = pad(tokens != PADDING, (before, 0), value=True)
    # Tokens that are kept move to the end of their row, in order: padding is not there at all.
    order = kept.to(torch.uint8).argsort(dim=1, stable=True)
    back = order.argsort(dim=1)
    past = past.masked_fill(~kept[..., None], 0)
    moved = past.gather(1, order[..., None].expand_as(past))
    document = pad(tokens == STARTS, (before, 0)).gather(1, order).cumsum(1)
    moved, places = pad(moved, (0, 0, before, 0)), pad(document, (before, 0), value=-1)
    outputs = bias[:, None]
    for k in range(before + 1):
        part = slice(k, k + past.shape[1])
        same = (places[:, part] == document)[..., None]
        outputs = outputs + moved[:, part].masked_fill(~same, 0) * weight[:, None, k]
    outputs = outputs.gather(1, back[..., None].expand_as(past))[:, before:]
    tail = slice(past.shape[1], None)
    same = (places[:, tail] == document[:, -1:])[..., None]
    return outputs, moved[:, tail].masked_fill(~same, 0)


def _fake(inputs: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    initial = rest[3]
    return inputs.new_empty(inputs.shape), initial.new_empty(initial.shape)


_KINDS: tuple[Kind, ...] = ("row", "member", "member", "row", "row", "fixed")

_causal_convolution = make_operation(
    "causal_convolution", _forward, _backward, kinds=_KINDS, fake=_fake,
    fake_backward=empty_gradients(5),
)  # fmt: skip
