"""How the compiled state-space dual scan is called: layouts, strides and what it writes into."""

from __future__ import annotations

import math
from typing import NamedTuple, final

import torch
from torch import Tensor

from statespan.models.ops.operator import rows_per_member, sum_rows
from statespan.native import call, contiguous, num_parts, num_threads, rows

__all__ = ["DualGradients", "DualKernel"]


class DualGradients(NamedTuple):
    """Gradients of the arguments of `DualKernel` and of the initial state.

    Those of `skip` and `delta_bias` are there even if the arguments are not.
    """

    inputs: Tensor
    delta: Tensor
    transition: Tensor
    write: Tensor
    read: Tensor
    skip: Tensor
    delta_bias: Tensor
    initial: Tensor


@final
class DualKernel:
    """A state-space dual scan over rows and members, in float32 on the CPU.

    Rows: inputs [row, length, head, dim]; delta [row, length, head]; write, read [row, length,
    group, state]; tokens [row, length]. Members: transition, skip, delta_bias [member, head].
    """

    def __init__(
        self,
        inputs: Tensor,
        delta: Tensor,
        transition: Tensor,
        write: Tensor,
        read: Tensor,
        skip: Tensor | None,
        delta_bias: Tensor | None,
        tokens: Tensor | None,
        *,
        softplus: bool,
        low: float,
        high: float,
    ) -> None:
        inputs, delta, write, read = (rows(tensor) for tensor in (inputs, delta, write, read))
        self.inputs, self.delta, self.write = inputs, delta, write
        self.members = len(transition)
        row, length, head, dim = inputs.shape
        group, state = write.shape[2:]
        threads = num_threads(row * length * head * dim * state)
        self.parts = num_parts(threads, row, head)
        limits = None if (low, high) == (-math.inf, math.inf) else torch.tensor([low, high])
        self.tensors = (
            inputs, delta, transition.contiguous(), write, read, contiguous(skip),
            contiguous(delta_bias), limits, contiguous(tokens),
        )  # fmt: skip
        self.strides = (
            *inputs.stride()[:3], *delta.stride()[:2], *write.stride()[:3], *read.stride()[:3],
        )  # fmt: skip
        self.sizes = (
            row, length, head, dim, state, group, rows_per_member(row, transition),
            int(softplus), self.parts, threads,
        )  # fmt: skip

    def forward(self, initial: Tensor, starts: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return outputs and last states; fill `starts` [row, chunk, head, state, dim]."""
        outputs = self.inputs.new_empty(self.inputs.shape)
        last = initial.clone(memory_format=torch.contiguous_format)
        results = (outputs, last, starts)
        call("state_space_dual_forward", *self.tensors, *results, *self.strides, *self.sizes)
        return outputs, last

    def backward(self, starts: Tensor, grad_outputs: Tensor, grad_last: Tensor) -> DualGradients:
        """Return the gradients, from the states that the forward pass has kept."""
        inputs, grad_outputs = self.inputs, rows(grad_outputs)
        grad_inputs, grad_delta = (inputs.new_empty(t.shape) for t in (inputs, self.delta))
        grad_write, grad_read = (inputs.new_empty(self.parts, *self.write.shape) for _ in range(2))
        sums = [inputs.new_zeros(len(inputs), inputs.shape[2]) for _ in range(3)]
        grad_state = grad_last.clone(memory_format=torch.contiguous_format)
        call(
            "state_space_dual_backward", *self.tensors, starts, grad_outputs,
            grad_inputs, grad_delta, sums[0], grad_write, grad_read, *sums[1:], grad_state,
            *self.strides, *grad_outputs.stride()[:3], *self.sizes,
        )  # fmt: skip
        grad_transition, grad_skip, grad_bias = (sum_rows(each, self.members) for each in sums)
        return DualGradients(
            grad_inputs,
            grad_delta,
            grad_transition,
            grad_write.sum(0),
            grad_read.sum(0),
            grad_skip,
            grad_bias,
            grad_state,
        )
