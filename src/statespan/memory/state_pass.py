"""One pass that goes on: rounds of tokens that share a decision, each over all that it may see."""

from __future__ import annotations

from typing import Final, TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from statespan.errors import InputError
from statespan.memory.rules.no_blocks import NoBlocks
from statespan.memory.selection import Selector
from statespan.memory.state_attention import Part, attend
from statespan.memory.state_choice import BlockStore, Chosen
from statespan.memory.state_records import ChoiceRecord
from statespan.memory.state_rows import Count, RowBuffer, chosen_rows, largest, lesser
from statespan.memory.state_tokens import TokenStore, first_seen

__all__ = ["Pass"]

ROUND: Final = 64
"""Tokens of a round, at most."""

GATHERED: Final = 2**26
"""Bytes of keys and values that a round in which each token decides may gather, more or less."""

Retrieved: TypeAlias = tuple[
    Chosen,
    Float[Tensor, "batch reader decision key dim"],
    Float[Tensor, "batch reader decision key value_dim"],
]
"""What decisions see of the past, with its keys and values."""


class Pass:
    """The tokens of all rows without padding, and the attention of further ones.

    Axes: `batch`, `head`, `kv_head`, `token`, `dim`, `value_dim`.
    """

    def __init__(
        self,
        query: Float[Tensor, "batch head token dim"],
        key: Float[Tensor, "batch kv_head token dim"],
        value: Float[Tensor, "batch kv_head token value_dim"],
        count: Count,
        *,
        selector: Selector,
        scaling: float,
        offload: torch.device | None,
    ) -> None:
        chooses = selector.top_k > 0 and not isinstance(selector.rule, NoBlocks)
        layout = selector.layout
        self._layout, self._count = layout, count
        self._retrieves = chooses or layout.keep_first > 0
        self._shapes = [(t.shape[1], t.shape[3], t.dtype, t.device) for t in (query, key, value)]
        self._tokens = TokenStore(key, value, layout=layout, chooses=chooses, offload=offload)
        self._blocks = BlockStore(
            query, selector=selector, kv_heads=key.shape[1], scaling=scaling, chooses=chooses
        )
        self._held: Retrieved | None = None
        self._decided = False
        self._record: ChoiceRecord | None = None
        self._gathered = key.nbytes + value.nbytes  # by one decision; all, before the first
        self._tokens.begin(key, value, count)
        self._blocks.begin(query, key, value, count)

    def extend(
        self,
        query: Float[Tensor, "batch head token dim"],
        key: Float[Tensor, "batch kv_head token dim"],
        value: Float[Tensor, "batch kv_head token value_dim"],
        count: Count,
        *,
        scaling: float,
        record: ChoiceRecord | None = None,
    ) -> Float[Tensor, "batch head token value_dim"]:
        """Append the first `count` tokens of each row and return their attention."""
        self._record = record
        if query.shape[2] == 1:
            return self._round(query, key, value, count, scaling)
        shape = (*query.shape[:3], value.shape[3])
        output = RowBuffer.over(query.new_zeros(shape))
        done: Count = 0
        while largest(count - done):
            number = lesser(count - done, self._room())
            queries, keys, values = (
                RowBuffer.over(tensor).exactly(done, largest(number))
                for tensor in (query, key, value)
            )
            output.write(done, self._round(queries, keys, values, number, scaling))
            done = done + number
        return output.data[:, :, : query.shape[2]]

    def crop(self, end: Count) -> bool:
        """Forget all tokens from `end` on; return False, and do nothing, if too little is kept."""
        if self._tokens.missing(end) or self._blocks.missing(end):
            return False
        self._tokens.crop(end)
        self._blocks.crop(end)
        self._count, self._decided, self._held = end, False, None
        return True

    def select(self, rows: Int[Tensor, " chosen"]) -> None:
        """Keep some rows, in the order given."""
        self._tokens.select(rows, self._count)
        self._blocks.select(rows, self._count)
        self._count = chosen_rows(self._count, rows)
        if self._held is not None:
            chosen, key, value = self._held
            rows = rows.to(key.device)
            self._held = chosen.select(rows), key[rows], value[rows]

    def check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        """Raise if further tokens do not look like those before."""
        names = ("query", "key", "value")
        for name, tensor, shape in zip(names, (query, key, value), self._shapes, strict=True):
            given = (tensor.shape[1], tensor.shape[3], tensor.dtype, tensor.device)
            if given != shape:
                raise InputError(
                    f"{name} must have the heads, width, dtype and device of the tokens so far, "
                    f"{shape}, got {given}."
                )

    def tensors(self) -> list[Tensor]:
        """Return all that takes memory."""
        buffers = [*self._tokens.buffers(), *self._blocks.buffers()]
        tensors = [tensor for buffer in buffers for tensor in buffer.tensors()]
        places = {tensor.data_ptr() for tensor in tensors}
        held = () if self._held is None else self._held[1:]
        return [*tensors, *(tensor for tensor in held if tensor.data_ptr() not in places)]

    def _room(self) -> Count:
        """Return how many tokens of each row may go into the next round."""
        if self._blocks.decides_by_token:
            return max(1, min(ROUND, GATHERED // self._gathered))
        stride = self._layout.stride
        return lesser(ROUND, stride - self._count % stride)

    def _round(
        self,
        query: Float[Tensor, "batch head token dim"],
        key: Float[Tensor, "batch kv_head token dim"],
        value: Float[Tensor, "batch kv_head token value_dim"],
        number: Count,
        scaling: float,
    ) -> Float[Tensor, "batch head token value_dim"]:
        first, width = self._count, query.shape[2]
        self._tokens.append(key, value, first)
        self._blocks.append(query, first)
        self._count = first + number
        single = width == 1 and isinstance(self._count, int)
        parts = [self._tokens.own(first, width, single=single)]
        if self._retrieves:
            self._complete(first)
            parts += self._retrieved(query, first, number)
        return attend(query, parts, scaling=scaling)

    def _complete(self, first: Count) -> None:
        """Take note of the blocks that this round has completed."""
        block = first // self._layout.block
        number = largest(self._count // self._layout.block - block)
        if number:
            key, value = self._tokens.complete(block, number)
            self._blocks.complete(key, value, block)

    def _retrieved(
        self, query: Float[Tensor, "batch head token dim"], first: Count, number: Count
    ) -> list[Part]:
        if self._blocks.decides_by_token:
            held = self._retrieve(query, first)
        else:
            due = (first % self._layout.stride == 0) & (number > 0)
            if not self._decided or bool(torch.as_tensor(due).any()):
                self._held, self._decided = self._retrieve(query, first), True
            held = self._held
        if held is None:
            return []
        chosen, keys, values = held
        return [Part(keys, values, self._visible(chosen, first, query.shape))]

    def _retrieve(
        self, query: Float[Tensor, "batch head token dim"], first: Count
    ) -> Retrieved | None:
        chosen = self._blocks.choose(query, first)
        if chosen is None:
            return None
        index = chosen.index
        if index.shape[1] == 1:
            index = index.expand(-1, self._shapes[1][0], -1, -1)
        if self._record is not None:
            self._record.add(chosen)
        keys, values = self._tokens.blocks(index)
        self._gathered = keys[:, :, 0].nbytes + values[:, :, 0].nbytes
        return chosen, keys, values

    def _visible(
        self, chosen: Chosen, first: Count, shape: torch.Size
    ) -> Bool[Tensor, "batch head #token key"] | None:
        """Return which query sees which retrieved key; None if all see all."""
        size, layout = self._layout.block, self._layout
        overlaps = layout.local > 0 and (
            shape[2] > 1
            or largest(first // layout.chunk * layout.chunk - first_seen(layout, first))
        )
        if chosen.there is None and not overlaps:
            return None
        visible = torch.ones_like(chosen.index, dtype=torch.bool)
        if chosen.there is not None:
            visible = chosen.there
        visible = visible.repeat_interleave(size, dim=-1)
        if overlaps:  # what the local window shows is not shown twice
            token = chosen.index[..., None] * size + torch.arange(size, device=visible.device)
            seen_from = self._tokens.seen_from(first, shape[2], visible.device)
            visible = visible & (token.flatten(-2) < seen_from[:, None, :, None])
        deciders = visible.shape[1]
        return visible if deciders == 1 else visible.repeat_interleave(shape[1] // deciders, dim=1)
