"""How the compiled Mamba layer is called: layouts, pieces and what it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from torch import Tensor

from statespan.memory.huge_pages import ask_for_huge_pages
from statespan.models.ops.selective_scan_kernel import CHUNK
from statespan.native import call, contiguous, float_bits, num_threads

__all__ = ["MixerGradients", "MixerKernel", "kept_size", "piece_length"]

PIECE = 64
"""Tokens that go through a layer at a time, so that what they leave for its parts stays in the
cache."""

SHARED_PIECE = 1024
"""The same where threads share each part, since they start anew with every one."""

HUGE_PAGE = 2**21
"""Bytes of a page of memory, where the system gives large ones."""


def piece_length(batch: int, length: int) -> int:
    """Return how many tokens of a row go through a layer at a time, a multiple of `CHUNK`."""
    size = PIECE if batch >= _threads() else SHARED_PIECE
    return min(size, -(-max(1, length) // CHUNK) * CHUNK)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _threads() -> int:
    return torch.get_num_threads()


def kept_size(
    length: int, piece: int, convolution: Tensor, x_projection: Tensor, transition_log: Tensor
) -> int:
    """Return how many numbers a layer keeps of a row for its backward pass (see `row_kept`)."""
    channel, state = transition_log.shape[1:]
    window = convolution.shape[2] - 1
    over_time = length * (3 * channel + x_projection.shape[1])
    return over_time + channel * (-(-length // piece) * window + -(-length // CHUNK) * state)


def _make_room(hidden: Tensor, size: int) -> Tensor:
    """Return room for `size` numbers of each row, in whole huge pages where it fills one.

    A system clears a page when it is first written to. By pages of 4 KiB that takes a fifth of the
    time of a training step, and an allocator hands so much room back after each.
    """
    page, numbers = HUGE_PAGE // hidden.element_size(), len(hidden) * size
    if numbers < page:
        return hidden.new_empty(len(hidden), size)
    room = hidden.new_empty((-(-numbers // page) + 1) * page)
    ask_for_huge_pages(room)
    begin = -room.data_ptr() % HUGE_PAGE // hidden.element_size()
    return room[begin : begin + numbers].view(len(hidden), size)


class MixerGradients(NamedTuple):
    """Gradients of the arguments of `MixerKernel`, the initial window and the initial state."""

    hidden: Tensor
    parameters: list[Tensor]
    window: Tensor
    state: Tensor


@final
class MixerKernel:
    """A Mamba layer over rows and members, in float32 on the CPU.

    Rows: hidden [row, length, width]; tokens [row, length]. Members: the parameters, in the order
    of `mamba_mixer`'s arguments behind the norm, which may be None.
    """

    def __init__(
        self,
        hidden: Tensor,
        parameters: Sequence[Tensor | None],
        tokens: Tensor | None,
        *,
        epsilon: float,
        piece: int,
    ) -> None:
        self.hidden = hidden.contiguous()
        self.parameters = [contiguous(parameter) for parameter in parameters]
        _, _, convolution, _, x_projection, delta_projection, _, transition_log, *_ = parameters
        assert convolution is not None, "only the norm may be missing"
        assert x_projection is not None, "as above"
        assert delta_projection is not None, "as above"
        assert transition_log is not None, "as above"
        row, length, width = hidden.shape
        members, channel, state = transition_log.shape
        threads = num_threads(row * length * channel * (state + width))
        self.parts = threads if row >= threads else 1
        self.tokens = contiguous(tokens)
        self.sizes = (
            row, length, width, channel, state, delta_projection.shape[2], convolution.shape[2],
            members, piece, self.parts, threads // self.parts, float_bits(epsilon),
        )  # fmt: skip
        self.kept_size = kept_size(length, piece, convolution, x_projection, transition_log)

    def forward(self, window: Tensor, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return outputs, last windows and states [row, state, channel], and what is kept."""
        outputs = torch.empty_like(self.hidden)
        window, state = (t.clone(memory_format=torch.contiguous_format) for t in (window, state))
        kept = _make_room(self.hidden, self.kept_size)
        results = (outputs, window, state, kept)
        call(
            "mamba_mixer_forward", self.hidden, *self.parameters, self.tokens,
            *results, *self.sizes,
        )  # fmt: skip
        return results

    def backward(
        self, kept: Tensor, grad_outputs: Tensor, grad_window: Tensor, grad_state: Tensor
    ) -> MixerGradients:
        """Return the gradients, from what the forward pass has kept."""
        grad_hidden = torch.empty_like(self.hidden)
        window = grad_window.clone(memory_format=torch.contiguous_format)
        state = grad_state.clone(memory_format=torch.contiguous_format)
        parts = () if self.parts == 1 else (self.parts,)
        grads = [
            None if each is None else each.new_zeros(parts + each.shape) for each in self.parameters
        ]
        call(
            "mamba_mixer_backward", self.hidden, *self.parameters, self.tokens,
            kept, grad_outputs.contiguous(), grad_hidden, *grads, window, state, *self.sizes,
        )  # fmt: skip
        summed = [
            self.hidden.new_empty(0) if each is None else each.sum(0) if parts else each
            for each in grads
        ]
        return MixerGradients(grad_hidden, summed, window, state)
