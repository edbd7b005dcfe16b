"""What was retrieved: for each decision, the blocks that its queries see before their chunk.

Axes: `batch`; `head`, the heads of the queries; `kv_head`, those of keys and values; `length`,
time; `decider`, the heads that choose by themselves; `decision`; `choice`, the blocks of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from statespan.memory.checks import check_attention, check_documents, check_scaling
from statespan.memory.choosing import choose_blocks
from statespan.memory.documents import Document, list_documents
from statespan.memory.layout import Layout
from statespan.memory.protocol import Attention
from statespan.memory.span import SpanAttention
from statespan.memory.span_attention import check_config

__all__ = ["Choice", "chosen_blocks", "list_choices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The blocks that some queries see before their chunk, kept or chosen.

    Attributes:
        row: the row of the batch.
        heads: the heads of the queries that choose together.
        document: the number that `documents` gives, or 0.
        first: the place in the row of the first query.
        last: that of the last query.
        blocks: the indices of the blocks in their document, in order.
        keys: the places in the row of the first and the last key of each block.
    """

    row: int
    heads: tuple[int, ...]
    document: int
    first: int
    last: int
    blocks: tuple[int, ...]
    keys: tuple[tuple[int, int], ...]


@torch.no_grad()
def chosen_blocks(
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch kv_head length dim"],
    value: Float[Tensor, "batch kv_head length value_dim"],
    config: Attention,
    *,
    scaling: float | None = None,
    documents: Int[Tensor, "batch length"] | None = None,
    step: int = 0,
    layer: int = 0,
) -> list[Choice]:
    """Return what each decision of `span_attention` retrieves, with the same arguments.

    Decisions of the first chunk of a document, which has no past, are left out; so are those that
    retrieve nothing. What is no `SpanAttention` retrieves nothing.

    Raises:
        InputError: as `span_attention` does.

    Example:
        >>> query = key = value = torch.ones(1, 1, 6, 2)
        >>> config = SpanAttention(chunk=4, block=2, top_k=1)
        >>> chosen_blocks(query, key, value, config)[0].keys
        ((0, 1),)
    """
    check_attention(query, key, value)
    check_documents(documents, query)
    check_config(config, key.shape[3], value.shape[3])
    if not isinstance(config, SpanAttention) or query.numel() == 0 or value.numel() == 0:
        return []
    selector = config.selector(step=step, layer=layer)
    factor = check_scaling(scaling, query.shape[3])
    if documents is None:
        documents = torch.zeros_like(query[:, 0, :, 0], dtype=torch.int64)
    found = []
    for document in list_documents(documents):
        row, at = document.row, document.places
        asking, keys, values = (
            tensor[row : row + 1].index_select(2, at) for tensor in (query, key, value)
        )
        index = choose_blocks(asking, keys, values, selector, scaling=factor)
        if index is not None:
            choices = list_choices(
                index[0],
                selector.layout,
                document,
                num_heads=query.shape[1],
                first_decision=selector.layout.first_decision,
            )
            found += list(choices)
    return found


def list_choices(
    index: Int[Tensor, "decider decision choice"],
    layout: Layout,
    document: Document,
    *,
    num_heads: int,
    first_decision: int,
) -> Iterator[Choice]:
    """Yield what consecutive decisions of one document retrieve, -1 being no block.

    Args:
        index: the blocks of each decision, from `first_decision` on.
        layout: the grids of the document.
        document: where the tokens of the document stand; the last decision may ask for fewer of
            them than the others.
        num_heads: the number of heads of the queries.
        first_decision: the index of the first decision.
    """
    places = document.places.tolist()
    members = num_heads // index.shape[0]
    for decision, by_head in enumerate(index.transpose(0, 1).tolist(), start=first_decision):
        queries = places[decision * layout.stride : (decision + 1) * layout.stride]
        for decider, chosen in enumerate(by_head):
            blocks = tuple(sorted(block for block in chosen if block >= 0))
            if not blocks:
                continue
            edges = ((block * layout.block, (block + 1) * layout.block - 1) for block in blocks)
            yield Choice(
                row=document.row,
                heads=tuple(range(decider * members, (decider + 1) * members)),
                document=document.number,
                first=queries[0],
                last=queries[-1],
                blocks=blocks,
                keys=tuple((places[begin], places[end]) for begin, end in edges),
            )
