"""Witnesses: why a language is outside a class, in a form that can be replayed.

Nearly all say the same kind of thing: two families of words that no member of the class can tell
apart for a large n, and that the language tells apart for every n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from statespan.algebra.words import access_word, distinguishing_word, run_word
from statespan.languages.automaton import DFA

__all__ = ["Factor", "GroupWitness", "PumpedPair", "Symbols", "Witness", "make_pair", "pumped"]

Symbols: TypeAlias = tuple[str, ...]
"""A word as the tuple of its symbols."""


@final
@dataclass(frozen=True, slots=True)
class Factor:
    """The word `word`, `once + each · n` times."""

    word: Symbols
    once: int = 1
    each: int = 0


Pattern: TypeAlias = tuple[Factor, ...]


@final
@dataclass(frozen=True, slots=True)
class PumpedPair:
    """Two families of words of which the language holds exactly one member for every n ≥ 0.

    `reason` says why a language of the class could not do that; `names` are the words that the
    reason speaks of, by name. That the language separates the families is checked by running its
    automaton (the words of a test may be as long as it likes).
    """

    reason: str
    names: tuple[tuple[str, Symbols], ...]
    left: Pattern
    right: Pattern

    def words(self, n: int) -> tuple[Symbols, Symbols]:
        """Return the n-th words of the two families.

        Example:
            >>> pair = PumpedPair("", (), (Factor(("a",), 0, 2),), (Factor(("a",), 1, 2),))
            >>> ["".join(word) for word in pair.words(1)]
            ['aa', 'aaa']
        """
        return _expand(self.left, n), _expand(self.right, n)


def _expand(pattern: Pattern, n: int) -> Symbols:
    symbols: Symbols = ()
    for factor in pattern:
        symbols += factor.word * (factor.once + factor.each * n)
    return symbols


@final
@dataclass(frozen=True, slots=True)
class GroupWitness:
    """Words that permute a set of states of the minimal automaton, and so generate a group.

    The group is a divisor of the syntactic monoid. `order` is its order, `derived_length` the
    length of its derived series, None if that never reaches the trivial group.
    """

    reason: str
    states: tuple[int, ...]
    words: tuple[Symbols, ...]
    order: int
    derived_length: int | None


Witness: TypeAlias = PumpedPair | GroupWitness


def make_pair(
    dfa: DFA, state: int, left: Pattern, right: Pattern, *, reason: str, **names: Symbols
) -> PumpedPair:
    """Return the pair x·left·z, x·right·z, with x leading to `state` and z telling them apart.

    `dfa` must be minimal, and `left` and `right` must lead from `state` to two different states
    that do not depend on n.
    """
    ends = [run_word(dfa, _expand(pattern, 0), state) for pattern in (left, right)]
    before = Factor(access_word(dfa, state))
    after = Factor(distinguishing_word(dfa, *ends))
    listed = (("x", before.word), *names.items(), ("z", after.word))
    return PumpedPair(reason, listed, (before, *left, after), (before, *right, after))


def pumped(word: Sequence[str], *, once: int = 1, each: int = 1) -> Factor:
    """Return the factor word^(once + each · n)."""
    return Factor(tuple(word), once, each)
