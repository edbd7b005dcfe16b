"""Cutting the attention of a document into parts that fit into little memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from statespan.memory.layout import Layout
from statespan.memory.parts import Blocks, Part, Tokens

__all__ = ["Plan", "Shape", "piece_bytes"]

LEAST_BYTES, MOST_BYTES = 2**18, 2**24
MOST_BYTES_ON_GPU = 2**28


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of an attention, the same length for all rows.

    Attributes:
        itemsize: bytes of a number.
        limit: how many bytes a part may take, if that leaves no thread idle.
        threads: how many attentions a part should hold: the kernels divide them among threads.
    """

    batch: int
    heads: int
    kv_heads: int
    length: int
    dim: int
    value_dim: int
    itemsize: int
    limit: int
    threads: int = 1

    @classmethod
    def of(
        cls,
        query: Float[Tensor, "batch head length dim"],
        key: Float[Tensor, "batch kv_head length dim"],
        value: Float[Tensor, "batch kv_head length value_dim"],
    ) -> Shape:
        """Return the sizes of these tensors."""
        batch, heads, length, dim = query.shape
        itemsize = query.element_size()
        limit = piece_bytes(batch * heads * length * value.shape[3] * itemsize, query.device)
        threads = torch.get_num_threads() if query.device.type == "cpu" else 1
        sizes = (batch, heads, key.shape[1], length, dim, value.shape[3])
        return cls(*sizes, itemsize, limit, threads)


