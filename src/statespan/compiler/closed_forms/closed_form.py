"""The languages that have a closed form, each with its meaning, exact and without weights.

A closed form knows what its language remembers, so its weights can be written down without an
automaton: a stored bit, a stack of bounded depth, or integers that are only compared with zero.
The counters are the only unbounded memory that a non-negative diagonal recurrence can have
(Sarrof, Veitsman and Hahn 2024, arXiv:2405.17394, theorems 1, 5 and 6).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log2
from typing import TypeAlias, final

from statespan.compiler.closed_forms.counter_language import CounterLanguage
from statespan.errors import InputError
from statespan.languages import END, Alphabet, Language, NextSymbols, Word
from statespan.languages.automaton import DFAMachine, determinize
from statespan.languages.definitions.bounded_dyck import BoundedDyckMachine
from statespan.languages.machine import Machine, shortest_difference
from statespan.languages.symbols import check_alphabet, check_word

__all__ = [
    "BoundedDyck",
    "ClosedForm",
    "FlipFlop",
    "closed_form",
]


@final
@dataclass(frozen=True)
class FlipFlop:
    """Pairs of an instruction, `write` first, and a bit; after `read`, the bit last written.

    `alphabet` orders the five symbols; `bits` are the two that an instruction is followed by.
    """

    alphabet: Alphabet
    write: str
    read: str
    ignore: str
    bits: tuple[str, str]

    def __post_init__(self) -> None:
        if sorted(check_alphabet(self.alphabet)) != sorted(self.symbols):
            raise InputError(
                f"alphabet must hold the symbols {self.symbols} and no other, got {self.alphabet}."
            )

    @property
    def symbols(self) -> tuple[str, ...]:
        """The instructions to write, to read and to ignore, then the two bits."""
        return (self.write, self.read, self.ignore, *self.bits)

    @classmethod
    def match(cls, language: Language) -> FlipFlop | None:
        """Return the closed form of `language`, whatever its symbols are; None if it has none."""
        if not language.is_regular or len(language.alphabet) != 5:
            return None
        guess = cls._guess(language)
        is_right = guess and shortest_difference(language.machine, guess.machine()) is None
        return guess if is_right else None

    def next_symbols(self, prefix: Word) -> NextSymbols:
        """Return the symbols that may follow `prefix`, END if it is a word; none if it is wrong."""
        check_word(prefix, self.alphabet)
        pending, stored = "", ""
        for symbol in prefix:
            if symbol not in self._allowed(pending, stored):
                return frozenset()
            if not pending:
                pending = symbol
                continue
            stored = symbol if pending == self.write else stored
            pending = ""
        return self._allowed(pending, stored)

    def _allowed(self, pending: str, stored: str) -> NextSymbols:
        if pending:
            return frozenset((stored,) if pending == self.read else self.bits)
        return frozenset((*(self.symbols[:3] if stored else (self.write,)), END))

    def machine(self) -> Machine:
        """Return its automaton."""

        def step(state: tuple[str, str] | None, symbol: int) -> tuple[str, str] | None:
            name = self.alphabet[symbol]
            if state is None or name not in self._allowed(*state):
                return None
            pending, stored = state
            if not pending:
                return name, "" if name == self.write else stored
            return "", name if pending == self.write else stored

        dfa = determinize(self.alphabet, ("", ""), step, lambda q: q is not None and not q[0])
        return DFAMachine(dfa)

    @classmethod
    def _guess(cls, language: Language) -> FlipFlop | None:
        """Name the roles by what may follow; only the automaton says whether they are right."""

        def following(*prefix: str) -> list[str]:
            allowed = language.next_symbols(prefix)
            return [symbol for symbol in language.alphabet if symbol in allowed]

        first = following()
        bits = following(*first) if len(first) == 1 else []
        if len(bits) != 2:
            return None
        others = [s for s in language.alphabet if s not in {*first, *bits}]
        reads = [s for s in others if following(first[0], bits[0], s) == [bits[0]]]
        if len(reads) != 1 or len(others) != 2:
            return None
        ignore = others[1 - others.index(reads[0])]
        return cls(language.alphabet, first[0], reads[0], ignore, (bits[0], bits[1]))


@final
@dataclass(frozen=True)
class BoundedDyck:
    """Brackets of several types in balance, at most `depth` deep.

    The alphabet is the opening brackets, then the closing ones in the same order of types.
    """

    opening: tuple[str, ...]
    closing: tuple[str, ...]
    depth: int

    def __post_init__(self) -> None:
        check_alphabet(self.opening + self.closing)
        if len(self.opening) != len(self.closing):
            raise InputError(
                "there must be as many closing brackets as opening ones, "
                f"got {len(self.opening)} and {len(self.closing)}."
            )
        if self.depth < 1:
            raise InputError(f"depth must be at least 1, got {self.depth}.")

    @property
    def num_brackets(self) -> int:
        """The number of types of brackets."""
        return len(self.opening)

    @property
    def num_bits(self) -> int:
        """The number of bits that tell the types apart: ⌈log2 of their number⌉."""
        return ceil(log2(self.num_brackets))

    @property
    def alphabet(self) -> Alphabet:
        """The opening brackets, then the closing ones."""
        return self.opening + self.closing

    @classmethod
    def match(cls, language: Language) -> BoundedDyck | None:
        """Return the closed form of `language`; None if it is not given as nested brackets."""
        machine = language.machine
        if not isinstance(machine, BoundedDyckMachine):
            return None
        return cls(machine.opening, machine.closing, machine.depth)

    def next_symbols(self, prefix: Word) -> NextSymbols:
        """Return the symbols that may follow `prefix`, END if it is a word; none if it is wrong."""
        check_word(prefix, self.alphabet)
        pending: list[str] = []
        for symbol in prefix:
            if symbol not in self._allowed(pending):
                return frozenset()
            if symbol in self.opening:
                pending.append(self.closing[self.opening.index(symbol)])
            else:
                pending.pop()
        return self._allowed(pending)

    def _allowed(self, pending: list[str]) -> NextSymbols:
        opening = self.opening if len(pending) < self.depth else ()
        return frozenset((*opening, pending[-1] if pending else END))


ClosedForm: TypeAlias = FlipFlop | BoundedDyck | CounterLanguage
"""A language whose weights can be written down without an automaton."""


def closed_form(language: Language) -> ClosedForm | None:
    """Return the closed form of `language`, found by its machine and not by its name, or None.

    >>> from statespan import language as catalogue
    >>> closed_form(catalogue("anbn")).next_symbols("aab")
    frozenset({'b'})
    """
    return (
        FlipFlop.match(language) or BoundedDyck.match(language) or CounterLanguage.match(language)
    )
