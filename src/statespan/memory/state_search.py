"""The largest of many scores, as indices, without a sort of all of them."""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from statespan.memory.rules.top_k import largest

__all__ = ["indices_of_largest"]

GROUP: Final = 64
"""Scores that are first compared by their maximum."""


def indices_of_largest(
    scores: Float[Tensor, "*batch block"], top_k: int
) -> Int[Tensor, "*batch top_k"]:
    """Return the indices that the rule `"top_k"` chooses, in no order.

    They lie in the `top_k` groups of the largest maxima. Where maxima are equal, the first groups
    are taken; a group that is left out holds no score, then, that the rule would prefer.
    """
    num_groups = scores.shape[-1] // GROUP
    if num_groups <= 2 * top_k:
        return _indices(scores, top_k)
    body, rest = scores[..., : num_groups * GROUP], scores[..., num_groups * GROUP :]
    maxima = torch.unflatten(body, -1, (num_groups, GROUP)).amax(dim=-1)
    if bool(maxima.isnan().any()):
        return _indices(scores, top_k)
    steps = torch.arange(GROUP, device=scores.device)
    groups = _indices(maxima, top_k).sort(dim=-1).values  # of equal scores, the first is taken
    places = (groups[..., None] * GROUP + steps).flatten(-2)
    tail = torch.arange(body.shape[-1], scores.shape[-1], device=scores.device)
    places = torch.cat((places, tail.expand(*places.shape[:-1], -1)), dim=-1)
    candidates = torch.cat((body.gather(-1, places[..., : top_k * GROUP]), rest), dim=-1)
    return places.gather(-1, _indices(candidates, top_k))


def _indices(scores: Float[Tensor, "*batch block"], top_k: int) -> Int[Tensor, "*batch top_k"]:
    """Return the indices by a partial sort, unless it takes one of equals or what is no number."""
    if top_k == 0 or top_k == scores.shape[-1]:
        every = torch.arange(top_k, device=scores.device)
        return every.expand(*scores.shape[:-1], -1)
    values, index = scores.topk(top_k + 1, dim=-1)
    clear = (values[..., -2] > values[..., -1]) & ~values[..., 0].isnan()
    if bool(clear.all()):
        return index[..., :-1]
    everything = torch.ones(scores.shape[-1], dtype=torch.bool, device=scores.device)
    chosen = largest(scores, everything, top_k=top_k)
    return chosen.nonzero()[:, -1].view(*scores.shape[:-1], top_k)
