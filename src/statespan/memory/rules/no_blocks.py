"""No block: independent chunks (SE-NoMem)."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from statespan.memory.rules.registry import RULES, Place

__all__ = ["NoBlocks"]


@final
class NoBlocks:
    """Nothing, whatever `top_k` is."""

    reads_scores = False

    def choose(
        self,
        scores: Float[Tensor, "*batch head decision block"] | None,
        candidates: Bool[Tensor, "*#batch #head decision block"],
        *,
        top_k: int,
        place: Place,
    ) -> Bool[Tensor, "*#batch #head decision block"]:
        """Return none of the candidates."""
        del scores, top_k, place
        return torch.zeros_like(candidates)


RULES.add("none", NoBlocks())
