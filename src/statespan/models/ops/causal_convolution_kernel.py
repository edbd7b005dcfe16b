"""How the compiled convolution is called: layouts, strides and what it writes into."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

from statespan.models.ops.operator import rows_per_member, sum_rows
from statespan.native import call, contiguous, is_native, num_parts, num_threads, rows

__all__ = ["ConvolutionGradients", "ConvolutionKernel", "has_convolution_kernel"]

MOST_WIDTH = 16
"""The widest window that the kernel holds, as in kernels/causal_convolution.c."""


def has_convolution_kernel(inputs: Tensor, weight: Tensor) -> bool:
    """Return whether the kernel does a convolution of `inputs` with `weight` [member, width, …]."""
    return is_native(inputs) and weight.shape[1] <= MOST_WIDTH


class ConvolutionGradients(NamedTuple):
    """Gradients of the weight, the bias and the initial window of `ConvolutionKernel`."""

    weight: Tensor
    bias: Tensor
    initial: Tensor


@final
class ConvolutionKernel:
    """A causal convolution over rows and members, in float32 on the CPU.

    Rows: inputs [row, length, channel]; tokens [row, length]. Members: weight [member, width,
    channel]; bias [member, channel].
    """

    def __init__(
        self,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor,
        tokens: Tensor | None,
        *,
        activated: bool,
    ) -> None:
        inputs = rows(inputs)
        row, length, channel = inputs.shape
        self.members, width = weight.shape[:2]
        threads = num_threads(row * length * channel * (width + 8 * activated))
        parts = num_parts(threads, row, channel // 16)
        self.tensors = (inputs, weight.contiguous(), bias.contiguous(), contiguous(tokens))
        self.strides = inputs.stride()[:2]
        self.sizes = (
            row, length, channel, width, rows_per_member(row, weight), int(activated), parts,
            threads,
        )  # fmt: skip

    def forward(self, initial: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs and last windows [row, width - 1, channel]."""
        inputs = self.tensors[0]
        outputs = inputs.new_empty(inputs.shape)
        window = initial.clone(memory_format=torch.contiguous_format)
        call(
            "causal_convolution_forward", *self.tensors, outputs, window, *self.strides, *self.sizes
        )
        return outputs, window

    def backward(
        self, initial: Tensor, grad_outputs: Tensor, grad_last: Tensor | None, grad_inputs: Tensor
    ) -> ConvolutionGradients:
        """Return the gradients; that of the inputs is written into `grad_inputs`."""
        inputs, weight, _, _ = self.tensors
        row, channel, width = len(inputs), inputs.shape[2], weight.shape[1]
        grad_outputs = rows(grad_outputs)
        passed = torch.zeros_like(initial) if grad_last is None else grad_last
        grad_weight = inputs.new_empty(row, width, channel)
        grad_bias = inputs.new_empty(row, channel)
        grad_initial = inputs.new_zeros(row, width - 1, channel)
        call(
            "causal_convolution_backward", *self.tensors, initial.contiguous(), grad_outputs,
            passed.contiguous(), grad_inputs, grad_weight, grad_bias, grad_initial, *self.strides,
            *grad_outputs.stride()[:2], *grad_inputs.stride()[:2], *self.sizes,
        )  # fmt: skip
        return ConvolutionGradients(
            sum_rows(grad_weight, self.members), sum_rows(grad_bias, self.members), grad_initial
        )
