"""How a document is cut: chunks, blocks, and the groups of queries that retrieve together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

__all__ = ["Layout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The grids of a document, all of them from its first token on.

    Attributes:
        chunk: tokens M of a chunk.
        block: tokens S of a block, a divisor of M.
        stride: tokens of a decision: they retrieve the same blocks; a divisor of M, too.
        keep_first: blocks that every later chunk sees.
        local: tokens up to and with itself that a token sees wherever it stands.
    """

    chunk: int
    block: int
    stride: int
    keep_first: int = 0
    local: int = 0

    def num_blocks(self, length: int) -> int:
        """Return how many blocks of a document are complete."""
        return length // self.block

    def num_decisions(self, length: int) -> int:
        """Return how many decisions the queries of a document take, the last for fewer of them."""
        return -(-length // self.stride)

    @property
    def first_decision(self) -> int:
        """The first decision that has a past to choose from: that of the second chunk."""
        return self.chunk // self.stride

    def past_blocks(
        self, decisions: Int[Tensor, "*rows decision"]
    ) -> Int[Tensor, "*rows decision"]:
        """Return how many blocks lie before the chunk of each decision."""
        chunks = decisions * self.stride // self.chunk
        return chunks * (self.chunk // self.block)

    def candidates(
        self, decisions: Int[Tensor, "*rows decision"], num_blocks: int
    ) -> Bool[Tensor, "*rows decision block"]:
        """Return which blocks a decision may choose: those of its past that are not kept anyway."""
        blocks = torch.arange(num_blocks, device=decisions.device)
        past = blocks < self.past_blocks(decisions)[..., None]
        return past & (blocks >= self.keep_first)

    def kept(
        self, decisions: Int[Tensor, "*rows decision"], num_blocks: int
    ) -> Bool[Tensor, "*rows decision block"]:
        """Return which blocks a decision sees without choosing them."""
        blocks = torch.arange(num_blocks, device=decisions.device)
        past = blocks < self.past_blocks(decisions)[..., None]
        return past & (blocks < self.keep_first)
