"""What a verdict needs to know of a language, worked out when asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, log2
from typing import Literal, final

from statespan.algebra.analysis import Analysis
from statespan.algebra.height import cascade_height
from statespan.algebra.prediction import (
    has_twin_entries,
    last_symbol_decides,
    memory_order,
    periodic_memory,
)
from statespan.errors import LimitError
from statespan.languages import Language, language
from statespan.languages.definitions.bounded_dyck import BoundedDyckMachine
from statespan.languages.machine import Memory

__all__ = ["Facts"]

MAX_STATES = 500


@final
@dataclass(frozen=True, eq=False)
class Facts:
    """A language with its algebra, for the rules of `statespan.algebra.rules`.

    A bounded Dyck language too large for its automaton is known by the theorem on bounded Dyck
    languages: star-free, not R-trivial, no group, and no bounded memory (for depth at least 3 or
    two types of brackets at depth at least 2).
    """

    language: Language
    analysis: Analysis

    @property
    def memory(self) -> Memory:
        """What the language's machine remembers: finitely much, counters, or a stack."""
        return self.language.machine.memory

    @property
    def is_regular(self) -> bool:
        """Whether a finite automaton accepts the language."""
        return self.language.is_regular

    @property
    def is_bounded_dyck(self) -> bool:
        """Whether the language is made as a bounded Dyck language."""
        return isinstance(self.language.machine, BoundedDyckMachine)

    @cached_property
    def is_flip_flop(self) -> bool:
        """Whether the language equals Flip-Flop, symbol by symbol."""
        flip_flop = language("flip-flop")
        if not self.is_regular or self.is_too_large:
            return False
        return self.language.counterexample_to_equivalence(flip_flop) is None

    @cached_property
    def is_too_large(self) -> bool:
        """Whether the language is a bounded Dyck language of more than `MAX_STATES` states."""
        if not self.is_bounded_dyck:
            return False
        try:
            self.language.dfa(limit=MAX_STATES)
        except LimitError:
            return True
        return False

    @cached_property
    def star_free(self) -> bool | None:
        """Whether the language is star-free; None if it is not regular."""
        return True if self.is_too_large else self.analysis.star_free

    @cached_property
    def is_r_trivial(self) -> bool:
        """Whether the minimal automaton has no cycles but loops."""
        return not self.is_too_large and self.analysis.classes["r-trivial"].holds

    @cached_property
    def is_quasi_aperiodic(self) -> bool:
        """Whether the language is in AC0."""
        return self.star_free is True or self.analysis.classes["quasi-aperiodic"].holds

    @cached_property
    def is_solvable(self) -> bool:
        """Whether all groups in the monoid are solvable."""
        return self.star_free is True or self.analysis.groups.is_solvable

    @cached_property
    def has_only_2_groups(self) -> bool:
        """Whether the orders of all groups in the monoid are powers of two."""
        orders = () if self.star_free else self.analysis.groups.orders
        return all(order & (order - 1) == 0 for order in orders)

    @cached_property
    def is_parity(self) -> bool:
        """Whether the language is PARITY (or its complement), under any names of its symbols."""
        if self.is_too_large or self.analysis.dfa.num_states != 2:
            return False
        letters = set(zip(*self.analysis.dfa.transitions, strict=True))
        return letters == {(0, 1), (1, 0)}

    @cached_property
    def last_symbol_decides(self) -> bool:
        """Whether the last symbol alone decides what may follow."""
        return not self.is_too_large and last_symbol_decides(self.analysis.dfa)

    @cached_property
    def has_twin_entries(self) -> bool:
        """Whether one letter enters two states of a strong component from inside it."""
        return self.is_too_large or has_twin_entries(self.analysis.dfa)

    @cached_property
    def memory_order(self) -> int | Literal["unknown"] | None:
        """The least k such that the last k symbols decide what may follow, if there is one.

        Only a star-free language can have one: a counter tells words with equal ends apart.
        "unknown" where the search for it meets its limit.
        """
        if self.is_too_large or not self.star_free:
            return None
        try:
            return memory_order(self.analysis.dfa)
        except LimitError:
            return "unknown"

    @cached_property
    def periodic_memory(self) -> tuple[int, int] | None:
        """As `memory_order`, with the position modulo m known too: (m, k), if found.

        Only a quasi-aperiodic language can have them.
        """
        if self.is_too_large or not self.is_quasi_aperiodic:
            return None
        try:
            return periodic_memory(self.analysis.dfa)
        except LimitError:
            return None

    @cached_property
    def height(self) -> int | None:
        """The number of levels of the holonomy cascade; None where it is too large to say."""
        try:
            return None if self.is_too_large else cascade_height(self.analysis.dfa)
        except LimitError:
            return None

    @cached_property
    def num_states(self) -> int | None:
        """The number of states of the minimal automaton; None where it is too large to say."""
        return None if self.is_too_large else self.analysis.dfa.num_states

    @property
    def bounded_dyck_numbers(self) -> int | None:
        """1 + h ⌈log2 K⌉ for Dyck(K, h), None for another language."""
        machine = self.language.machine
        if not isinstance(machine, BoundedDyckMachine):
            return None
        return 1 + machine.depth * max(1, ceil(log2(len(machine.opening))))
