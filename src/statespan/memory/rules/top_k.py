"""The blocks of the largest scores."""

from __future__ import annotations

from typing import final

from jaxtyping import Bool, Float
from torch import Tensor

from statespan.memory.rules.registry import RULES, Place

__all__ = ["TopK", "largest"]


def largest(
    scores: Float[Tensor, "*#batch block"], candidates: Bool[Tensor, "*#batch block"], *, top_k: int
) -> Bool[Tensor, "*batch block"]:
    """Return the `top_k` candidates of the largest scores, or all if there are no more.

    Of equal scores, those of the first blocks win; a score that is not a number is the least.
    """
    wanted = min(top_k, scores.shape[-1])
    if wanted == 0:
        return candidates.expand_as(scores) & False
    scores = scores.nan_to_num(nan=-float("inf")).masked_fill(~candidates, -float("inf"))
    least = scores.topk(wanted, dim=-1).values[..., -1:]
    chosen = (scores >= least) & candidates
    if bool((chosen.sum(dim=-1) > wanted).any()):
        above = (scores > least) & candidates
        room = wanted - above.sum(dim=-1, keepdim=True)
        level = chosen & ~above
        chosen = above | (level & (level.cumsum(dim=-1) <= room))
    return chosen


@final
class TopK:
    """The `top_k` blocks of the largest scores; of equal ones, the first (the paper's rule)."""

    reads_scores = True

    def choose(
        self,
        scores: Float[Tensor, "*batch head decision block"] | None,
        candidates: Bool[Tensor, "*#batch #head decision block"],
        *,
        top_k: int,
        place: Place,
    ) -> Bool[Tensor, "*#batch #head decision block"]:
        """Return the candidates of the largest scores."""
        del place
        assert scores is not None
        return largest(scores, candidates, top_k=top_k)


RULES.add("top_k", TopK())
