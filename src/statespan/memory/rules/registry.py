"""Rules: which of the blocks that may be chosen are chosen.

Axes: `head`, the heads that decide; `decision`, the groups of queries that retrieve together;
`block`, the blocks of a document.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from statespan.registry import Registry

__all__ = ["RULES", "Place", "Rule"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a decision stands: all that a rule may draw its chance from.

    Attributes:
        heads: the index of each head that decides.
        decisions: the index of each decision in its document.
    """

    seed: int
    step: int
    layer: int
    heads: Int[Tensor, " head"]
    decisions: Int[Tensor, "... decision"]


@runtime_checkable
class Rule(Protocol):
    """Chooses blocks; registered in `RULES`, or by an entry point in `statespan.rules`."""

    @property
    def reads_scores(self) -> bool:
        """Whether the choice depends on the scores, and so on the content."""
        ...

    def choose(
        self,
        scores: Float[Tensor, "*batch head decision block"] | None,
        candidates: Bool[Tensor, "*#batch #head decision block"],
        *,
        top_k: int,
        place: Place,
    ) -> Bool[Tensor, "*#batch #head decision block"]:
        """Return the chosen blocks, which are some of `candidates`.

        The choice of a decision may depend on its own scores, candidates and place only. Scores
        are None where the rule does not read them.
        """
        ...


RULES: Final[Registry[Rule]] = Registry("rule", "rules")
