"""The largest scores of one decision a head, as indices."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from statespan.memory.rules.top_k import largest

__all__ = ["indices_of_largest"]


def indices_of_largest(
    scores: Float[Tensor, "*batch block"], top_k: int
) -> Int[Tensor, "*batch top_k"]:
    """Return the indices that the rule `"top_k"` chooses of all blocks, in no order.

    It is one partial sort, without the masks of the rule, unless a score at the edge has an equal
    beyond it or one is not a number.
    """
    if top_k in (0, scores.shape[-1]):
        every = torch.arange(top_k, device=scores.device)
        return every.expand(*scores.shape[:-1], -1)
    values, index = scores.topk(top_k + 1, dim=-1)
    clear = (values[..., -2] > values[..., -1]) & ~values[..., 0].isnan()
    if bool(clear.all()):
        return index[..., :-1]
    everything = torch.ones(scores.shape[-1], dtype=torch.bool, device=scores.device)
    chosen = largest(scores, everything, top_k=top_k)
    return chosen.nonzero()[:, -1].view(*scores.shape[:-1], top_k)
