"""The keys and values of a state: the last ones near, all blocks far."""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from statespan.memory.layout import Layout
from statespan.memory.state_attention import Part
from statespan.memory.state_rows import Count, RowBuffer, greater, largest, lesser, positions

__all__ = ["UNDONE", "TokenStore", "first_seen"]

UNDONE: Final = 128
"""Tokens that `crop` can always take back."""


def first_seen(layout: Layout, position: Count) -> Count:
    """Return the first position that a query sees of its own chunk and local window."""
    begin = position // layout.chunk * layout.chunk
    if layout.local == 0:
        return begin
    return lesser(begin, greater(position - (layout.local - 1), 0))


class TokenStore:
    """Keys and values of the tokens that a later query may see.

    Either all of them lie in one place, or only the last ones do (`near`), and the blocks that may
    be retrieved lie in another place as well (`far`), which may be on another device.
    """

    def __init__(
        self,
        key: Float[Tensor, "batch kv_head token dim"],
        value: Float[Tensor, "batch kv_head token value_dim"],
        *,
        layout: Layout,
        chooses: bool,
        offload: torch.device | None,
    ) -> None:
        self._layout = layout
        self._wanted = None if chooses else layout.keep_first
        self._windowed = offload is not None or not chooses
        self._undone = max(UNDONE, layout.block)
        self._near = [_empty(tensor, layout.block, tensor.device) for tensor in (key, value)]
        self._far: list[RowBuffer] = []
        if self._windowed and self._wanted != 0:
            device = key.device if offload is None else offload
            self._far = [_empty(tensor, layout.block, device) for tensor in (key, value)]

    def begin(
        self,
        key: Float[Tensor, "batch kv_head token dim"],
        value: Float[Tensor, "batch kv_head token value_dim"],
        end: Count,
    ) -> None:
        """Take the first tokens of all rows."""
        whole = largest(self._in_reach(end // self._layout.block)) * self._layout.block
        for tensor, near in zip((key, value), self._near, strict=True):
            near.begin(tensor, end, keep=self._kept_from(end))
        for tensor, far in zip((key, value), self._far, strict=False):
            far.write(0, tensor[:, :, :whole])

    def append(
        self,
        key: Float[Tensor, "batch kv_head token dim"],
        value: Float[Tensor, "batch kv_head token value_dim"],
        first: Count,
    ) -> None:
        """Put tokens at `first`."""
        for tensor, near in zip((key, value), self._near, strict=True):
            near.write(first, tensor, keep=self._kept_from(first))

    def complete(
        self, first: Count, num_blocks: int
    ) -> tuple[
        Float[Tensor, "batch kv_head token dim"], Float[Tensor, "batch kv_head token value_dim"]
    ]:
        """Return the keys and values of blocks that are complete now, and put them far, too."""
        size = self._layout.block
        key, value = (near.exactly(first * size, num_blocks * size) for near in self._near)
        if self._wanted is None or bool(torch.as_tensor(first < self._wanted).any()):
            for tensor, far in zip((key, value), self._far, strict=False):
                far.write(self._in_reach(first) * size, tensor)
        return key, value

    def own(self, first: Count, num_queries: int, *, single: bool) -> Part:
        """Return what the queries from `first` on see of their chunks and local windows.

        A `single` one, where the rows agree, sees all that is read.
        """
        begin = first_seen(self._layout, first)
        width = largest(first + num_queries - begin)
        (keys, at), (values, _) = (near.read(begin, width) for near in self._near)
        if single:
            return Part(keys.unsqueeze(2), values.unsqueeze(2), None)
        device = keys.device
        query = positions(first, num_queries, device)[:, :, None]
        token = positions(at, keys.shape[2], device)[:, None, :]
        seen_from = self.seen_from(first, num_queries, device)[:, :, None]
        visible = (token <= query) & (token >= seen_from)
        return Part(keys.unsqueeze(2), values.unsqueeze(2), visible[:, None])

    def seen_from(
        self, first: Count, num_queries: int, device: torch.device
    ) -> Int[Tensor, "#row query"]:
        """Return for each query the first position of its own chunk and local window."""
        query = positions(first, num_queries, device)
        begin = query // self._layout.chunk * self._layout.chunk
        if self._layout.local == 0:
            return begin
        return begin.minimum((query - (self._layout.local - 1)).clamp_min(0))

    def blocks(
        self, index: Int[Tensor, "batch reader decision block"]
    ) -> tuple[
        Float[Tensor, "batch reader decision token dim"],
        Float[Tensor, "batch reader decision token value_dim"],
    ]:
        """Return keys and values of blocks, on the device of the others."""
        device, size = self._near[0].data.device, self._layout.block
        stores = self._far or self._near
        places = stores[0].place_of(index, size)
        key, value = (store.groups(places, size).to(device, non_blocking=True) for store in stores)
        return key, value

    def missing(self, end: Count) -> bool:
        """Return whether tokens are gone for good that would be needed if there were `end`."""
        gone = first_seen(self._layout, end) < self._near[0].start
        return bool(torch.as_tensor(gone).any()) and (not self._far or self._wanted is not None)

    def crop(self, end: Count) -> None:
        """Forget all tokens from `end` on; what is needed again comes back from afar."""
        begin = first_seen(self._layout, end)
        gone = torch.as_tensor(begin < self._near[0].start)
        if not bool(gone.any()):
            return
        width = largest(end - begin)
        for near, far in zip(self._near, self._far, strict=True):
            stretch = far.exactly(begin, width).to(near.data.device)
            if not bool(gone.all()):
                there = near.exactly(greater(begin, near.start), width)
                stretch = stretch.where(gone.to(there.device)[:, None, None, None], there)
            near.start = begin
            near.write(begin, stretch)

    def select(self, rows: Int[Tensor, " chosen"], end: Count) -> None:
        """Keep some rows, in the order given."""
        for buffer in self._near:
            buffer.select(rows, end)
        for buffer in self._far:
            buffer.select(rows, self._in_reach(end // self._layout.block) * self._layout.block)

    def buffers(self) -> list[RowBuffer]:
        """Return all that takes memory."""
        return [*self._near, *self._far]

    def _kept_from(self, end: Count) -> Count:
        if not self._windowed:
            return 0
        return first_seen(self._layout, greater(end - self._undone, 0))

    def _in_reach(self, blocks: Count) -> Count:
        return blocks if self._wanted is None else lesser(blocks, self._wanted)


def _empty(
    like: Float[Tensor, "batch kv_head token width"], unit: int, device: torch.device
) -> RowBuffer:
    rows, heads, _, width = like.shape
    pinned = device.type == "cpu" and like.device.type == "cuda"
    return RowBuffer(rows, heads, width, dtype=like.dtype, device=device, pinned=pinned, unit=unit)
