"""Causal depthwise convolution over a few steps, as in every Mamba block."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["causal_convolution"]


def causal_convolution(
    inputs: Float[Tensor, "batch length channel"],
    weight: Float[Tensor, "channel width"],
    bias: Float[Tensor, " channel"] | None,
    initial_state: Float[Tensor, "batch past channel"] | None = None,
) -> tuple[Float[Tensor, "batch length channel"], Float[Tensor, "batch past channel"]]:
    """Return the causal depthwise convolution of `inputs`, and the last width - 1 inputs.

    y_t = bias + Σ_k weight[:, k] x_{t - width + 1 + k}. A missing `bias` is zero, and so is
    a missing `initial_state` (the width - 1 inputs before the first); the one returned continues
    the sequence. Differentiable once.

    Example:
        >>> import torch
        >>> outputs, state = causal_convolution(
        ...     torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[10.0, 1.0]]), torch.zeros(1)
        ... )
        >>> outputs.flatten().tolist(), state.item()
        ([1.0, 12.0, 23.0], 3.0)
    """
    width = weight.shape[1]
    if bias is None:
        bias = weight.new_zeros(weight.shape[0])
    if initial_state is None:
        initial_state = inputs.new_zeros(inputs.shape[0], width - 1, inputs.shape[2])
    padded = torch.cat((initial_state, inputs), dim=1)
    outputs: Tensor = _Convolution.apply(padded, weight, bias)  # type: ignore[no-untyped-call]
    return outputs, padded[:, padded.shape[1] - width + 1 :]


class _Convolution(torch.autograd.Function):
    """The convolution without padding: width - 1 outputs fewer than inputs."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(padded, weight)
        width = weight.shape[1]
        length = padded.shape[1] - width + 1
        outputs = torch.addcmul(bias, padded[:, :length], weight[:, 0])
        for k in range(1, width):
            outputs.addcmul_(padded[:, k : k + length], weight[:, k])
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (grad,) = gradients
        padded, weight = ctx.saved_tensors
        length = grad.shape[1]
        grad_padded = torch.zeros_like(padded)
        grad_weight = torch.empty_like(weight)
        for k in range(weight.shape[1]):
            grad_padded[:, k : k + length].addcmul_(grad, weight[:, k])
            grad_weight[:, k] = torch.einsum("btc,btc->c", grad, padded[:, k : k + length])
        return grad_padded, grad_weight, grad.sum((0, 1))
