"""The mean output of attention inside a block: the paper's summary."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from statespan.memory.dtypes import computing_dtype
from statespan.memory.summaries.registry import SUMMARIES

__all__ = ["AttentionSummary"]


@final
class AttentionSummary:
    """The mean over a block of the output of its attention to itself, which is not causal."""

    reads_queries = True
    in_value_space = True

    def summarize(
        self,
        query: Float[Tensor, "batch head block token dim"] | None,
        key: Float[Tensor, "batch kv_head block token dim"],
        value: Float[Tensor, "batch kv_head block token value_dim"],
        *,
        scaling: float,
        num_heads: int,
        seed: int,
        layer: int,
    ) -> Float[Tensor, "batch head block width"]:
        """Return the mean output of each block."""
        del seed, layer
        assert query is not None
        batch, kv_heads, blocks, tokens, _ = key.shape
        together = num_heads // kv_heads * tokens
        # A block sees all of itself, so the queries of the heads of a group may stand in a row.
        rows = torch.unflatten(query, 1, (kv_heads, -1)).transpose(2, 3).reshape(
            batch * kv_heads, blocks, together, -1
        )  # fmt: skip
        output = scaled_dot_product_attention(
            rows, key.flatten(0, 1), value.flatten(0, 1), scale=scaling
        )
        means = torch.unflatten(output, 2, (-1, tokens)).mean(dim=3, dtype=computing_dtype(key))
        return torch.unflatten(means, 0, (batch, kv_heads)).transpose(2, 3).flatten(1, 2)

    def map_queries(
        self, query: Float[Tensor, "batch head decision dim"]
    ) -> Float[Tensor, "batch head decision dim"]:
        """Return the queries as they are."""
        return query


SUMMARIES.add("attention", AttentionSummary())
