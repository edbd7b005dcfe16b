"""Facts about a word, and features that a fact may be a function of.

A fact is a yes or no after each word, given by a small automaton. A feature is what a reader of
the word could keep in mind: the last symbol, the last two, how often a symbol came. If the fact is
a function of a feature on all pairs of states that any word leads to, then the sentence that it
says is a theorem.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from statespan.compiler.phrases import Names

__all__ = ["MAX_COUNT", "Fact", "Feature", "FeatureValues", "Row", "values_of"]

MAX_COUNT = 8
"""Counts and remainders up to here are tried."""

Row: TypeAlias = tuple[int, ...]
FeatureValues: TypeAlias = dict[Any, bool]


@final
@dataclass(frozen=True, slots=True)
class Fact:
    """An automaton over classes of symbols; `outputs` has None where nothing need be said.

    A state without an output is not left any more.
    """

    names: Names
    start: int
    rows: tuple[Row, ...]
    outputs: tuple[bool | None, ...]

    @property
    def num_classes(self) -> int:
        """The number of classes of symbols that it tells apart."""
        return len(self.names.classes)


@final
@dataclass(frozen=True, slots=True)
class Feature:
    """A value kept while a word is read, and the sentence for a fact that depends on it alone.

    `say` gets, for each value that comes up, whether the fact holds; None says nothing.
    """

    start: Hashable
    step: Callable[[Any, int], Hashable]
    say: Callable[[FeatureValues], str | None]


def values_of(fact: Fact, feature: Feature) -> FeatureValues | None:
    """Return the fact at each value of the feature; None if it is not a function of it."""
    values: FeatureValues = {}
    start = (fact.start, feature.start)
    seen = {start}
    queue = deque([start])
    while queue:
        state, value = queue.popleft()
        output = fact.outputs[state]
        if output is None:
            continue
        if values.setdefault(value, output) != output:
            return None
        for letter, following in enumerate(fact.rows[state]):
            pair = (following, feature.step(value, letter))
            if pair not in seen:
                seen.add(pair)
                queue.append(pair)
    return values
