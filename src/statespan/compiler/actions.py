"""What a symbol may do to a component: write a value, flip two values, or swap two of several."""

from __future__ import annotations

from itertools import combinations
from typing import Final, Literal, TypeAlias

__all__ = ["MOST_SWAPPED", "Action", "Moves", "Swap", "moves_of", "value_after"]

Swap: TypeAlias = tuple[int, int]
"""Two values that take each other's place, the lower one first."""

Action: TypeAlias = int | Swap | None
"""What is done to a component: a value is written, two values swap, or it is flipped (None)."""

Moves: TypeAlias = Literal["none", "flips", "swaps"]
"""How symbols may permute the values of a component: not at all, flip two, or swap two of some."""

MOST_SWAPPED: Final = 7
"""The most values of a component that symbols may swap."""


def value_after(action: Action, value: int) -> int:
    """Return what a component holds after an action.

    >>> [value_after((0, 2), value) for value in range(4)]
    [2, 1, 0, 3]
    """
    match action:
        case None:
            return 1 - value
        case (low, high):
            return {low: high, high: low}.get(value, value)
        case written:
            return written


def moves_of(num_values: int) -> list[Action]:
    """Return what permutes the values of a component of so many, and can be done by one symbol.

    >>> moves_of(2), moves_of(3)
    ([None], [(0, 1), (0, 2), (1, 2)])
    """
    return [None] if num_values == 2 else list(combinations(range(num_values), 2))
