"""The last blocks."""

from __future__ import annotations

from typing import final

from jaxtyping import Bool, Float
from torch import Tensor

from statespan.memory.rules.registry import RULES, Place

__all__ = ["Recency"]


@final
class Recency:
    """The last `top_k` candidates."""

    reads_scores = False

    def choose(
        self,
        scores: Float[Tensor, "*batch head decision block"] | None,
        candidates: Bool[Tensor, "*#batch #head decision block"],
        *,
        top_k: int,
        place: Place,
    ) -> Bool[Tensor, "*#batch #head decision block"]:
        """Return the last candidates."""
        del scores, place
        from_here = candidates.flip(-1).cumsum(dim=-1).flip(-1)
        return candidates & (from_here <= top_k)


RULES.add("recency", Recency())
