"""The summaries of a state's blocks, with bytes beside them by which the largest are found sooner.

Axes: `row`; `summary_head`; `decider`, the heads that choose by themselves; `block`; `width`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from statespan.memory.rules import Rule
from statespan.memory.selection import Selector
from statespan.memory.state_rows import Count, RowBuffer
from statespan.memory.summary_bytes import can_search, rounded, search
from statespan.native import is_native

__all__ = ["SummaryStore"]


class SummaryStore:
    """The summaries of all blocks so far.

    Where a compiled kernel can search them, bytes lie beside them.
    """

    def __init__(
        self,
        like: Float[Tensor, "row summary_head block width"],
        *,
        deciders: int,
        rule: Rule,
    ) -> None:
        rows, heads, _, width = like.shape
        self._deciders = deciders
        self._all = RowBuffer(rows, heads, width, dtype=like.dtype, device=like.device)
        self._bytes: RowBuffer | None = None
        self._scales: RowBuffer | None = None
        if can_search(like, rule, deciders=deciders):
            self._bytes = RowBuffer(rows, heads, width, dtype=torch.int8, device=like.device)
            self._scales = RowBuffer(rows, heads, 1, dtype=like.dtype, device=like.device)

    def write(self, first: Count, summaries: Float[Tensor, "row summary_head block width"]) -> None:
        """Put summaries at `first` and after it."""
        self._all.write(first, summaries)
        if self._bytes is not None and self._scales is not None:
            for buffer, entries in zip(
                (self._bytes, self._scales), rounded(summaries), strict=True
            ):
                buffer.write(first, entries)

    def before(self, end: int) -> Float[Tensor, "row summary_head block width"]:
        """Return the summaries of the blocks before `end`."""
        return self._all.data[:, :, :end]

    def search(
        self, query: Float[Tensor, "row head 1 dim"], selector: Selector, past: int
    ) -> Int[Tensor, "row decider 1 choice"] | None:
        """Return the blocks that one decision with `past` blocks sees, as the rule chooses them.

        None is returned where no kernel does it, or where a number is not finite.
        """
        if self._bytes is None or self._scales is None or not is_native():
            return None
        room = self._all.data
        assert self._bytes.data.shape == room.shape, "both are written alike"
        kept = min(selector.layout.keep_first, past)
        index = search(
            selector.asking(query, room, deciders=self._deciders),
            room,
            self._bytes.data,
            self._scales.data,
            torch.tensor([past]),
            keep_first=kept,
            top_k=min(selector.top_k, past - kept),
        )
        return None if index is None else index.long()

    def select(self, rows: Int[Tensor, " chosen"], end: Count) -> None:
        """Keep some rows, in the order given, with their blocks before `end`."""
        for buffer in self.buffers():
            buffer.select(rows, end)

    def buffers(self) -> list[RowBuffer]:
        """Return all that takes memory."""
        every = (self._all, self._bytes, self._scales)
        return [buffer for buffer in every if buffer is not None]
