"""Rows of unequal length in one tensor: how a state keeps its tokens and its blocks.

Axes: `row`, the sequences of the batch; `head`; `entry`, the tokens or blocks of a row; `width`.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from statespan.memory.huge_pages import ask_for_huge_pages
from statespan.native import call, is_native, num_threads

__all__ = [
    "Count",
    "RowBuffer",
    "agreed",
    "chosen_rows",
    "greater",
    "largest",
    "lesser",
    "positions",
]

Count: TypeAlias = int | Int[Tensor, " _"]
"""A number for each row: one `int` if the rows agree, else int64 of all rows, always on the CPU."""

FIRST_SPARE: Final = 256
"""Entries that fit in after the first ones, at least; then the room doubles."""


def largest(count: Count) -> int:
    """Return the largest number of all rows."""
    return count if isinstance(count, int) else int(count.max())


def lesser(first: Count, second: Count) -> Count:
    """Return the lesser of two numbers, row by row."""
    if isinstance(first, int) and isinstance(second, int):
        return min(first, second)
    return torch.minimum(torch.as_tensor(first), torch.as_tensor(second))


def greater(first: Count, second: Count) -> Count:
    """Return the greater of two numbers, row by row."""
    return -lesser(-first, -second)


def agreed(count: Count) -> Count:
    """Return one `int` if the rows agree."""
    if isinstance(count, int) or bool((count != count[0]).any()):
        return count
    return int(count[0])


def chosen_rows(count: Count, rows: Int[Tensor, " chosen"]) -> Count:
    """Return the numbers of some rows."""
    return count if isinstance(count, int) else agreed(count[rows.cpu()])


def positions(first: Count, width: int, device: torch.device) -> Int[Tensor, "#row entry"]:
    """Return `width` numbers from `first` on, row by row; in one row if the rows agree."""
    steps = torch.arange(width, device=device)
    if isinstance(first, int):
        return (steps + first)[None]
    return steps + first.to(device)[:, None]


class RowBuffer:
    """Entries of rows of unequal length, in one tensor whose room grows by doubling.

    Entry p of a row stands in column p - `start`. What stands behind the last entry of a row is
    finite and means nothing: to write is to replace, so it may be written, and must not be read.
    """

    def __init__(
        self,
        rows: int,
        heads: int,
        width: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
        pinned: bool = False,
        unit: int = 1,
    ) -> None:
        self.start: Count = 0
        self._unit, self._pinned = unit, pinned
        self._found: Tensor | None = None
        self.data = self._room((rows, heads, 0, width), dtype, device)

    def _room(self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
        # Room made in inference mode could not be written outside it.
        with torch.inference_mode(mode=False):
            room = torch.empty(shape, dtype=dtype, device=device, pin_memory=self._pinned)
            ask_for_huge_pages(room)
            return room.zero_()

    def write(
        self, first: Count, entries: Shaped[Tensor, "row head entry width"], *, keep: Count = 0
    ) -> None:
        """Put entries at `first` and after it.

        Where room has to be made, the entries before `keep` are dropped.
        """
        self._reserve(first, entries.shape[2], keep)
        entries = entries.to(self.data.device, self.data.dtype, non_blocking=True)
        column = first - self.start
        if isinstance(column, int):
            self.data[:, :, column : column + entries.shape[2]] = entries
        elif entries.shape[2]:
            index = positions(column, entries.shape[2], self.data.device)
            self.data.scatter_(2, index[:, None, :, None].expand(entries.shape), entries)

    def begin(
        self, entries: Shaped[Tensor, "row head entry width"], end: Count, *, keep: Count = 0
    ) -> None:
        """Put the first entries, but for those before `keep`."""
        keep = agreed(lesser(keep, end))
        stretch, self.start = RowBuffer.over(entries).read(keep, largest(end - keep))
        self.write(self.start, stretch, keep=self.start)

    def read(
        self, first: Count, width: int
    ) -> tuple[Shaped[Tensor, "row head entry width"], Count]:
        """Return a stretch of each row with `width` entries from `first` on, and where it begins.

        It is a view, and may begin before `first`, unless the rows are far apart.
        """
        column, capacity = first - self.start, self.data.shape[2]
        if isinstance(column, int):
            return self.data[:, :, column : column + width], first
        least = int(column.min())
        spread = int(column.max()) - least
        if spread <= width:
            return self.data[:, :, least : least + width + spread], self.start + least
        index = positions(column, width, self.data.device).clamp_max(capacity - 1)
        return pick(self.data, index), first

    def exactly(self, first: Count, width: int) -> Shaped[Tensor, "row head entry width"]:
        """Return `width` entries of each row from `first` on."""
        stretch, begin = self.read(first, width)
        offset = first - begin
        if isinstance(offset, int):
            return stretch[:, :, offset : offset + width]
        index = positions(offset, width, stretch.device).clamp_max(stretch.shape[2] - 1)
        return pick(stretch, index)

    def place_of(
        self, index: Int[Tensor, "row wanted_head decision group"], size: int
    ) -> Int[Tensor, "row wanted_head decision group"]:
        """Return where groups are among those of all heads.

        Several wanted heads, one after the other, may read the same head.
        """
        assert self.start == 0
        rows, heads, capacity, _ = self.data.shape
        device = self.data.device
        owner = torch.arange(rows * heads, device=device) * (capacity // size)
        owner = owner.view(rows, heads).repeat_interleave(index.shape[1] // heads, dim=1)
        return owner[:, :, None, None] + index.to(device)

    def groups(
        self, places: Int[Tensor, "row wanted_head decision group"], size: int
    ) -> Shaped[Tensor, "row wanted_head decision entry width"]:
        """Return groups of `size` entries each, one after the other.

        The next call of the same size writes over what it returns: a step need not ask for memory.
        """
        width = self.data.shape[3]
        shape = (places.numel(), size * width)
        if self._found is None or self._found.shape != shape:
            self._found = self._room(shape, self.data.dtype, self.data.device)
        gather(self.data.view(-1, size * width), places.flatten(), self._found)
        return self._found.view(*places.shape[:3], -1, width)

    def select(self, rows: Int[Tensor, " chosen"], end: Count) -> None:
        """Keep some rows, in the order given, with their entries before `end`."""
        used = largest(end - self.start)
        old, self.start, self._found = self.data, chosen_rows(self.start, rows), None
        shape = (len(rows), *old.shape[1:])
        self.data = self._room(shape, old.dtype, old.device)
        torch.index_select(old[:, :, :used], 0, rows.to(old.device), out=self.data[:, :, :used])

    def tensors(self) -> list[Tensor]:
        """Return all that takes memory."""
        return [self.data] if self._found is None else [self.data, self._found]

    def _rounded(self, entries: int) -> int:
        return -(-entries // self._unit) * self._unit

    def _reserve(self, first: Count, num_new: int, keep: Count) -> None:
        end = largest(first - self.start) + num_new
        if end <= self.data.shape[2]:
            return
        keep = agreed(lesser(greater(keep, self.start), first))
        needed = largest(first - keep) + num_new
        rows, heads, capacity, width = self.data.shape
        spare = needed if capacity else max(needed // 8, FIRST_SPARE)
        shape = (rows, heads, self._rounded(needed + spare), width)
        old = RowBuffer.over(self.data, self.start)
        self.data = self._room(shape, self.data.dtype, self.data.device)
        self.start = keep
        kept = largest(first - keep)
        self.data[:, :, :kept] = old.exactly(keep, kept)

    @classmethod
    def over(cls, data: Shaped[Tensor, "row head entry width"], start: Count = 0) -> RowBuffer:
        """Return a buffer over entries that are there."""
        rows, heads, _, width = data.shape
        buffer = cls(rows, heads, width, dtype=data.dtype, device=data.device)
        buffer.data, buffer.start = data, start
        return buffer


def gather(
    source: Shaped[Tensor, "group size"],
    places: Int[Tensor, " chosen"],
    found: Shaped[Tensor, "chosen size"],
) -> None:
    """Copy groups, none of which has gaps, into `found`."""
    if source.device.type == "cpu" and is_native():
        size = source.shape[1] * source.element_size()
        threads = num_threads(len(places) * size)  # a byte takes what a multiply-add does
        call("block_gather", source, places, found, len(places), size, threads)
    else:
        torch.index_select(source, 0, places, out=found)


def pick(
    data: Shaped[Tensor, "row head entry width"], index: Int[Tensor, "row chosen"]
) -> Shaped[Tensor, "row head chosen width"]:
    """Return entries by their columns, which differ from row to row."""
    rows = torch.arange(data.shape[0], device=data.device)[:, None]
    return data[rows, :, index].transpose(1, 2)
