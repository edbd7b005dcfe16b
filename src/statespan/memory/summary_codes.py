"""Codes beside the summaries of blocks, by which the largest scores are found sooner.

Axes: `row`; `summary_head`; `decider`, the heads that choose by themselves; `decision`; `block`;
`group`, `GROUP` blocks in a row; `width`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from statespan.memory.huge_pages import ask_for_huge_pages
from statespan.memory.rules import Rule
from statespan.memory.rules.top_k import TopK
from statespan.native import call, is_native, num_threads

__all__ = ["GROUP", "can_search", "code", "room_for_codes", "search"]

GROUP: Final = 1024
"""Blocks that are coded together, as in kernels/codes.h."""

LINE: Final = 64
"""Bytes of which the lower bits of a block take a whole number."""

WIDEST: Final = 2048
"""The largest width: sums of products with codes have to fit 16 bits."""

CHEAPER: Final = 8
"""Codes that are multiplied in the time of one float, more or less."""


def can_search(
    summaries: Float[Tensor, "row summary_head block width"], rule: Rule, *, deciders: int
) -> bool:
    """Return whether a compiled kernel does what a rule would with these summaries."""
    heads, width = summaries.shape[1], summaries.shape[3]
    fits = deciders % heads == 0 and width <= WIDEST
    return fits and isinstance(rule, TopK) and is_native(summaries)


@dataclass(frozen=True, slots=True)
class Codes:
    """Codes of 8 bits for all blocks, and the least numbers and steps of their groups.

    The layout is that of kernels/codes.h. A group may lack blocks at its end.
    """

    upper: UInt8[Tensor, "row summary_head group upper_bits"]
    lower: UInt8[Tensor, "row summary_head room lower_bits"]
    steps: Float[Tensor, "row summary_head group two_widths"]

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """All that takes memory."""
        return self.upper, self.lower, self.steps

    def select(self, rows: Int[Tensor, " chosen"]) -> Codes:
        """Return the codes of some rows."""
        return Codes(*(tensor[rows] for tensor in self.tensors))


def room_for_codes(summaries: Float[Tensor, "row summary_head block width"]) -> Codes:
    """Return codes of all blocks, to be written."""
    rows, heads, blocks, width = summaries.shape
    groups, of_block = -(-blocks // GROUP), -(-width // (2 * LINE)) * LINE
    upper = torch.empty(rows, heads, groups, width * GROUP // 2, dtype=torch.uint8)
    lower = torch.empty(rows, heads, blocks, of_block, dtype=torch.uint8)
    for bits in (upper, lower):
        ask_for_huge_pages(bits)
    return Codes(upper, lower, summaries.new_empty(rows, heads, groups, 2 * width))


def code(
    summaries: Float[Tensor, "row summary_head room width"],
    codes: Codes,
    *,
    first: int,
    end: int,
) -> None:
    """Write the codes of the groups from `first` on, up to that of the block before `end`.

    Those of the first blocks of the first group are written again. The layout and the precision are
    those of kernels/codes.h.
    """
    rows, heads, room, width = summaries.shape
    work = rows * heads * (end - first * GROUP) * width
    call(
        "block_codes", summaries, *codes.tensors, rows * heads, width, room, codes.upper.shape[2],
        first, end, num_threads(work),
    )  # fmt: skip


def search(
    asking: Float[Tensor, "row decider decision width"],
    summaries: Float[Tensor, "row summary_head room width"],
    codes: Codes,
    ends: Int[Tensor, " decision"],
    *,
    keep_first: int,
    top_k: int,
) -> Int[Tensor, "row decider decision choice"] | None:
    """Return the blocks that each decision sees by the rule `"top_k"`, of those before its end.

    The first `keep_first` come first, then the chosen ones, then -1 if there are fewer. Codes give
    a bound of each product: all of those are read whose dimension of the query is not 0, and of the
    summaries only the few that can be among the largest. None is returned where a number is not
    finite.
    """
    rows, deciders, decisions, width = asking.shape
    index = torch.empty(rows, deciders, decisions, keep_first + top_k, dtype=torch.int32)
    failed = torch.zeros(1, dtype=torch.int32)
    heads, room = summaries.shape[1:3]
    work = rows * deciders * int(ends.sum()) * width // CHEAPER
    call(
        "block_search", asking.contiguous(), summaries, *codes.tensors, ends, index, failed, rows,
        deciders, heads, decisions, width, room, codes.upper.shape[2], keep_first, top_k,
        num_threads(work),
    )  # fmt: skip
    return None if int(failed) else index
