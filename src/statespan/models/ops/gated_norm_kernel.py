"""How the compiled gated norm is called: layouts and strides."""

from __future__ import annotations

from typing import final

from torch import Tensor

from statespan.models.ops.operator import rows_per_member, sum_rows
from statespan.native import call, float_bits, num_parts, num_threads, rows

__all__ = ["GatedNormKernel"]


@final
class GatedNormKernel:
    """A gated norm over rows and members, in float32 on the CPU.

    Rows: hidden and gate [row, length, channel]. Members: weight [member, channel].
    """

    def __init__(self, hidden: Tensor, gate: Tensor, weight: Tensor, groups: int) -> None:
        hidden, gate = rows(hidden), rows(gate)
        row, length, channel = hidden.shape
        self.members, self.groups = len(weight), groups
        threads = num_threads(row * length * channel * 12)
        self.parts = num_parts(threads, row, length)
        self.tensors = (hidden, gate, weight.contiguous())
        self.strides = (*hidden.stride()[:2], *gate.stride()[:2])
        self.sizes = (
            row, length, channel, groups, rows_per_member(row, weight), self.parts, threads,
        )  # fmt: skip

    def forward(self, epsilon: float) -> tuple[Tensor, Tensor]:
        """Return outputs, and what each group of a token's was scaled by [row, length, group]."""
        hidden = self.tensors[0]
        outputs = hidden.new_empty(hidden.shape)
        scales = hidden.new_empty(*hidden.shape[:2], self.groups)
        call(
            "gated_norm_forward", *self.tensors, outputs, scales, *self.strides, *self.sizes,
            float_bits(epsilon),
        )  # fmt: skip
        return outputs, scales

    def backward(self, scales: Tensor, grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of hidden, gate and weight."""
        hidden = self.tensors[0]
        row, _, channel = hidden.shape
        grad_outputs = rows(grad_outputs)
        grad_hidden, grad_gate = hidden.new_empty(hidden.shape), hidden.new_empty(hidden.shape)
        grad_weight = hidden.new_empty(row * self.parts, channel)
        call(
            "gated_norm_backward", *self.tensors, scales.contiguous(), grad_outputs, grad_hidden,
            grad_gate, grad_weight, *self.strides, *grad_outputs.stride()[:2], *self.sizes,
        )  # fmt: skip
        return grad_hidden, grad_gate, sum_rows(grad_weight, self.members)
