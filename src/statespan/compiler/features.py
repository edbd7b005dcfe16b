"""A sentence for a fact: features tried one by one, the plain ones first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from statespan.compiler.count_features import (
    MAX_DIFFERENCE,
    count_of,
    difference_of,
    differences_since,
    remainder_of,
    swing_of,
)
from statespan.compiler.phrases import Names, Pattern
from statespan.compiler.window_features import MAX_PATTERNS, beginning_of, events_of, window_of
from statespan.compiler.word_facts import MAX_COUNT, Fact, Feature, FeatureValues, values_of

__all__ = ["LAST_SYMBOL", "NOTHING_READ", "describe"]

NOTHING_READ = "nothing has been read yet"
LAST_SYMBOL = "the last symbol was "

MAX_CLASSES = 5
"""With more classes of symbols, features that name two sets of them are not tried."""

MAX_WINDOW = 3


def describe(fact: Fact) -> str | None:
    """Return a sentence that is true exactly when the fact is, None if none was found."""
    if fact.outputs[fact.start] is not None:
        for feature in _features(fact):
            values = values_of(fact, feature)
            sentence = None if values is None else feature.say(values)
            if sentence is not None:
                return sentence
    return None


def _features(fact: Fact) -> Iterator[Feature]:
    yield _nothing()
    subsets = _subsets(fact)
    yield from (_last_of(fact.names, kept) for kept in subsets)
    yield from _occurrences(fact)
    pairs = list(_disjoint(fact)) if fact.num_classes <= MAX_CLASSES else []
    yield from (count_of(fact, counted, ends) for counted, ends in pairs)
    yield from (window_of(fact.names, length) for length in range(2, MAX_WINDOW + 1))
    for length in range(2, MAX_WINDOW + 1):
        yield from events_of(fact, length)
    yield from (beginning_of(fact.names, length) for length in range(1, MAX_WINDOW + 1))
    walks = [(up, down) for up, down in pairs if down]
    yield from (difference_of(fact, up, down) for up, down in walks)
    for size in range(2, min(MAX_DIFFERENCE, len(fact.rows)) + 1):
        yield from (swing_of(fact.names, up, down, size) for up, down in walks)
    for up, down in walks:
        yield from differences_since(fact, up, down)
    for modulus in range(2, min(MAX_COUNT, len(fact.rows)) + 1):
        yield from (remainder_of(fact.names, counted, ends, modulus) for counted, ends in pairs)


def _subsets(fact: Fact) -> list[frozenset[int]]:
    """Return the sets of classes that may be kept out of sight, the small ones first."""
    if fact.num_classes > MAX_CLASSES:
        kept = range(fact.num_classes)
        still = [c for c in kept if all(row[c] == q for q, row in enumerate(fact.rows))]
        return [frozenset(), frozenset(still)]
    chosen = product((False, True), repeat=fact.num_classes)
    subsets = [frozenset(c for c, yes in enumerate(flags) if yes) for flags in chosen]
    return sorted(subsets, key=lambda subset: (len(subset), sorted(subset)))[:-1]


def _disjoint(fact: Fact) -> Iterator[tuple[frozenset[int], frozenset[int]]]:
    """Yield pairs of disjoint sets of classes, the first not empty; small ones first."""
    roles = product(range(3), repeat=fact.num_classes)
    for role in sorted(roles, key=lambda role: (sum(r > 0 for r in role), role)):
        first, second = (
            frozenset(c for c, own in enumerate(role) if own == wanted) for wanted in (1, 2)
        )
        if first:
            yield first, second


def _nothing() -> Feature:
    def say(values: FeatureValues) -> str:
        return "always" if values[None] else "never"

    return Feature(None, lambda _, __: None, say)


def _last_of(names: Names, kept: frozenset[int]) -> Feature:
    """Return the last symbol that is not in one of the classes `kept`."""

    def say(values: FeatureValues) -> str:
        made, undone = (_classes(values, wanted) for wanted in (True, False))
        if kept:
            sets, resets = ([(c,) for c in classes] for classes in (made, undone))
            return names.since(sets, resets, at_start=values[None])
        if not made or not undone:
            return NOTHING_READ if values[None] else "something has been read"
        last = f"{LAST_SYMBOL}{names.one_of(made)}"
        return f"{NOTHING_READ}, or {last}" if values[None] else last

    return Feature(None, lambda last, letter: last if letter in kept else letter, say)


def _classes(values: FeatureValues, wanted: bool) -> list[int]:
    return sorted(c for c, output in values.items() if c is not None and output == wanted)


def _occurrences(fact: Fact) -> Iterator[Feature]:
    """Yield whether the patterns that lead the fast way out of the first answer have come up."""
    first = fact.outputs[fact.start]
    patterns = _shortest(fact, not first)
    if patterns and len(patterns) <= MAX_PATTERNS:
        yield _occurred(fact.names, patterns, adjacent=True)
        if len(patterns) == 1 and len(patterns[0]) > 1:
            yield _occurred(fact.names, patterns, adjacent=False)


def _shortest(fact: Fact, wanted: bool) -> list[Pattern]:
    """Return the shortest patterns after which the fact is `wanted`."""
    level: dict[Pattern, int] = {(): fact.start}
    for _ in range(len(fact.rows)):
        found = [pattern for pattern, state in level.items() if fact.outputs[state] == wanted]
        if found:
            return found
        level = {
            (*pattern, letter): following
            for pattern, state in level.items()
            for letter, following in enumerate(fact.rows[state])
            if fact.outputs[state] is not None
        }
        if len(level) > 1_000:
            break
    return []


def _occurred(names: Names, patterns: Sequence[Pattern], *, adjacent: bool) -> Feature:
    (length,) = {len(pattern) for pattern in patterns}

    def step(value: Pattern | None, letter: int) -> Pattern | None:
        if value is None or (not adjacent and letter != patterns[0][len(value)]):
            return value
        read = (*value, letter)[-length:]
        return None if read in patterns else read

    def say(values: FeatureValues) -> str | None:
        outputs = {value is None: output for value, output in values.items()}
        mixed = {output for value, output in values.items() if value is not None}
        if len(outputs) < 2 or len(mixed) > 1:
            return None
        listed = names.any_of(patterns)
        if not adjacent:
            read = "…".join(names.one_of([c]) for c in patterns[0])
            listed = f"{read} (others may stand between)"
        return f"{listed} has been read" if outputs[True] else f"no {listed} has been read"

    return Feature((), step, say)
