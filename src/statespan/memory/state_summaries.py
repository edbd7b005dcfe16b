"""The summaries of a state's blocks, with codes beside them by which the largest are found sooner.

Axes: `row`; `summary_head`; `decider`, the heads that choose by themselves; `block`; `width`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from statespan.memory.rules import Rule
from statespan.memory.selection import Selector
from statespan.memory.state_rows import Count, RowBuffer, largest
from statespan.memory.summary_codes import GROUP, can_search, code, room_for_codes, search
from statespan.native import is_native

__all__ = ["SummaryStore"]


class SummaryStore:
    """The summaries of all blocks so far.

    Where a compiled kernel can search them, codes lie beside them from the first search on.
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
        self._searches = can_search(like, rule, deciders=deciders)
        self._codes = room_for_codes(self._all.data)
        self._coded = 0  # blocks

    def write(self, first: Count, summaries: Float[Tensor, "row summary_head block width"]) -> None:
        """Put summaries at `first` and after it."""
        self._all.write(first, summaries)
        self._coded = min(self._coded, -largest(-first))

    def before(self, end: int) -> Float[Tensor, "row summary_head block width"]:
        """Return the summaries of the blocks before `end`."""
        return self._all.data[:, :, :end]

    def search(
        self, query: Float[Tensor, "row head 1 dim"], selector: Selector, past: int
    ) -> Int[Tensor, "row decider 1 choice"] | None:
        """Return the blocks that one decision with `past` blocks sees, as the rule chooses them.

        None is returned where no kernel does it, or where a number is not finite.
        """
        if not self._searches or not is_native():
            return None
        self._code(past)
        room = self._all.data
        kept = min(selector.layout.keep_first, past)
        index = search(
            selector.asking(query, room, deciders=self._deciders),
            room,
            self._codes,
            torch.tensor([past]),
            keep_first=kept,
            top_k=min(selector.top_k, past - kept),
        )
        return None if index is None else index.long()

    def select(self, rows: Int[Tensor, " chosen"], end: Count) -> None:
        """Keep some rows, in the order given, with their blocks before `end`."""
        self._all.select(rows, end)
        self._codes = self._codes.select(rows.to(self._codes.upper.device))

    def buffers(self) -> list[RowBuffer]:
        """Return all that takes memory."""
        return [self._all, *map(RowBuffer.over, self._codes.tensors)]

    def _code(self, end: int) -> None:
        """Give codes to the blocks before `end` that have none."""
        room = self._all.data
        if self._codes.steps.shape[2] * GROUP < room.shape[2]:
            self._codes = room_for_codes(room)
            self._coded = 0
        if self._coded < end:
            code(room, self._codes, first=self._coded // GROUP, end=end)
            self._coded = end
