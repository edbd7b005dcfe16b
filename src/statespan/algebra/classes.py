"""The classes of regular languages, by name: each decided, with a witness when it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias, final

from statespan.algebra.aperiodic import CounterWitness, find_counter
from statespan.algebra.group_classes import (
    find_commutative_group_violation,
    find_exponent_two_violation,
    find_solvable_violation,
)
from statespan.algebra.local import (
    find_definite_violation,
    find_locally_testable_violation,
    find_reverse_definite_violation,
)
from statespan.algebra.monoid import MONOID_LIMIT
from statespan.algebra.ordered import (
    find_da_violation,
    find_l_trivial_violation,
    find_piecewise_testable_violation,
    find_r_trivial_violation,
)
from statespan.algebra.quasi_aperiodic import find_quasi_aperiodic_violation
from statespan.algebra.witnesses import GroupWitness, PumpedPair
from statespan.errors import UnknownNameError
from statespan.languages.automaton import DFA

__all__ = ["CLASSES", "ClassVerdict", "LazyVerdicts", "decide_class"]

ClassWitness: TypeAlias = CounterWitness | PumpedPair | GroupWitness


@final
@dataclass(frozen=True, slots=True)
class ClassVerdict:
    """Whether a language is in a class; `witness` says why not, None if it is."""

    holds: bool
    witness: ClassWitness | None


class _MonoidSearch(Protocol):
    def __call__(self, dfa: DFA, *, limit: int) -> ClassWitness | None: ...


_SEARCHES: Final[Mapping[str, Callable[[DFA], ClassWitness | None]]] = {
    "definite": find_definite_violation,
    "reverse-definite": find_reverse_definite_violation,
    "locally-testable": find_locally_testable_violation,
    "piecewise-testable": find_piecewise_testable_violation,
    "r-trivial": find_r_trivial_violation,
    "star-free": find_counter,
    "quasi-aperiodic": find_quasi_aperiodic_violation,
    "exponent-two-groups": find_exponent_two_violation,
    "commutative-groups": find_commutative_group_violation,
    "solvable": find_solvable_violation,
}

_MONOID_SEARCHES: Final[Mapping[str, _MonoidSearch]] = {
    "l-trivial": find_l_trivial_violation,
    "da": find_da_violation,
}
"""These may need the monoid, or as many states as it has elements."""

CLASSES: Final = tuple(sorted((*_SEARCHES, *_MONOID_SEARCHES)))
"""The names of the classes."""


def decide_class(name: str, dfa: DFA, *, monoid_limit: int = MONOID_LIMIT) -> ClassVerdict:
    """Return whether the language of `dfa` is in the class called `name`.

    Only `da` and `l-trivial` may need the monoid, and only then `monoid_limit` matters.

    Raises:
        UnknownNameError: there is no such class.
        LimitError: the search went over its limit.

    Example:
        >>> from statespan.languages import language
        >>> decide_class("star-free", language("tomita-4").dfa()).holds
        True
    """
    if name in _MONOID_SEARCHES:
        witness = _MONOID_SEARCHES[name](dfa, limit=monoid_limit)
    elif name in _SEARCHES:
        witness = _SEARCHES[name](dfa)
    else:
        raise UnknownNameError("class of languages", name, CLASSES)
    return ClassVerdict(witness is None, witness)


@final
@dataclass(frozen=True, eq=False)
class LazyVerdicts(Mapping[str, ClassVerdict]):
    """The verdict on each class, worked out when it is asked for and kept.

    Asking for one may raise `LimitError`; the others are not touched by that.
    """

    dfa: DFA
    monoid_limit: int = field(default=MONOID_LIMIT, kw_only=True)
    _known: dict[str, ClassVerdict] = field(default_factory=dict, repr=False, kw_only=True)

    def __getitem__(self, name: str) -> ClassVerdict:
        if name not in CLASSES:
            raise KeyError(name)
        if name not in self._known:
            self._known[name] = decide_class(name, self.dfa, monoid_limit=self.monoid_limit)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(CLASSES)

    def __len__(self) -> int:
        return len(CLASSES)
