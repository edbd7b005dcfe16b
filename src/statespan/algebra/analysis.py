"""All that the algebra says of one language, worked out when asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import final

from statespan.algebra.aperiodic import CounterWitness, find_counter
from statespan.algebra.classes import ClassVerdict, LazyVerdicts
from statespan.algebra.green import GreenClasses, green_classes
from statespan.algebra.group_classes import GroupSummary, summarize_groups
from statespan.algebra.monoid import MONOID_LIMIT, TransitionMonoid, syntactic_monoid
from statespan.languages import Language
from statespan.languages.automaton import DFA, minimize

__all__ = ["Analysis", "analyze"]


@final
@dataclass(frozen=True, eq=False)
class Analysis:
    """The algebra of a language: each attribute is computed when first read, then kept.

    `star_free` and `witness` never need the monoid, so a monoid over the limit does not hide
    them. For a language that is not regular, `star_free` and `witness` are None and all else
    raises `NotRegularError`. Reading an attribute raises `LimitError` where its search goes over
    its limit.
    """

    name: str
    monoid_limit: int
    _source: Language | DFA

    @property
    def is_regular(self) -> bool:
        """Whether a finite automaton accepts the language."""
        return isinstance(self._source, DFA) or self._source.is_regular

    @cached_property
    def dfa(self) -> DFA:
        """The minimal complete automaton."""
        if isinstance(self._source, DFA):
            return minimize(self._source)
        return self._source.dfa()

    @cached_property
    def witness(self) -> CounterWitness | None:
        """The hidden counter of a regular language that is not star-free."""
        return find_counter(self.dfa) if self.is_regular else None

    @property
    def star_free(self) -> bool | None:
        """Whether the language is star-free; None if it is not regular."""
        return self.witness is None if self.is_regular else None

    @cached_property
    def monoid(self) -> TransitionMonoid:
        """The syntactic monoid."""
        return syntactic_monoid(self.dfa, limit=self.monoid_limit)

    @property
    def monoid_size(self) -> int:
        """The number of elements of the syntactic monoid."""
        return len(self.monoid)

    @cached_property
    def green(self) -> GreenClasses:
        """Green's classes of the syntactic monoid."""
        return green_classes(self.monoid)

    @cached_property
    def groups(self) -> GroupSummary:
        """The groups in the syntactic monoid."""
        return summarize_groups(self.dfa)

    @cached_property
    def classes(self) -> Mapping[str, ClassVerdict]:
        """Class name -> verdict with a witness, each worked out when asked for."""
        return LazyVerdicts(self.dfa, monoid_limit=self.monoid_limit)


def analyze(source: Language | DFA, *, monoid_limit: int = MONOID_LIMIT) -> Analysis:
    """Return the algebra of a language or of the language of an automaton. Nothing is computed yet.

    Example:
        >>> from statespan.languages import language
        >>> analysis = analyze(language("abab-star"))
        >>> analysis.star_free, analysis.witness.word, analysis.monoid_size
        (False, ('a', 'b'), 10)
        >>> [name for name, verdict in analysis.classes.items() if verdict.holds]
        ['commutative-groups', 'exponent-two-groups', 'quasi-aperiodic', 'solvable']
        >>> analysis.groups.names
        ('Z_2',)
    """
    name = source.name if isinstance(source, Language) else "the automaton"
    return Analysis(name, monoid_limit, source)
