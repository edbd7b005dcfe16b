"""Multi-query associative recall, copying, and a needle at a depth."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from statespan.evaluation.synthetic.task import RECALL_TASKS, RecallSample, RecallTask

__all__ = ["draw_associations", "draw_copy", "draw_needle"]

PAIRS = 8
VALUE = 4
"""Tokens of the needle's value."""


def draw_associations(
    length: int, tokens: Sequence[int], depth: float, rng: Random
) -> RecallSample:
    """Return pairs of a key and a value in the first half, each key asked in the second half.

    There are eight pairs (Arora et al. 2023, arXiv 2312.04927, have them packed; here they stand
    anywhere among tokens that are no keys). After a key comes its value both times.
    """
    del depth
    keys = rng.sample(tokens, PAIRS)
    taken = set(keys)
    others = [token for token in tokens if token not in taken]
    value_of = {key: rng.choice(others) for key in keys}
    sequence = rng.choices(others, k=length)
    asked = []
    half = length // 2
    for begin, end, is_question in ((0, half, False), (half, length, True)):
        places = _places(PAIRS, begin, end, rng)
        for place, key in zip(places, rng.sample(keys, PAIRS), strict=True):
            sequence[place : place + 2] = [key, value_of[key]]
            if is_question:
                asked.append(place)
    return RecallSample(sequence, asked)


def draw_copy(length: int, tokens: Sequence[int], depth: float, rng: Random) -> RecallSample:
    """Return a random string twice: of the second one, all but the first token is asked.

    No token comes twice in it, if there are enough of them.
    """
    del depth
    half = length // 2
    distinct = half <= len(tokens)
    string = rng.sample(tokens, half) if distinct else rng.choices(tokens, k=half)
    return RecallSample([*string, *string], list(range(half, 2 * half - 1)))


def draw_needle(length: int, tokens: Sequence[int], depth: float, rng: Random) -> RecallSample:
    """Return a key and its value of four tokens at `depth` among others, and the key at the end.

    After the key at the end stands the value, which is asked token by token.
    """
    key = rng.choice(tokens)
    others = [token for token in tokens if token != key]
    value = rng.choices(others, k=VALUE)
    hay = rng.choices(others, k=length - 2 * (1 + VALUE))
    place = round(depth * len(hay))
    sequence = [*hay[:place], key, *value, *hay[place:], key, *value]
    return RecallSample(sequence, list(range(length - VALUE - 1, length - 1)))


def _places(count: int, begin: int, end: int, rng: Random) -> list[int]:
    """Return places for pairs that do not overlap, in order."""
    free = rng.sample(range(begin, end - count), count)
    return [place + index for index, place in enumerate(sorted(free))]


RECALL_TASKS.add("associative_recall", RecallTask(draw_associations, least_tokens=2 * PAIRS))
RECALL_TASKS.add("copying", RecallTask(draw_copy))
RECALL_TASKS.add("needle", RecallTask(draw_needle, has_depths=True))
