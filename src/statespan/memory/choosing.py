"""Choosing the blocks of a whole document, in pieces that fit into little memory."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from statespan.memory.plan import piece_bytes
from statespan.memory.selection import Selector, decision_queries
from statespan.memory.summary_codes import can_search, code, room_for_codes, search

__all__ = ["block_indices", "choose_blocks", "summarize_document"]


def block_indices(
    seen: Bool[Tensor, "batch decider decision block"],
) -> Int[Tensor, "batch decider decision choice"]:
    """Return the indices of the blocks that each decision sees, in order, then -1 for no block."""
    counts = seen.sum(dim=-1)
    width = int(counts.max()) if counts.numel() else 0
    index = torch.full((*counts.shape, width), -1, dtype=torch.int32, device=seen.device)
    row, block = seen.flatten(0, 2).nonzero(as_tuple=True)
    before = counts.flatten().cumsum(dim=0) - counts.flatten()
    place = torch.arange(len(row), device=row.device) - before[row]
    index.flatten(0, 2)[row, place] = block.int()
    return index


@torch.no_grad()
def choose_blocks(
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch kv_head length dim"],
    value: Float[Tensor, "batch kv_head length value_dim"],
    selector: Selector,
    *,
    scaling: float,
) -> Int[Tensor, "batch decider decision choice"] | None:
    """Return the blocks that each decision from the second chunk on sees, -1 for none.

    Those of all rows begin at a document's beginning and have one length. None is returned where
    no decision has a past.
    """
    layout, (batch, heads, length, _) = selector.layout, query.shape
    kv_heads = key.shape[1]
    first, last = layout.first_decision, layout.num_decisions(length)
    if first >= last:
        return None
    deciders = selector.num_deciders(heads, kv_heads)
    decisions = torch.arange(first, last, device=query.device)
    past = [int(number) for number in layout.past_blocks(decisions)]
    queries, summaries = None, None
    if selector.rule.reads_scores:
        queries = decision_queries(query, layout, selector.selection)[:, :, first:]
        summaries = summarize_document(
            query, key, value, selector, blocks=past[-1], scaling=scaling
        )
        found = _searched(queries, summaries, selector, past, kv_heads=kv_heads)
        if found is not None:
            return found
    # A score, its copy, masks and counts of the same shape are held at once.
    limit = piece_bytes(
        batch * heads * length * value.shape[3] * query.element_size(), query.device
    )
    number = max(limit // (16 * batch * deciders * past[-1]), 1)
    pieces = []
    for begin in range(0, last - first, number):
        here = slice(begin, min(begin + number, last - first))
        blocks = past[here.stop - 1]
        scores = None
        if queries is not None and summaries is not None:
            scores = selector.score(
                queries[:, :, here], summaries[:, :, :blocks], kv_heads=kv_heads
            )
        seen = selector.choose(scores, decisions[here], num_blocks=blocks, num_deciders=deciders)
        pieces.append(block_indices(seen))
    width = max(piece.shape[3] for piece in pieces)
    padded = [pad(piece, (0, width - piece.shape[3]), value=-1) for piece in pieces]
    return torch.cat(padded, dim=2).expand(batch, -1, -1, -1)


def _searched(
    queries: Float[Tensor, "batch head decision dim"],
    summaries: Float[Tensor, "batch summary_head block width"],
    selector: Selector,
    past: list[int],
    *,
    kv_heads: int,
) -> Int[Tensor, "batch decider decision choice"] | None:
    """Return the blocks that each decision sees, if a compiled kernel can search for them."""
    deciders = selector.num_deciders(queries.shape[1], kv_heads)
    if not can_search(summaries, selector.rule, deciders=deciders):
        return None
    kept = min(selector.layout.keep_first, past[-1])
    top_k = min(selector.top_k, past[-1] - kept)
    batch, _, decisions, _ = queries.shape
    index = torch.empty(batch, deciders, decisions, kept + top_k, dtype=torch.int32)
    codes = room_for_codes(summaries)
    code(summaries, codes, first=0, end=summaries.shape[2])
    row = batch * deciders * (summaries.shape[3] + kept + top_k) * summaries.element_size()
    number = max(piece_bytes(row * decisions, queries.device) // row, 1)
    for begin in range(0, decisions, number):
        here = slice(begin, begin + number)
        asking = selector.asking(queries[:, :, here], summaries, deciders=deciders)
        ends = torch.tensor(past[here])
        found = search(asking, summaries, codes, ends, keep_first=kept, top_k=top_k)
        if found is None:
            return None
        index[:, :, here] = found
    return index


def summarize_document(
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch kv_head length dim"],
    value: Float[Tensor, "batch kv_head length value_dim"],
    selector: Selector,
    *,
    blocks: int,
    scaling: float,
) -> Float[Tensor, "batch summary_head block width"]:
    """Return the summaries of the first `blocks` blocks."""
    heads, size = query.shape[1], selector.layout.block
    widest = query.shape[0] * heads * size * (query.shape[3] + value.shape[3])
    whole = query.shape[0] * heads * query.shape[2] * value.shape[3] * query.element_size()
    limit = piece_bytes(whole, query.device)
    number = max(limit // (widest * query.element_size()), 1)
    pieces = []
    for begin in range(0, blocks, number):
        tokens = slice(begin * size, min(begin + number, blocks) * size)
        cut = (tensor[:, :, tokens] for tensor in (query, key, value))
        pieces.append(selector.summarize(*cut, scaling=scaling, num_heads=heads))
    return torch.cat(pieces, dim=2)
