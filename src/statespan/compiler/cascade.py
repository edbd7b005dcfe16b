"""Cascades: finite memories in a row, each driven by the symbol and by those before it.

A component holds one of a few values. A symbol either leaves it as it is, writes a value, flips it
(where it has two values), or swaps two of its values; which, depends on the symbol and on the
values that earlier components had *before* the symbol. Without flips and swaps these are the
cascades of identity-reset automata that recognize exactly the star-free languages (Krohn and
Rhodes 1965; Schützenberger 1965). A cascade is exact: ints, tuples and frozensets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import TypeAlias, final

from statespan.compiler.actions import Action, Swap, value_after
from statespan.errors import LimitError
from statespan.languages.automaton import DFA, DFAMachine
from statespan.languages.symbols import Alphabet, NextSymbols

__all__ = [
    "Cascade",
    "Component",
    "Conditions",
    "Readout",
    "ReadoutTerm",
    "Term",
    "Values",
    "cascade_fault",
    "check_cascade",
    "holds",
    "next_symbols_of_states",
]

Values: TypeAlias = tuple[int, ...]
"""The value of each component."""

Conditions: TypeAlias = tuple[tuple[int, frozenset[int]], ...]
"""A conjunction: (component, the values that it may have), by ascending component."""

REACHABLE_LIMIT = 1_000_000


def holds(conditions: Conditions, values: Values) -> bool:
    """Return whether every component named has one of the values allowed to it."""
    return all(values[component] in allowed for component, allowed in conditions)


@final
@dataclass(frozen=True, slots=True)
class Term:
    """A rule of a component: on one of `letters`, if `conditions` held before it, act.

    A letter is the number of a symbol in the alphabet, or the restart, whose number is the size
    of the alphabet. `value` is what is written; None flips a component of two values, and a pair
    swaps two values of a larger one.
    """

    letters: frozenset[int]
    conditions: Conditions
    value: Action

    def fires(self, letter: int, before: Values) -> bool:
        """Return whether the rule acts."""
        return letter in self.letters and holds(self.conditions, before)


@final
@dataclass(frozen=True, slots=True)
class Component:
    """A memory with the values 0 … num_values-1.

    `terms` are mutually exclusive for every letter and all values of the components that they
    name; where none fires, the value is kept. The restart writes `initial`, by a term like any
    other, without conditions.
    """

    num_values: int
    initial: int
    terms: tuple[Term, ...]

    @property
    def reads(self) -> frozenset[int]:
        """The components that its terms ask about."""
        return frozenset(component for term in self.terms for component, _ in term.conditions)

    @property
    def flips(self) -> bool:
        """Whether some term flips it."""
        return any(term.value is None for term in self.terms)

    @property
    def swaps(self) -> tuple[Swap, ...]:
        """The pairs of values that some term swaps, in order."""
        return tuple(sorted({term.value for term in self.terms if isinstance(term.value, tuple)}))

    def fired(self, letter: int, before: Values) -> int | None:
        """Return the number of the term that acts; None if the value is kept."""
        return next((i for i, term in enumerate(self.terms) if term.fires(letter, before)), None)


@final
@dataclass(frozen=True, slots=True)
class ReadoutTerm:
    """If `conditions` hold, the answer is `label`."""

    conditions: Conditions
    label: int


@final
@dataclass(frozen=True, slots=True)
class Readout:
    """The symbols that may follow, from the values after the last symbol.

    `terms` are mutually exclusive; where none holds, the answer is `labels[default]`.
    """

    labels: tuple[NextSymbols, ...]
    default: int
    terms: tuple[ReadoutTerm, ...]

    def label(self, values: Values) -> int:
        """Return the number of the answer at `values`."""
        return next((t.label for t in self.terms if holds(t.conditions, values)), self.default)


@final
@dataclass(frozen=True)
class Cascade:
    """Components in a row, and what they say about the next symbol.

    A component's terms name earlier components only.
    """

    alphabet: Alphabet
    components: tuple[Component, ...]
    readout: Readout

    @property
    def restart(self) -> int:
        """The number of the letter that begins a word."""
        return len(self.alphabet)

    @property
    def start(self) -> Values:
        """The values before the first symbol."""
        return tuple(component.initial for component in self.components)

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """The level of each component, from 1: one above the highest that it reads."""
        levels: list[int] = []
        for component in self.components:
            levels.append(1 + max((levels[read] for read in component.reads), default=0))
        return tuple(levels)

    @property
    def num_levels(self) -> int:
        """The number of levels; 0 without components."""
        return max(self.levels, default=0)

    @property
    def flips(self) -> bool:
        """Whether a component is flipped, or has values that swap, so that groups may be hidden."""
        return any(component.flips or component.swaps for component in self.components)

    def step(self, values: Values, letter: int) -> Values:
        """Return the values after `letter`."""
        return tuple(
            _apply(component, value, letter, values)
            for component, value in zip(self.components, values, strict=True)
        )

    def run(self, letters: Iterable[int]) -> Iterator[Values]:
        """Yield the values at the start and after each of `letters`."""
        values = self.start
        yield values
        for letter in letters:
            values = self.step(values, letter)
            yield values

    def next_symbols(self, values: Values) -> NextSymbols:
        """Return the symbols that may follow, with END if what was read is a word."""
        return self.readout.labels[self.readout.label(values)]


def _apply(component: Component, value: int, letter: int, before: Values) -> int:
    fired = component.fired(letter, before)
    if fired is None:
        return value
    return value_after(component.terms[fired].value, value)


def next_symbols_of_states(dfa: DFA) -> list[NextSymbols]:
    """Return, for each state of `dfa`, the symbols that may follow; none at a dead state."""
    machine = DFAMachine(dfa)
    return [machine.allowed(state) for state in range(dfa.num_states)]


def cascade_fault(cascade: Cascade, dfa: DFA, *, limit: int = REACHABLE_LIMIT) -> str | None:
    """Return where the cascade says something else than `dfa`; None if it nowhere does.

    Every pair of values and state that some word leads to is looked at, restarts included.

    Raises:
        LimitError: more than `limit` pairs were met.
    """
    allowed = next_symbols_of_states(dfa)
    successors = _successors(cascade)
    start = (cascade.start, dfa.start)
    seen = {start}
    queue = deque([start])
    while queue:
        values, state = queue.popleft()
        said = cascade.next_symbols(values)
        if said != allowed[state]:
            return f"at the values {values} it says {said}, the automaton {allowed[state]}"
        for following in zip(successors(values), (*dfa.transitions[state], dfa.start), strict=True):
            if following not in seen:
                if len(seen) >= limit:
                    raise LimitError(f"the cascade reaches more than {limit:,} values.")
                seen.add(following)
                queue.append(following)
    return None


def _successors(cascade: Cascade) -> Callable[[Values], Iterable[Values]]:
    """Return what gives the values after each letter, as `cascade.step` does but faster.

    What a component holds next is found once for all values of the components not asked about.
    """
    asked = [itemgetter(*sorted({*c.reads, n})) for n, c in enumerate(cascade.components)]
    known: list[dict[object, list[int]]] = [{} for _ in asked]
    parts = list(zip(cascade.components, asked, known, range(len(asked)), strict=True))
    letters = range(cascade.restart + 1)

    def successors(values: Values) -> Iterable[Values]:
        columns = []
        for component, ask, rows, place in parts:
            key = ask(values)
            if key not in rows:
                value = values[place]
                rows[key] = [_apply(component, value, letter, values) for letter in letters]
            columns.append(rows[key])
        return zip(*columns, strict=True) if columns else [()] * len(letters)

    return successors


def check_cascade(cascade: Cascade, dfa: DFA, *, limit: int = REACHABLE_LIMIT) -> None:
    """Check that the cascade says what `dfa` says after every prefix.

    Raises:
        AssertionError: it does not (a fault of the compiler, never of the input).
        LimitError: the cascade reaches too many values.
    """
    fault = cascade_fault(cascade, dfa, limit=limit)
    assert fault is None, fault
