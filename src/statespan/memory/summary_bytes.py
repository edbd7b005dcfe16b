"""Bytes beside the summaries of blocks, by which the largest scores are found sooner.

Axes: `row`; `summary_head`; `decider`, the heads that choose by themselves; `decision`; `block`;
`width`.
"""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float, Int, Int8
from torch import Tensor

from statespan.memory.rules import Rule
from statespan.memory.rules.top_k import TopK
from statespan.native import call, is_native, num_threads

__all__ = ["can_search", "rounded", "search"]

LARGEST: Final = 127
"""The largest number that a byte stands for."""


def can_search(
    summaries: Float[Tensor, "row summary_head block width"], rule: Rule, *, deciders: int
) -> bool:
    """Return whether a compiled kernel does what a rule would with these summaries."""
    return isinstance(rule, TopK) and is_native(summaries) and deciders % summaries.shape[1] == 0


def rounded(
    summaries: Float[Tensor, "row summary_head block width"],
) -> tuple[Int8[Tensor, "row summary_head block width"], Float[Tensor, "row summary_head block 1"]]:
    """Return the numbers of each summary over its scale, rounded, and the scales.

    Each is off by at most half its scale, if all are finite.
    """
    scales = summaries.new_empty(*summaries.shape[:3], 1)
    found = torch.empty_like(summaries, dtype=torch.int8)
    for head in range(summaries.shape[1]):
        sizes = summaries[:, head].abs().amax(dim=2, keepdim=True)
        scales[:, head] = sizes.clamp_min_(1e-30).div_(LARGEST)
        found[:, head] = (summaries[:, head] / scales[:, head]).round_()
    return found, scales


def search(
    asking: Float[Tensor, "row decider decision width"],
    summaries: Float[Tensor, "row summary_head room width"],
    bytes_: Int8[Tensor, "row summary_head room width"],
    scales: Float[Tensor, "row summary_head room 1"],
    ends: Int[Tensor, " decision"],
    *,
    keep_first: int,
    top_k: int,
) -> Int[Tensor, "row decider decision choice"] | None:
    """Return the blocks that each decision sees by the rule `"top_k"`, of those before its end.

    The first `keep_first` come first, then the chosen ones, then -1 if there are fewer. What is
    `rounded` bounds how far a product can be off: all bytes are read, a quarter of the memory, and
    of the summaries only the few that can be among the largest. None is returned where a number is
    not finite.
    """
    rows, deciders, decisions, width = asking.shape
    index = torch.empty(rows, deciders, decisions, keep_first + top_k, dtype=torch.int32)
    failed = torch.zeros(1, dtype=torch.int32)
    heads, room = summaries.shape[1:3]
    work = rows * deciders * int(ends.sum()) * width
    call(
        "block_search", asking.contiguous(), summaries, bytes_, scales, ends, index, failed, rows,
        deciders, heads, decisions, width, room, keep_first, top_k, num_threads(work),
    )  # fmt: skip
    return None if int(failed) else index
