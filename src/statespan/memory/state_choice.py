"""The choices of a state: what it keeps of blocks and queries, and the blocks that it retrieves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from statespan.memory.choosing import block_indices, summarize_document
from statespan.memory.dtypes import computing_dtype
from statespan.memory.rules.top_k import TopK
from statespan.memory.selection import Selector
from statespan.memory.state_rows import (
    Count,
    RowBuffer,
    agreed,
    greater,
    largest,
    lesser,
    positions,
)
from statespan.memory.state_search import indices_of_largest
from statespan.memory.state_summaries import SummaryStore
from statespan.memory.state_tokens import UNDONE

__all__ = ["BlockStore", "Chosen"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The blocks that decisions see.

    Attributes:
        decisions: the index of each decision in its document.
        index: the blocks, in no order.
        there: which of them are some; None if all are.
    """

    decisions: Int[Tensor, "#batch decision"]
    index: Int[Tensor, "batch decider decision block"]
    there: Bool[Tensor, "batch decider decision block"] | None

    def select(self, rows: Int[Tensor, " chosen"]) -> Chosen:
        """Return what some rows have chosen."""
        decisions = self.decisions
        return Chosen(
            decisions if len(decisions) == 1 else decisions[rows],
            self.index[rows],
            None if self.there is None else self.there[rows],
        )


