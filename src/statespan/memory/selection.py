"""Choosing blocks: whose queries ask, how blocks are scored, which are taken.

Nothing here cares whether it runs over a whole document or over the last decisions of it.

Axes: `head`, the heads of the queries; `kv_head`, those of keys and values; `summary_head`, those
of the summaries, as many as one or the other; `decider`, the heads that choose by themselves:
`head`, `kv_head` or one; `decision`, the groups of queries that retrieve together; `block`, the
complete blocks of a document; `dim`, `value_dim`, the widths of keys and values; `width`, that of
a summary.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from statespan.memory.dtypes import computing_dtype
from statespan.memory.layout import Layout
from statespan.memory.rules import Place, Rule
from statespan.memory.summaries import Summary

__all__ = ["Selector", "decision_queries"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """How one layer chooses blocks in one step; `SpanAttention.selector` makes it."""

    layout: Layout
    selection: str
    rule: Rule
    summary: Summary
    share: str
    top_k: int
    seed: int
    step: int
    layer: int

    @torch.no_grad()
    def summarize(
        self,
        query: Float[Tensor, "batch head length dim"] | None,
        key: Float[Tensor, "batch kv_head length dim"],
        value: Float[Tensor, "batch kv_head length value_dim"],
        *,
        scaling: float,
        num_heads: int,
    ) -> Float[Tensor, "batch summary_head block width"]:
        """Return the summaries of the complete blocks of tokens that begin at a block's edge.

        Queries may be None where the summary does not read them.
        """
        asking = query if self.summary.reads_queries else None
        with torch.autocast(key.device.type, enabled=False):
            return self.summary.summarize(
                None if asking is None else self._cut(asking),
                self._cut(key),
                self._cut(value),
                scaling=scaling,
                num_heads=num_heads,
                seed=self.seed,
                layer=self.layer,
            )

    def _cut(
        self, tensor: Float[Tensor, "batch head length width"]
    ) -> Float[Tensor, "batch head block token width"]:
        """Return the complete blocks."""
        size = self.layout.block
        blocks = self.layout.num_blocks(tensor.shape[2])
        return torch.unflatten(tensor[:, :, : blocks * size], 2, (blocks, size))

    @torch.no_grad()
    def score(
        self,
        queries: Float[Tensor, "batch head decision dim"],
        summaries: Float[Tensor, "batch summary_head block width"],
        *,
        kv_heads: int,
    ) -> Float[Tensor, "batch decider decision block"]:
        """Return the score of every block for every decision, those of heads that share summed."""
        batch, heads, decisions, _ = queries.shape
        deciders = self.num_deciders(heads, kv_heads)
        with torch.autocast(queries.device.type, enabled=False):
            found = summaries.shape[1]
            asking = self.asking(queries, summaries, deciders=deciders)
            if found >= deciders:
                # Heads that share a decision are folded.
                left = torch.unflatten(asking, 1, (deciders, -1)).transpose(2, 3).flatten(3)
                right = torch.unflatten(summaries, 1, (deciders, -1)).transpose(2, 3).flatten(3)
                return left @ right.mT
            grouped = torch.unflatten(asking, 1, (found, -1)).flatten(2, 3) @ summaries.mT
            return grouped.view(batch, heads, decisions, -1)

    def asking(
        self,
        queries: Float[Tensor, "batch head decision dim"],
        summaries: Float[Tensor, "batch summary_head block width"],
        *,
        deciders: int,
    ) -> Float[Tensor, "batch asking_head decision width"]:
        """Return what is multiplied by the summaries: for each of their heads, or each decider.

        Heads that share a summary and a decision are summed.
        """
        mapped = self.summary.map_queries(queries.to(summaries.dtype))
        if summaries.shape[1] < deciders:
            return mapped
        return torch.unflatten(mapped, 1, (summaries.shape[1], -1)).sum(dim=2)

    @torch.no_grad()
    def choose(
        self,
        scores: Float[Tensor, "batch decider decision block"] | None,
        decisions: Int[Tensor, "*rows decision"],
        *,
        num_blocks: int,
        num_deciders: int,
    ) -> Bool[Tensor, "rows decider decision block"]:
        """Return the blocks that each decision sees: those kept for it and those that it chooses.

        Args:
            scores: may be None where the rule does not read them.
            decisions: the index of each decision in its document; with an axis of rows where they
                differ from row to row, else without.
            num_blocks: how many blocks there are, past or not.
            num_deciders: how many heads choose by themselves.
        """
        heads = torch.arange(num_deciders, device=decisions.device)
        place = Place(self.seed, self.step, self.layer, heads, decisions)
        candidates = self.layout.candidates(decisions, num_blocks).unsqueeze(-3)
        given = scores if self.rule.reads_scores else None
        chosen = self.rule.choose(given, candidates, top_k=self.top_k, place=place)
        seen = chosen | self.layout.kept(decisions, num_blocks).unsqueeze(-3)
        rows = 1 if scores is None else scores.shape[0]
        seen = seen.unsqueeze(0) if seen.ndim == 3 else seen
        return seen.expand(max(rows, seen.shape[0]), num_deciders, -1, -1)

    def num_deciders(self, heads: int, kv_heads: int) -> int:
        """Return how many heads choose by themselves."""
        return {"head": heads, "kv_group": kv_heads, "layer": 1}[self.share]


@torch.no_grad()
def decision_queries(
    query: Float[Tensor, "batch head length dim"], layout: Layout, selection: str
) -> Float[Tensor, "batch head decision dim"]:
    """Return the query that each decision of a whole document asks with.

    It is the sum of the queries of the chunk (`"chunk"`), of the chunk before (`"previous"`), of
    the chunk up to and with the first token of the decision (`"running"`), or the token's own.
    """
    if selection == "token":
        return query
    if selection == "running":
        return _running_sums(query, layout)
    sums = _sums(query, layout.chunk)
    if selection == "chunk":
        return sums
    return torch.cat((torch.zeros_like(sums[:, :, :1]), sums[:, :, :-1]), dim=2)


def _running_sums(
    query: Float[Tensor, "batch head length dim"], layout: Layout
) -> Float[Tensor, "batch head decision dim"]:
    first = query[:, :, :: layout.stride].to(computing_dtype(query))
    sums = _sums(query, layout.stride)
    before = torch.zeros_like(sums)
    for begin in range(0, sums.shape[2], layout.first_decision):
        end = min(begin + layout.first_decision, sums.shape[2])
        before[:, :, begin + 1 : end] = sums[:, :, begin : end - 1].cumsum(dim=2)
    return before + first


def _sums(
    query: Float[Tensor, "batch head length dim"], size: int
) -> Float[Tensor, "batch head group dim"]:
    """Return the sums over groups of `size` tokens, the last of which may be shorter."""
    dtype, whole = computing_dtype(query), query.shape[2] // size
    sums = torch.unflatten(query[:, :, : whole * size], 2, (whole, size)).sum(dim=3, dtype=dtype)
    if whole * size == query.shape[2]:
        return sums
    rest = query[:, :, whole * size :].sum(dim=2, keepdim=True, dtype=dtype)
    return torch.cat((sums, rest), dim=2)