def piece_bytes(whole: int, device: torch.device) -> int:
    """Return how many bytes may be used at once beside an output of `whole` bytes."""
    most = MOST_BYTES if device.type == "cpu" else MOST_BYTES_ON_GPU
    return min(max(whole // 32, LEAST_BYTES if device.type == "cpu" else most // 4), most)


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts of an attention to own chunks, to a sliding window and to blocks.

    Attributes:
        blocks: the blocks of each decision from the second chunk on, -1 for none; their heads are
            those that decide. None if there are no blocks.
    """

    layout: Layout
    shape: Shape
    blocks: Int[Tensor, "batch decider decision choice"] | None

    def parts(self, *, retrieved: bool = True) -> Iterator[Part]:
        """Yield the parts, the first of each query before the others of it.

        Without `retrieved` blocks, if something else attends to those.
        """
        yield from self._own_chunks()
        yield from self._windows()
        if retrieved:
            yield from self._retrieved()

    def _own_chunks(self) -> Iterator[Part]:
        lanes, chunk = self.shape.kv_heads, self.layout.chunk
        whole, rest = divmod(self.shape.length, chunk)
        runs = [(0, chunk, whole)] if whole else []
        runs += [(whole * chunk, rest, 1)] if rest else []
        for begin, size, groups in runs:
            for first, number, chosen in self._pieces(groups, lanes, size, size):
                tokens = Tokens(
                    lanes=lanes,
                    chosen=chosen,
                    begin=begin + first * size,
                    size=size,
                    groups=number,
                )
                yield Part(queries=tokens, keys=tokens, first=True, causal=True)

    def _windows(self) -> Iterator[Part]:
        """Yield the tokens of the window that lie before the chunk.

        Query o of a chunk sees those from `local - 1 - o` before the chunk on. From both ends, last
        to first, that is causal attention; what all queries see is without a mask.
        """
        chunk, length = self.layout.chunk, self.shape.length
        reach = self.layout.local - 1
        for begin in range(chunk, length if reach > 0 else 0, chunk):
            size = min(chunk, length - begin)
            gone = max(reach - begin, 0)  # the document begins later than the window would
            turn = min(reach, size)
            if gone < turn:
                square = turn - gone
                start = begin - reach + gone
                yield from self._window(begin + gone, square, start, square, causal=True)
                yield from self._window(begin, gone, start, square)
            seen = begin - reach + max(turn, gone)
            yield from self._window(begin, size, seen, begin - seen)

    def _window(
        self, begin: int, size: int, first_key: int, num_keys: int, *, causal: bool = False
    ) -> Iterator[Part]:
        if size == 0 or num_keys == 0:
            return
        lanes = self.shape.kv_heads
        for _, _, chosen in self._pieces(1, lanes, size, num_keys):
            queries = Tokens(lanes=lanes, chosen=chosen, begin=begin, size=size, backwards=causal)
            keys = Tokens(
                lanes=lanes, chosen=chosen, begin=first_key, size=num_keys, backwards=causal
            )
            yield Part(queries=queries, keys=keys, causal=causal)

    def _retrieved(self) -> Iterator[Part]:
        if self.blocks is None or self.blocks.shape[3] == 0:
            return
        stride, length = self.layout.stride, self.shape.length
        fewer, near = self._flags(self.blocks)
        first = self.layout.first_decision
        whole = length // stride - first
        runs = [(0, stride, whole)] if whole > 0 else []
        runs += [(whole, length % stride, 1)] if length % stride else []
        heads = torch.arange(self.shape.kv_heads, device=self.blocks.device)
        for at, size, groups in runs:
            yield from self._retrieved_by(at, size, groups, fewer, near, heads)

    def _retrieved_by(
        self,
        at: int,
        size: int,
        groups: int,
        fewer: list[bool],
        near: list[bool],
        heads: Int[Tensor, " head"],
    ) -> Iterator[Part]:
        """Yield the parts of `groups` decisions from `at` on, each for `size` queries."""
        assert self.blocks is not None
        lanes = max(self.blocks.shape[1], self.shape.kv_heads)
        blocks = self.blocks.expand(-1, lanes, -1, -1)
        kv_heads = heads.repeat_interleave(lanes // self.shape.kv_heads)
        keys = blocks.shape[3] * self.layout.block
        masks = keys * size if any(near) else 0
        for first, number, chosen in self._pieces(groups, lanes, size, keys, masks):
            here = slice(at + first, at + first + number)
            windowed = any(near[here])
            queries = Tokens(
                lanes=lanes,
                chosen=chosen,
                begin=(self.layout.first_decision + here.start) * self.layout.stride,
                size=size,
                groups=number,
            )
            index = blocks[:, chosen, here].transpose(1, 2).long()
            yield Part(
                queries=queries,
                keys=Blocks(index=index, kv_heads=kv_heads[chosen], size=self.layout.block),
                local=self.layout.local if windowed else None,
                masked=windowed or any(fewer[here]),
            )

    def _flags(
        self, blocks: Int[Tensor, "batch decider decision choice"]
    ) -> tuple[list[bool], list[bool]]:
        """Return which decisions see fewer blocks than others, and which some of the window."""
        layout = self.layout
        fewer = (blocks < 0).any(dim=3).any(dim=1).any(dim=0)
        if layout.local < 2:
            return fewer.tolist(), [False] * len(fewer)
        decisions = torch.arange(len(fewer), device=blocks.device) + layout.first_decision
        ends = (blocks.amax(dim=(0, 1, 3)) + 1) * layout.block
        near = ends > decisions * layout.stride - layout.local + 1
        return fewer.tolist(), near.tolist()

    def _pieces(
        self, groups: int, lanes: int, queries: int, keys: int, masks: int = 0
    ) -> Iterator[tuple[int, int, slice]]:
        """Yield (first group, number of groups, lanes) such that each takes no more than the limit.

        An entry takes its queries and output, its keys and values, and a mask.
        """
        shape = self.shape
        members = shape.heads // lanes
        vectors = members * queries + keys
        numbers = shape.batch * (vectors * (shape.dim + shape.value_dim) + masks)
        entries = shape.limit // (numbers * shape.itemsize)
        busy = -(-shape.threads // (shape.batch * members))  # with fewer, a thread would be idle
        entries = max(entries // busy, 1) * busy
        number = max(entries // lanes, 1)
        width = min(entries, lanes)
        for first in range(0, groups, number):
            for lane in range(0, lanes, width):
                yield first, min(number, groups - first), slice(lane, min(lane + width, lanes))
