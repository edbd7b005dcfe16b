"""The box around the keys of a block, which bounds every logit (Quest, arXiv 2406.10774)."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from statespan.memory.dtypes import computing_dtype
from statespan.memory.summaries.registry import SUMMARIES

__all__ = ["BoundSummary"]


@final
class BoundSummary:
    """The largest and the least number of each dimension of the keys.

    A score is then at least the product of the query with any key of the block. It is not in the
    paper of span-expanded attention.
    """

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
        """Return the largest numbers of each block, then the least."""
        del query, value, scaling, num_heads, seed, layer
        box = torch.cat((key.amax(dim=3), key.amin(dim=3)), dim=-1)
        return box.to(computing_dtype(key))

    def map_queries(
        self, query: Float[Tensor, "batch head decision dim"]
    ) -> Float[Tensor, "batch head decision width"]:
        """Return the positive numbers of a query, for the largest, then the negative."""
        return torch.cat((query.clamp_min(0), query.clamp_max(0)), dim=-1)


SUMMARIES.add("bound", BoundSummary())
