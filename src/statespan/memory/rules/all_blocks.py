"""All blocks: full attention, whatever the chunk."""

from __future__ import annotations

from typing import final

from jaxtyping import Bool, Float
from torch import Tensor

from statespan.memory.rules.registry import RULES, Place

__all__ = ["AllBlocks"]


@final
class AllBlocks:
    """All candidates, whatever `top_k` is."""

    reads_scores = False

    def choose(
        self,
        scores: Float[Tensor, "*batch head decision block"] | None,
        candidates: Bool[Tensor, "*#batch #head decision block"],
        *,
        top_k: int,
        place: Place,
    ) -> Bool[Tensor, "*#batch #head decision block"]:
        """Return all candidates."""
        del scores, top_k, place
        return candidates


RULES.add("all", AllBlocks())
