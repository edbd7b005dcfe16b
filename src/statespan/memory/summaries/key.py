"""The mean key of a block."""

from __future__ import annotations

from typing import final

from jaxtyping import Float
from torch import Tensor

from statespan.memory.dtypes import computing_dtype
from statespan.memory.summaries.registry import SUMMARIES

__all__ = ["KeySummary"]


@final
class KeySummary:
    """The mean of the keys of a block."""

    reads_queries = False
    in_value_space = False

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
    ) -> Float[Tensor, "batch kv_head block width"]:
        """Return the mean key of each block."""
        del query, value, scaling, num_heads, seed, layer
        return key.mean(dim=3, dtype=computing_dtype(key))

    def map_queries(
        self, query: Float[Tensor, "batch head decision dim"]
    ) -> Float[Tensor, "batch head decision dim"]:
        """Return the queries as they are."""
        return query


SUMMARIES.add("key", KeySummary())
