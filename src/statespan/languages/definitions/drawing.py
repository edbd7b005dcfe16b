"""Pieces that several of the published generators share."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

__all__ = ["draw_coins", "draw_flanked"]


def draw_coins(shortest: int, longest: int, rng: Random) -> str:
    """Return fair coin tosses over 0 and 1, stopping with chance 1 / (1 + L) before each.

    L is the middle of the window.
    """
    middle = (shortest + longest) // 2
    word = ""
    while len(word) <= longest and rng.random() >= 1 / (1 + middle):
        word += rng.choice("01")
    return word


def draw_flanked(
    longest: int, rng: Random, *, before: Sequence[str], middle: str, after: Sequence[str]
) -> str:
    """Return uniform symbols before and after `middle`, the two lengths drawn one by one."""
    num_before = rng.randint(0, max(0, longest - 2))
    num_after = rng.randint(0, max(0, longest - num_before - 2))
    return (
        "".join(rng.choice(before) for _ in range(num_before))
        + middle
        + "".join(rng.choice(after) for _ in range(num_after))
    )
