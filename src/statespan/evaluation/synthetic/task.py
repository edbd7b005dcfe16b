"""What a recall task is: token ids, and positions after which the next one is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeAlias, final

from statespan.registry import Registry

__all__ = ["RECALL_TASKS", "Draw", "RecallSample", "RecallTask"]


@final
@dataclass(frozen=True, slots=True)
class RecallSample:
    """Token ids, of which some can be told from those before them.

    Attributes:
        tokens: the whole sequence.
        asked: positions in order; the token after each of them is what is asked.
    """

    tokens: list[int]
    asked: list[int]

    @property
    def answers(self) -> list[int]:
        """The tokens that are asked."""
        return [self.tokens[position + 1] for position in self.asked]


Draw: TypeAlias = Callable[[int, Sequence[int], float, Random], RecallSample]
"""(length, token ids, depth, rng) -> a sample of `length` tokens."""


@final
@dataclass(frozen=True, slots=True)
class RecallTask:
    """A task of recall.

    Attributes:
        draw: makes a sample.
        has_depths: whether it is measured at each depth by itself.
        least_tokens: the number of different token ids that it needs at least.
    """

    draw: Draw
    has_depths: bool = False
    least_tokens: int = 2


RECALL_TASKS: Registry[RecallTask] = Registry("recall task", "recall_tasks")
