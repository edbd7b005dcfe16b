"""The mean value of a block."""

from __future__ import annotations

from typing import final

from jaxtyping import Float
from torch import Tensor

from statespan.memory.dtypes import computing_dtype
from statespan.memory.summaries.registry import SUMMARIES

__all__ = ["ValueSummary"]


@final
class ValueSummary:
    """The mean of the values of a block."""

    reads_queries = False
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
    ) -> Float[Tensor, "batch kv_head block width"]:
        """Return the mean value of each block."""
        del query, key, scaling, num_heads, seed, layer
        return value.mean(dim=3, dtype=computing_dtype(value))

    def map_queries(
        self, query: Float[Tensor, "batch head decision dim"]
    ) -> Float[Tensor, "batch head decision dim"]:
        """Return the queries as they are."""
        return query


SUMMARIES.add("value", ValueSummary())
