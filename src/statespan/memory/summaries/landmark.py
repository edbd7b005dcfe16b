"""What a landmark token sees of a block (the paper's appendix F, SE-Attn-LM)."""

from __future__ import annotations

from hashlib import blake2b
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from statespan.memory.dtypes import computing_dtype
from statespan.memory.summaries.registry import SUMMARIES

__all__ = ["LandmarkSummary", "landmarks"]


@final
class LandmarkSummary:
    """The output of the attention of one fixed query a head to the block; no token sees it.

    The paper leaves open what the landmark's embedding is and where in the block it stands. Here
    its query is drawn from the seed, each number with variance 1, and is the same for all blocks.
    """

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
    ) -> Float[Tensor, "batch head block width"]:
        """Return what the landmark of each head sees of each block."""
        del query
        dtype, kv_heads = computing_dtype(key), key.shape[1]
        fixed = landmarks(num_heads, key.shape[-1], seed=seed, layer=layer).to(key.device, dtype)
        grouped = torch.unflatten(fixed, 0, (kv_heads, -1))[:, None] * scaling
        weights = (grouped @ key.to(dtype).mT).softmax(dim=-1)
        return (weights @ value.to(dtype)).transpose(2, 3).flatten(1, 2)

    def map_queries(
        self, query: Float[Tensor, "batch head decision dim"]
    ) -> Float[Tensor, "batch head decision dim"]:
        """Return the queries as they are."""
        return query


def landmarks(num_heads: int, dim: int, *, seed: int, layer: int) -> Float[Tensor, "head dim"]:
    """Return the landmark's query of each head, a function of the seed and the layer."""
    digest = blake2b(f"landmark {seed} {layer}".encode(), digest_size=7).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
    return torch.randn(num_heads, dim, generator=generator, dtype=torch.float64)


SUMMARIES.add("landmark", LandmarkSummary())
