"""How the compiled selective scan is called: layouts, strides and what it writes into."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor

from statespan.models.ops.operator import rows_per_member, sum_rows
from statespan.native import call, contiguous, is_native, num_parts, num_threads, rows

__all__ = ["CHUNK", "ScanGradients", "ScanKernel", "has_scan_kernel"]

CHUNK = 32
"""Tokens from one kept state to the next, as in kernels/selective_scan.c."""

MOST_STATES = 256
"""The largest state that the kernel holds, as in its source."""


def has_scan_kernel(inputs: Tensor, transition: Tensor) -> bool:
    """Return whether the kernel does a scan of `inputs` with `transition` [member, state, …]."""
    return is_native(inputs) and transition.shape[1] <= MOST_STATES


class ScanGradients(NamedTuple):
    """Gradients of the arguments of `ScanKernel` and of the initial state.

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
class ScanKernel:
    """A selective scan over rows and members, in float32 on the CPU.

    Rows: inputs, delta, gate [row, length, channel]; write, read [row, length, group, state];
    tokens [row, length]. Members: transition [member, state, channel]; skip, delta_bias
    [member, channel].
    """

    def __init__(
        self,
        inputs: Tensor,
        delta: Tensor,
        transition: Tensor,
        write: Tensor,
        read: Tensor,
        skip: Tensor | None,
        gate: Tensor | None,
        delta_bias: Tensor | None,
        tokens: Tensor | None,
        *,
        softplus: bool,
    ) -> None:
        inputs, delta, write, read = (rows(tensor) for tensor in (inputs, delta, write, read))
        gate = None if gate is None else rows(gate)
        row, length, channel = inputs.shape
        self.members, state = transition.shape[:2]
        threads = num_threads(row * length * channel * state)
        self.parts = num_parts(threads, row, channel // 16)
        self.tensors = (
            inputs, delta, transition.contiguous(), write, read, contiguous(skip), gate,
            contiguous(delta_bias), contiguous(tokens),
        )  # fmt: skip
        self.strides = (
            *inputs.stride()[:2], *delta.stride()[:2],
            *(delta if gate is None else gate).stride()[:2],
            *write.stride()[:3], *read.stride()[:3],
        )  # fmt: skip
        self.sizes = (
            row, length, channel, state, write.shape[2], rows_per_member(row, transition),
            int(softplus), self.parts, threads,
        )  # fmt: skip
        self.states_shape = (row, state, channel)
        self.starts_shape = (row, -(-length // CHUNK), state, channel)

    def forward(self, initial: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return outputs, last states and the states [row, chunk, state, channel] kept."""
        inputs = self.tensors[0]
        outputs = inputs.new_empty(inputs.shape)
        last = initial.clone(memory_format=torch.contiguous_format)
        starts = inputs.new_empty(self.starts_shape)
        results = (outputs, last, starts)
        call("selective_scan_forward", *self.tensors, *results, *self.strides, *self.sizes)
        return outputs, last, starts

    def backward(
        self,
        starts: Tensor,
        grad_outputs: Tensor,
        grad_last: Tensor | None,
        *,
        grad_gate: Tensor | None,
    ) -> ScanGradients:
        """Return the gradients; that of the gate is written into `grad_gate`, of its shape."""
        inputs, write, gate = self.tensors[0], self.tensors[3], self.tensors[6]
        assert (grad_gate is None) == (gate is None), "a gate and its gradient come together"
        row, state, channel = self.states_shape
        grad_outputs = rows(grad_outputs)
        if grad_last is None:
            grad_state = inputs.new_zeros(self.states_shape)
        else:
            grad_state = grad_last.clone(memory_format=torch.contiguous_format)
        grad_inputs, grad_delta = (inputs.new_empty(inputs.shape) for _ in range(2))
        grad_write, grad_read = (inputs.new_zeros(self.parts, *write.shape) for _ in range(2))
        grad_transition = inputs.new_zeros(row, state, channel)
        grad_skip, grad_bias = (inputs.new_zeros(row, channel) for _ in range(2))
        call(
            "selective_scan_backward", *self.tensors, starts, grad_outputs, grad_inputs, grad_delta,
            grad_transition, grad_write, grad_read, grad_skip, grad_gate, grad_bias, grad_state,
            *self.strides, *grad_outputs.stride()[:2],
            *(grad_outputs if grad_gate is None else grad_gate).stride()[:2], *self.sizes,
        )  # fmt: skip
        grad_write, grad_read = (tensor.sum(0) for tensor in (grad_write, grad_read))
        return ScanGradients(
            grad_inputs,
            grad_delta,
            sum_rows(grad_transition, self.members),
            grad_write,
            grad_read,
            sum_rows(grad_skip, self.members),
            sum_rows(grad_bias, self.members),
            grad_state,
        )
