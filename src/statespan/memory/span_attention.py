"""Attention that looks back at what a config says: checks, documents, and the way there.

Axes: `batch`; `head`, the heads of the queries; `kv_head`, those of keys and values, which divide
them; `length`, time; `dim`, `value_dim`, the widths of keys and values.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from statespan.errors import InputError
from statespan.memory.checks import check_attention, check_documents, check_scaling
from statespan.memory.documents import attend_by_document, is_one_document, zero_of
from statespan.memory.protocol import Attention
from statespan.memory.span import SpanAttention

__all__ = ["check_config", "span_attention"]


def span_attention(
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch kv_head length dim"],
    value: Float[Tensor, "batch kv_head length value_dim"],
    config: Attention,
    *,
    scaling: float | None = None,
    documents: Int[Tensor, "batch length"] | None = None,
    step: int = 0,
    layer: int = 0,
) -> Float[Tensor, "batch head length value_dim"]:
    """Return the attention of each token to what `config` lets it see.

    Every document is by itself, with chunks and blocks from its first token on. Gradients flow into
    queries, keys and values; into the choice of blocks, which is piecewise constant, they do not.

    Args:
        query: rotated already, if positions are to count.
        key: rotated likewise.
        value: of any width.
        config: a `SpanAttention`, or one of the baselines.
        scaling: what products of queries and keys are multiplied by, `dim**-0.5` if not given.
        documents: the number of the document that each token is of. A negative number marks
            padding, whose output is 0; tokens next to each other, padding left out, are of one
            document where their numbers are equal. Without it, each row is one document.
        step: the training step, from which chunk sizes and random blocks are drawn.
        layer: the layer, likewise.

    Raises:
        InputError: a shape, dtype or device does not fit, the scaling is not positive, or a summary
            in value space is asked for where values are not as wide as queries.

    Example:
        >>> import torch
        >>> query = key = value = torch.ones(1, 2, 100, 8)
        >>> config = SpanAttention(chunk=32, block=8, top_k=2)
        >>> span_attention(query, key, value, config).shape
        torch.Size([1, 2, 100, 8])
    """
    check_attention(query, key, value)
    check_documents(documents, query)
    check_config(config, key.shape[3], value.shape[3])
    factor = check_scaling(scaling, query.shape[3])
    if query.numel() == 0 or value.numel() == 0:
        return query.new_zeros(*query.shape[:3], value.shape[3]) + zero_of(query, key, value)

    def attention(
        query: Float[Tensor, "rows head size dim"],
        key: Float[Tensor, "rows kv_head size dim"],
        value: Float[Tensor, "rows kv_head size value_dim"],
    ) -> Float[Tensor, "rows head size value_dim"]:
        whole = (each if each.stride(3) == 1 else each.contiguous() for each in (query, key, value))
        return config.attend(*whole, scaling=factor, step=step, layer=layer)

    if documents is None or is_one_document(documents):
        return attention(query, key, value)
    return attend_by_document(query, key, value, documents, attention)


def check_config(config: Attention, dim: int, value_dim: int) -> None:
    """Check that blocks can be scored at these widths.

    Raises:
        InputError: the summary is a mean of values, which are not as wide as the queries.
    """
    if not isinstance(config, SpanAttention) or dim == value_dim:
        return
    selector = config.selector()
    if selector.rule.reads_scores and selector.summary.in_value_space:
        raise InputError(
            f"summary {config.summary!r} is compared with queries, so values must be as wide as "
            f"they, got {value_dim} and {dim}: use summary='key'."
        )