class BlockStore:
    """Summaries of blocks, and the queries of which decisions and later summaries are made."""

    def __init__(
        self,
        query: Float[Tensor, "batch head token dim"],
        *,
        selector: Selector,
        kv_heads: int,
        scaling: float,
        chooses: bool,
    ) -> None:
        rows, heads, _, width = query.shape
        self._selector, self._layout = selector, selector.layout
        self._rows, self._heads, self._kv_heads = rows, heads, kv_heads
        self._scaling, self._chooses = scaling, chooses
        self._deciders = selector.num_deciders(heads, kv_heads)
        self._undone = max(UNDONE, selector.layout.block)
        self._queries: RowBuffer | None = None
        self._sums: RowBuffer | None = None
        self._summaries: SummaryStore | None = None
        self._scores = selector.rule.reads_scores
        self._searches = isinstance(selector.rule, TopK)
        summed = self._scores and selector.selection in ("previous", "running")
        if summed:
            dtype = computing_dtype(query)
            self._sums = RowBuffer(rows, heads, width, dtype=dtype, device=query.device)
        if summed or (self._scores and selector.summary.reads_queries):
            self._queries = RowBuffer(rows, heads, width, dtype=query.dtype, device=query.device)

    @property
    def decides_by_token(self) -> bool:
        """Whether each token decides by itself, so that several can decide at once."""
        return self._layout.stride == 1 and (
            self._selector.selection == "token" or not self._scores
        )

    def append(self, query: Float[Tensor, "batch head token dim"], first: Count) -> None:
        """Put queries at `first`."""
        if self._queries is not None:
            self._queries.write(first, query, keep=self._queries_from(first))

    def begin(
        self,
        query: Float[Tensor, "batch head token dim"],
        key: Float[Tensor, "batch kv_head token dim"],
        value: Float[Tensor, "batch kv_head token value_dim"],
        end: Count,
    ) -> None:
        """Take the first tokens of all rows."""
        if self._queries is not None:
            self._queries.begin(query, end, keep=self._queries_from(end))
        blocks = largest(end // self._layout.block)
        if blocks and self._scores:
            found = summarize_document(
                query, key, value, self._selector, blocks=blocks, scaling=self._scaling
            )
            self._keep_summaries(found, 0)
        if blocks and self._sums is not None:
            self._sums.begin(
                self._summed(query), end // self._layout.block, keep=self._sums_from(end)
            )

    def complete(
        self,
        key: Float[Tensor, "batch kv_head token dim"],
        value: Float[Tensor, "batch kv_head token value_dim"],
        first: Count,
    ) -> None:
        """Take blocks that are complete now, the first of which is `first`."""
        query = None
        if self._queries is not None:
            query = self._queries.exactly(first * self._layout.block, key.shape[2])
        if query is not None and self._sums is not None:
            keep = self._sums_from(first * self._layout.block)
            self._sums.write(first, self._summed(query), keep=keep)
        if self._scores:
            found = self._selector.summarize(
                query, key, value, scaling=self._scaling, num_heads=self._heads
            )
            self._keep_summaries(found, first)

    def choose(self, query: Float[Tensor, "batch head token dim"], first: Count) -> Chosen | None:
        """Return the blocks that the tokens from `first` on see, by one decision or one each."""
        by_token, layout = self.decides_by_token, self._layout
        width = query.shape[2] if by_token else 1
        decision = first // layout.stride
        decisions = positions(decision, width, query.device)
        past = self._past(decision + (width - 1))
        if past == 0:
            return None
        scores = None
        if self._scores and self._summaries is not None:
            asking = query if by_token else self._asking(decision * layout.stride)
            if self._searches and isinstance(first, int) and self._past(decision) == past:
                return self._searched(asking, decisions, past)
            summaries = self._summaries.before(past)
            scores = self._selector.score(asking, summaries, kv_heads=self._kv_heads)
        seen = self._selector.choose(
            scores,
            decisions[0] if isinstance(first, int) else decisions,
            num_blocks=past,
            num_deciders=self._deciders,
        )
        return _listed(seen.expand(self._rows, -1, -1, -1), decisions)

    def _past(self, decision: Count) -> int:
        """Return how many blocks a decision may see, at most."""
        layout = self._layout
        chunks = largest(decision) * layout.stride // layout.chunk
        blocks = chunks * (layout.chunk // layout.block)
        return blocks if self._chooses else min(blocks, layout.keep_first)

    def _searched(
        self,
        query: Float[Tensor, "batch head decision dim"],
        decisions: Int[Tensor, "#batch decision"],
        past: int,
    ) -> Chosen:
        """Return what the rule `"top_k"` chooses of all blocks, beside those that are kept."""
        assert self._summaries is not None
        if query.shape[2] == 1:
            found = self._summaries.search(query, self._selector, past)
            if found is not None:
                return Chosen(decisions, found, None)
        kept = min(self._layout.keep_first, past)
        top_k = min(self._selector.top_k, past - kept)
        summaries = self._summaries.before(past)
        scores = self._selector.score(query, summaries, kv_heads=self._kv_heads)
        index = indices_of_largest(scores[..., kept:], top_k) + kept
        if kept:
            first = torch.arange(kept, device=index.device).expand(*index.shape[:3], -1)
            index = torch.cat((first, index), dim=-1)
        return Chosen(decisions, index, None)

    def missing(self, end: Count) -> bool:
        """Return whether queries are gone that would be needed if there were `end` tokens."""
        block = end // self._layout.block
        gone = torch.zeros((), dtype=torch.bool)
        if self._queries is not None:
            partial = torch.as_tensor(end % self._layout.block > 0)
            gone = gone | (partial & (block * self._layout.block < self._queries.start))
        if self._sums is not None:
            gone = gone | (self._sums_needed(end) < self._sums.start)
        return bool(gone.any())

    def crop(self, end: Count) -> None:
        """Forget all tokens from `end` on, of which nothing may be missing."""
        if self._queries is not None:
            self._queries.start = agreed(lesser(self._queries.start, end))

    def select(self, rows: Int[Tensor, " chosen"], end: Count) -> None:
        """Keep some rows, in the order given."""
        self._rows = len(rows)
        if self._queries is not None:
            self._queries.select(rows, end)
        for store in (self._sums, self._summaries):
            if store is not None:
                store.select(rows, end // self._layout.block)

    def buffers(self) -> list[RowBuffer]:
        """Return all that takes memory."""
        every = [buffer for buffer in (self._queries, self._sums) if buffer is not None]
        return every if self._summaries is None else [*every, *self._summaries.buffers()]

    def _asking(self, first: Count) -> Float[Tensor, "batch head 1 dim"]:
        """Return what the decision of the stride that begins at `first` asks with."""
        assert self._sums is not None
        assert self._queries is not None
        per_chunk = self._layout.chunk // self._layout.block
        chunk = first // self._layout.chunk
        if self._selector.selection == "previous":
            begin = greater(chunk - 1, 0) * per_chunk
            return self._sums.exactly(begin, per_chunk).sum(dim=2, keepdim=True)
        begin, end = chunk * per_chunk, first // self._layout.block
        own = self._queries.exactly(first, 1).to(self._sums.data.dtype)
        sums = self._sums.exactly(begin, largest(end - begin))
        if not isinstance(end, int):
            of_chunk = positions(begin, sums.shape[2], sums.device) < end.to(sums.device)[:, None]
            sums = sums * of_chunk[:, None, :, None]
        return sums.sum(dim=2, keepdim=True) + own

    def _keep_summaries(
        self, summaries: Float[Tensor, "batch summary_head block width"], first: Count
    ) -> None:
        if self._summaries is None:
            self._summaries = SummaryStore(
                summaries, deciders=self._deciders, rule=self._selector.rule
            )
        self._summaries.write(first, summaries)

    def _summed(
        self, query: Float[Tensor, "batch head token dim"]
    ) -> Float[Tensor, "batch head block dim"]:
        """Return the sums of queries over the blocks."""
        size, dtype = self._layout.block, computing_dtype(query)
        blocks = query.shape[2] // size
        cut = torch.unflatten(query[:, :, : blocks * size], 2, (blocks, size))
        return cut.sum(dim=3, dtype=dtype)

    def _queries_from(self, end: Count) -> Count:
        return greater(end - self._undone - self._layout.block, 0)

    def _sums_from(self, end: Count) -> Count:
        return self._sums_needed(greater(end - self._undone, 0))

    def _sums_needed(self, end: Count) -> Count:
        """Return the first block whose sum the next decision may need: of the chunk before."""
        chunk = greater(end // self._layout.chunk - 1, 0)
        return chunk * (self._layout.chunk // self._layout.block)


def _listed(
    seen: Bool[Tensor, "batch decider decision block"], decisions: Int[Tensor, "#batch decision"]
) -> Chosen | None:
    """Return the blocks of a mask as indices; None if there are none."""
    index = block_indices(seen).long()
    if index.shape[3] == 0:
        return None
    there = index >= 0
    if bool(there.all()):
        return Chosen(decisions, index, None)
    return Chosen(decisions, index.clamp_min(0), there)
