"""Multi-query associative recall (Arora et al. 2023, arXiv:2312.04927)."""

from __future__ import annotations

from random import Random

from statespan.errors import InputError
from statespan.tasks.catalogue import TASKS
from statespan.tasks.task import Sample, SymbolTask, at_least

__all__: list[str] = []

FILLER = "."


@TASKS.register("mqar")
def mqar(*, pairs: int = 4, keys: int = 16, values: int = 16, power: float = 0.1) -> SymbolTask:
    """Pairs of a key and a value; later each key comes once more, and its value is the answer.

    The pairs stand at the beginning. How far behind them a key comes is drawn, as in the paper,
    with a chance in proportion to distance^(power - 1); between the keys stand fillers.
    """
    at_least(1, pairs=pairs)
    at_least(2, values=values)
    if keys < pairs:
        raise InputError(f"keys must be at least pairs, got keys={keys} and pairs={pairs}.")
    key_names = tuple(f"k{index}" for index in range(1, keys + 1))
    value_names = tuple(f"v{index}" for index in range(1, values + 1))

    def draw(length: int, rng: Random) -> Sample:
        chosen = rng.sample(key_names, pairs)
        value_of = {key: rng.choice(value_names) for key in chosen}
        shown = [symbol for pair in value_of.items() for symbol in pair]
        asked = [FILLER] * (length - len(shown))
        places = _draw_distances(pairs, len(asked), power, rng)
        for place, key in zip(places, rng.sample(chosen, pairs), strict=True):
            asked[place] = key
        answers = [None if key == FILLER else frozenset((value_of[key],)) for key in asked]
        return Sample((*shown, *asked), (*[None] * len(shown), *answers))

    return SymbolTask(
        source="Arora et al. 2023, arXiv:2312.04927",
        bins=[(3 * pairs, 8 * pairs), (8 * pairs + 1, 16 * pairs), (16 * pairs + 1, 32 * pairs)],
        draw=draw,
        has_length=lambda length: length >= 3 * pairs,
        alphabet=(*key_names, *value_names, FILLER),
        answers=value_names,
    )


def _draw_distances(count: int, longest: int, power: float, rng: Random) -> list[int]:
    """Return `count` different numbers below `longest`, i drawn in proportion to (i+1)^(power-1).

    One after the other, without putting back (Efraimidis and Spirakis 2006).
    """
    marks = {place: rng.expovariate((place + 1) ** (power - 1)) for place in range(longest)}
    return sorted(marks, key=marks.__getitem__)[:count]
