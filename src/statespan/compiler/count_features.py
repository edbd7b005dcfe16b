"""Features that count symbols: how often, how much more often, how often modulo a number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from statespan.compiler.phrases import Names, join_words
from statespan.compiler.word_facts import MAX_COUNT, Fact, Feature, FeatureValues

__all__ = [
    "MAX_DIFFERENCE",
    "count_of",
    "difference_of",
    "differences_since",
    "remainder_of",
    "swing_of",
]


MAX_DIFFERENCE = 12
"""Differences up to here are tried."""


def count_of(fact: Fact, counted: frozenset[int], ends: frozenset[int]) -> Feature:
    """Return how often `counted` came since the last of `ends`, up to a bound."""
    most = min(len(fact.rows), MAX_COUNT)
    names = fact.names

    def step(value: int, letter: int) -> int:
        if letter in ends:
            return 0
        return min(most, value + 1) if letter in counted else value

    def say(values: FeatureValues) -> str:
        since = f" since the start or the last {names.one_of(ends)}" if ends else ""
        times = _ranges(sorted(n for n, output in values.items() if output), max(values))
        return f"{names.one_of(counted)} has been read {times}{since}"

    return Feature(0, step, say)


def _ranges(numbers: Sequence[int], largest: int) -> str:
    """Return "exactly 1 or at least 3 times", where `largest` stands for all above it too."""
    if list(numbers) == list(range(numbers[0], largest + 1)):
        return f"at least {_times(numbers[0])}"
    if list(numbers) == list(range(len(numbers))):
        return f"fewer than {_times(len(numbers))}" if len(numbers) > 1 else "not even once"
    inner = [str(number) for number in numbers if number < largest]
    if largest in numbers:
        return f"{join_words([*inner, f'at least {largest}'])} times"
    return f"exactly {join_words(inner)} {'time' if inner == ['1'] else 'times'}"


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def remainder_of(
    names: Names, counted: frozenset[int], ends: frozenset[int], modulus: int
) -> Feature:
    """Return how often `counted` came since the last of `ends`, modulo a number."""

    def step(value: int, letter: int) -> int:
        if letter in ends:
            return 0
        return (value + 1) % modulus if letter in counted else value

    def say(values: FeatureValues) -> str:
        since = f" since the start or the last {names.one_of(ends)}" if ends else ""
        holding = [str(n) for n in sorted(values) if values[n]]
        read = f"{names.one_of(counted)} has been read"
        if modulus == 2:
            return f"{read} an {'even' if values[0] else 'odd'} number of times{since}"
        number = join_words(holding)
        return f"the number of {names.one_of(counted)} read{since} is {number} modulo {modulus}"

    return Feature(0, step, say)


def difference_of(fact: Fact, up: frozenset[int], down: frozenset[int]) -> Feature:
    """Return how much more often `up` came than `down`; "far" is never said to be anything."""
    most = len(fact.rows)
    names = fact.names

    def step(value: int | str, letter: int) -> int | str:
        if isinstance(value, str):
            return value
        value += (letter in up) - (letter in down)
        return value if abs(value) <= most else "far"

    def say(values: FeatureValues) -> str | None:
        if "far" in values:
            return None
        holding = sorted(n for n, output in values.items() if output)
        return f"{names.one_of(up)} minus {names.one_of(down)} is {_numbers(holding, values)}"

    return Feature(0, step, say)


def swing_of(names: Names, up: frozenset[int], down: frozenset[int], size: int) -> Feature:
    """Return whether the last swing by `size` of the difference of `up` and `down` went up.

    A swing up is a stretch of the word that gains `size` and in which no stretch loses as much;
    a swing down the other way round. A walk between 0 and `size` that stops at both ends comes to
    an end when there is a swing.
    """

    def step(value: tuple[int, bool], letter: int) -> tuple[int, bool]:
        height = min(size, max(0, value[0] + (letter in up) - (letter in down)))
        return height, height == size or (value[1] and height != 0)

    def say(values: FeatureValues) -> str | None:
        outputs = {flag: output for (_, flag), output in values.items()}
        if any(outputs[flag] != output for (_, flag), output in values.items()):
            return None
        between = f"{names.one_of(up)} minus {names.one_of(down)}"
        if outputs[True]:
            return f"{between} has swung up by {size}, and not down by {size} since"
        return f"{between} has not swung up by {size} since the start or its last swing down"

    return Feature((0, False), step, say)


def differences_since(fact: Fact, up: frozenset[int], down: frozenset[int]) -> Iterator[Feature]:
    """Yield which of two differences between `up` and `down` came last."""
    largest = min(MAX_DIFFERENCE, len(fact.rows))
    for high in range(1, largest + 1):
        for low in range(high):
            yield _difference_since(fact, (up, down), high, low)


def _difference_since(
    fact: Fact, walk: tuple[frozenset[int], frozenset[int]], high: int, low: int
) -> Feature:
    up, down = walk
    names = fact.names

    def step(value: tuple[int, bool], letter: int) -> tuple[int, bool]:
        height = value[0] + (letter in up) - (letter in down)
        if abs(height) > largest:
            return value[0], value[1]
        return height, height == high or (value[1] and height != low)

    largest = MAX_DIFFERENCE + 1

    def say(values: FeatureValues) -> str | None:
        outputs = {flag: output for (_, flag), output in values.items()}
        if any(outputs[flag] != output for (_, flag), output in values.items()):
            return None
        if any(abs(height) == largest for height, _ in values):
            return None
        between = f"{names.one_of(up)} minus {names.one_of(down)}"
        if outputs[True]:
            return f"{between} has been {high}, and not {low} since"
        return f"{between} has not been {high} since the start or since it was last {low}"

    return Feature((0, False), step, say)


def _numbers(holding: Sequence[int], values: FeatureValues) -> str:
    low, high = min(values), max(values)
    if list(holding) == list(range(holding[0], high + 1)):
        return f"at least {holding[0]}" if len(holding) > 1 else str(high)
    if list(holding) == list(range(low, holding[-1] + 1)):
        return f"at most {holding[-1]}" if len(holding) > 1 else str(low)
    return join_words([str(number) for number in holding])
