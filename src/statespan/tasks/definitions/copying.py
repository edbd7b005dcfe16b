"""Copying a string, and copying the marked symbols of a longer one."""

from __future__ import annotations

from random import Random

from statespan.tasks.catalogue import TASKS
from statespan.tasks.task import Answer, Sample, SymbolTask, at_least

__all__: list[str] = []

END_OF_STRING, NOISE, ASK = "|", ".", "?"


@TASKS.register("copying")
def copying(*, symbols: int = 26) -> SymbolTask:
    """A random string and |, then the string once more; after | each of its symbols is the answer.

    A string of n symbols is 2n inputs: its own last symbol, when it comes again, ends it.
    """
    at_least(2, symbols=symbols)
    letters = _letters(symbols)

    def draw(length: int, rng: Random) -> Sample:
        string = rng.choices(letters, k=length // 2)
        answers = (*[None] * len(string), *(frozenset((symbol,)) for symbol in string))
        return Sample((*string, END_OF_STRING, *string[:-1]), answers)

    return SymbolTask(
        source="Jelassi et al. 2024, arXiv:2402.01032",
        bins=[(2, 40), (41, 80), (81, 160)],
        draw=draw,
        has_length=lambda length: length >= 2 and length % 2 == 0,
        alphabet=(*letters, END_OF_STRING),
        answers=letters,
    )


@TASKS.register("selective-copying")
def selective_copying(*, symbols: int = 16, count: int = 4) -> SymbolTask:
    """A few symbols among noise, then as many ?: the symbols, in their order, are the answers."""
    at_least(2, symbols=symbols)
    at_least(1, count=count)
    letters = _letters(symbols)

    def draw(length: int, rng: Random) -> Sample:
        shown = [NOISE] * (length - count)
        places = sorted(rng.sample(range(len(shown)), count))
        string = rng.choices(letters, k=count)
        for place, symbol in zip(places, string, strict=True):
            shown[place] = symbol
        answers: list[Answer] = [None] * len(shown)
        answers += [frozenset((symbol,)) for symbol in string]
        return Sample((*shown, *[ASK] * count), tuple(answers))

    return SymbolTask(
        source="Gu and Dao 2023, arXiv:2312.00752",
        bins=[(2 * count, 8 * count), (8 * count + 1, 16 * count), (16 * count + 1, 32 * count)],
        draw=draw,
        has_length=lambda length: length >= 2 * count,
        alphabet=(*letters, NOISE, ASK),
        answers=letters,
    )


def _letters(count: int) -> tuple[str, ...]:
    return tuple(f"s{index}" for index in range(1, count + 1))
