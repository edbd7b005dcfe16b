"""What trains and what tests: drawn so that the two share nothing, as far as that can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Generic, TypeVar, final

__all__ = ["Split", "draw_split"]

Item = TypeVar("Item")

DRAWS_AN_ITEM = 10
HELD_OUT_SHARE = 5


@final
@dataclass(frozen=True, slots=True)
class Split(Generic[Item]):
    """What trains, and what tests in each bin; `seen` counts what does both."""

    train: list[Item]
    tests: list[list[Item]]
    seen: list[int]


def draw_split(
    draw: Callable[..., list[Item]],
    bins: Sequence[tuple[int, int]],
    *,
    train: int,
    test: int,
    rng: Random,
) -> Split[Item]:
    """Draw `train` items from the first bin, and up to `test` distinct ones from every bin.

    `draw` takes `length` and `count`. Of the first bin, at most a fifth of the distinct items drawn
    test, and none of those trains.

    Raises:
        LengthError: a bin has none at all.
    """
    pool = draw(length=bins[0], count=train + test)
    distinct = list(dict.fromkeys(pool))
    num_held_out = min(test, len(distinct) // HELD_OUT_SHARE)
    held_out = rng.sample(distinct, num_held_out)
    kept = _leave_out(pool, set(held_out), train, rng)
    tests = [held_out or distinct[:test]]
    tests += [_draw_distinct(partial(draw, length=bounds), test) for bounds in bins[1:]]
    trained = set(kept)
    return Split(kept, tests, [sum(item in trained for item in items) for items in tests])


def _leave_out(items: list[Item], left_out: set[Item], count: int, rng: Random) -> list[Item]:
    """Return the first `count` of `items` that are not left out, drawn again if too few are."""
    kept = [item for item in items if item not in left_out][:count]
    return kept + rng.choices(kept, k=count - len(kept))


def _draw_distinct(draw: Callable[..., list[Item]], wanted: int) -> list[Item]:
    """Return up to `wanted` distinct items: as many as there are in ten times as many draws."""
    items: dict[Item, None] = {}
    for _ in range(DRAWS_AN_ITEM * wanted):
        if len(items) == wanted:
            break
        items.update(dict.fromkeys(draw(count=1)))
    return list(items)
