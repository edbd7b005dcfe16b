"""Parts of an attention: which queries see which keys, in which no key comes twice.

Axes: `batch`; `head`, the heads of the queries; `kv_head`, those of keys and values; `lane`, heads
that see the same keys, taken together; `group`, runs of tokens; `member`, the heads of a lane;
`entry`, the independent attentions of a part: batch, group and lane together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from statespan.memory.kernels import Logits

__all__ = ["Blocks", "Keys", "Part", "Tokens"]


@runtime_checkable
class Keys(Protocol):
    """Which keys, and values, each entry sees."""

    def take(
        self, tensor: Float[Tensor, "batch kv_head length width"]
    ) -> Float[Tensor, "entry 1 key width"]:
        """Return those of each entry."""
        ...

    def add(
        self,
        total: Float[Tensor, "batch kv_head length width"],
        gradients: Float[Tensor, "entry 1 key width"],
        *,
        first: bool,
    ) -> None:
        """Add the gradients of what `take` returned to those of all keys.

        If `first`, there is nothing yet in their place, and they are put there.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Runs of tokens, one after the other, of some of the lanes.

    Attributes:
        lanes: how many lanes there are, and `chosen` which of them are meant.
        begin: the first token; from it on, there are `groups` runs of `size` tokens.
        backwards: whether the tokens of a run come last to first.
    """

    lanes: int
    chosen: slice
    begin: int
    size: int
    groups: int = 1
    backwards: bool = False

    def view(
        self, tensor: Float[Tensor, "batch head length width"]
    ) -> Float[Tensor, "batch group lane member token width"]:
        """Return the tokens in place."""
        lanes = torch.unflatten(tensor, 1, (self.lanes, -1))[:, self.chosen]
        tokens = lanes.narrow(3, self.begin, self.groups * self.size)
        return torch.unflatten(tokens, 3, (self.groups, self.size)).permute(0, 3, 1, 2, 4, 5)

    def take(
        self, tensor: Float[Tensor, "batch head length width"]
    ) -> Float[Tensor, "entry member token width"]:
        """Return the tokens of each entry."""
        return self._turned(self.view(tensor).flatten(0, 2))

    def add(
        self,
        total: Float[Tensor, "batch head length width"],
        gradients: Float[Tensor, "entry member token width"],
        *,
        first: bool,
    ) -> None:
        """Add what belongs to each token, or put it there if it is the first."""
        view = self.view(total)
        changes = self.untake(gradients, view)
        if first:
            view.copy_(changes)
        else:
            view += changes

    def untake(
        self,
        entries: Float[Tensor, "entry member token width"],
        view: Float[Tensor, "batch group lane member token width"],
    ) -> Float[Tensor, "batch group lane member token width"]:
        """Return the tokens of entries where `view` has them."""
        return self._turned(entries).view(*view.shape[:-1], entries.shape[-1])

    def _turned(
        self, entries: Float[Tensor, "entry member token width"]
    ) -> Float[Tensor, "entry member token width"]:
        return entries.flip(2) if self.backwards else entries


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Blocks by their index in the document, for each entry its own.

    Attributes:
        index: -1 where an entry sees fewer than others do.
        kv_heads: the head of keys and values of each lane.
        size: tokens of a block.
    """

    index: Int[Tensor, "batch group lane choice"]
    kv_heads: Int[Tensor, " lane"]
    size: int

    def take(
        self, tensor: Float[Tensor, "batch kv_head length width"]
    ) -> Float[Tensor, "entry 1 key width"]:
        """Return the blocks of each entry, one after the other."""
        blocks = tensor.shape[2] // self.size
        cut = torch.unflatten(tensor.narrow(2, 0, blocks * self.size), 2, (blocks, self.size))
        rows = torch.arange(tensor.shape[0], device=tensor.device)[:, None, None, None]
        taken = cut[rows, self.kv_heads[:, None], self.index.clamp_min(0)]
        return taken.flatten(3, 4).flatten(0, 2)[:, None]

    def add(
        self,
        total: Float[Tensor, "batch kv_head length width"],
        gradients: Float[Tensor, "entry 1 key width"],
        *,
        first: bool,
    ) -> None:
        """Add the gradients; the memory of `total` is in one piece, of whole blocks."""
        assert not first, "blocks may be taken twice"
        batch, heads, length, width = total.shape
        blocks = total.view(-1, self.size * width)
        rows = torch.arange(batch, device=total.device)[:, None, None, None]
        number = length // self.size
        places = (rows * heads + self.kv_heads[:, None]) * number + self.index.clamp_min(0)
        given = gradients.reshape(-1, self.size * width)
        blocks.index_add_(0, places.flatten(), given.to(blocks.dtype))

    def mask(
        self, visible: Callable[[Int[Tensor, "*shape"]], Bool[Tensor, "*shape"]], dtype: torch.dtype
    ) -> Float[Tensor, "entry 1 #query key"]:
        """Return 0 for the keys that are there and `visible`, minus infinity for the others."""
        within = torch.arange(self.size, device=self.index.device)
        keys = (self.index[..., None] * self.size + within).flatten(3)[..., None, :]
        seen = (keys >= 0) & visible(keys)
        mask = torch.zeros((), dtype=dtype, device=keys.device).expand(seen.shape)
        return mask.masked_fill(~seen, -torch.inf).flatten(0, 2)[:, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Queries and the keys that they see.

    Attributes:
        first: whether it is the first part of these queries.
        causal: whether a query sees the keys up to its own index only.
        local: if not None, a query sees only the keys of its blocks that are not among the `local`
            tokens up to and with itself.
        masked: whether some query sees fewer keys than the others.
    """

    queries: Tokens
    keys: Tokens | Blocks
    first: bool = False
    causal: bool = False
    local: int | None = None
    masked: bool = False

    def logits(self, scaling: float, like: Tensor) -> Logits:
        """Return what is done to the products of the queries and keys."""
        mask = None
        if self.masked and isinstance(self.keys, Blocks):
            mask = self.keys.mask(self._visible(like.device), like.dtype)
        return Logits(scaling=scaling, causal=self.causal, mask=mask)

    def _visible(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        if self.local is None:
            return lambda keys: torch.ones_like(keys, dtype=torch.bool)
        local, queries = self.local, self.queries
        tokens = torch.arange(queries.groups * queries.size, device=device) + queries.begin
        places = tokens.view(queries.groups, 1, queries.size, 1)
        return lambda keys: keys <= places - local
