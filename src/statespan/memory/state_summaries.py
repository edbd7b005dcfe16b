"""The summaries of a state's blocks, with bytes beside them by which the largest are found sooner.

Axes: `row`; `summary_head`; `decider`, the heads that choose by themselves; `block`; `width`.
"""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from statespan.memory.selection import Selector
from statespan.memory.state_rows import Count, RowBuffer
from statespan.native import call, is_native, num_threads

__all__ = ["SummaryStore"]

LARGEST: Final = 127
"""The largest number that a byte stands for."""


class SummaryStore:
    """The summaries of all blocks so far.

    Where a compiled kernel can search them, bytes lie beside them: the numbers of each summary over
    its scale, rounded. That is off by at most half the scale, which bounds how far a product can be
    off. The search reads the bytes, a quarter of the memory, and of the summaries only the few that
    can be among the largest.
    """

    def __init__(
        self,
        like: Float[Tensor, "row summary_head block width"],
        *,
        deciders: int,
        searches: bool,
    ) -> None:
        rows, heads, _, width = like.shape
        self._deciders = deciders
        self._all = RowBuffer(rows, heads, width, dtype=like.dtype, device=like.device)
        self._bytes: RowBuffer | None = None
        self._scales: RowBuffer | None = None
        if searches and is_native(like) and deciders % heads == 0:
            self._bytes = RowBuffer(rows, heads, width, dtype=torch.int8, device=like.device)
            self._scales = RowBuffer(rows, heads, 1, dtype=like.dtype, device=like.device)

    def write(self, first: Count, summaries: Float[Tensor, "row summary_head block width"]) -> None:
        """Put summaries at `first` and after it."""
        self._all.write(first, summaries)
        if self._bytes is not None and self._scales is not None:
            scales = summaries.abs().amax(dim=3, keepdim=True).clamp_min(1e-30) / LARGEST
            self._bytes.write(first, (summaries / scales).round())
            self._scales.write(first, scales)

    def before(self, end: int) -> Float[Tensor, "row summary_head block width"]:
        """Return the summaries of the blocks before `end`."""
        return self._all.data[:, :, :end]

    def search(
        self,
        query: Float[Tensor, "row head 1 dim"],
        selector: Selector,
        begin: int,
        end: int,
        top_k: int,
    ) -> Int[Tensor, "row decider 1 top_k"] | None:
        """Return the blocks of the largest scores from `begin` to before `end`, in no order.

        They are those that the rule `"top_k"` chooses for one decision. None is returned where no
        kernel does it, or where a number is not finite.
        """
        if self._bytes is None or self._scales is None or not is_native():
            return None
        room = self._all.data
        asking = selector.asking(query, room, deciders=self._deciders)
        index = torch.empty(len(query), self._deciders, 1, top_k, dtype=torch.int64)
        if index.numel() == 0:
            return index
        assert self._bytes.data.shape == room.shape, "both are written alike"
        heads, blocks, width = room.shape[1:]
        work = len(query) * self._deciders * (end - begin) * width
        call(
            "block_search", asking.contiguous(), room, self._bytes.data, self._scales.data, index,
            len(query), self._deciders, heads, width, blocks, begin, end, top_k, num_threads(work),
        )  # fmt: skip
        return None if bool((index < 0).any()) else index

    def select(self, rows: Int[Tensor, " chosen"], end: Count) -> None:
        """Keep some rows, in the order given, with their blocks before `end`."""
        for buffer in self.buffers():
            buffer.select(rows, end)

    def buffers(self) -> list[RowBuffer]:
        """Return all that takes memory."""
        every = (self._all, self._bytes, self._scales)
        return [buffer for buffer in every if buffer is not None]
