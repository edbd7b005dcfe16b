"""Languages of counters that are only compared with zero, as data: exact, without weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from statespan.errors import InputError
from statespan.languages import END, Alphabet, End, Language, NextSymbols, Word
from statespan.languages.definitions.boolean import BooleanMachine
from statespan.languages.definitions.counters import EqualRunsMachine
from statespan.languages.definitions.dyck import ShuffleMachine
from statespan.languages.symbols import check_alphabet, check_word

__all__ = [
    "Condition",
    "Counter",
    "CounterLanguage",
    "boolean",
    "equal_runs",
    "shuffle",
]


@final
@dataclass(frozen=True, slots=True)
class Counter:
    """An integer: what it is at the start, and what each symbol of the alphabet adds to it."""

    initial: int
    changes: tuple[int, ...]


@final
@dataclass(frozen=True, slots=True)
class Condition:
    """Holds if all the quantities `zero` are 0, and `positive`, if there is one, is at least 1."""

    zero: tuple[int, ...] = ()
    positive: int | None = None

    def holds(self, quantities: tuple[int, ...]) -> bool:
        """Return whether it holds at these quantities."""
        is_zero = all(quantities[number] == 0 for number in self.zero)
        return is_zero and (self.positive is None or quantities[self.positive] >= 1)


@final
@dataclass(frozen=True)
class CounterLanguage:
    """What may follow depends on which of some counters are zero.

    The *quantities* are the counters, then the latches: a latch is 0 until one of its symbols is
    read, then 1. A symbol may be read, and the word may end, when the quantities before meet its
    condition: `conditions[i]` for the symbol number i, the last for the end. A symbol read
    against its condition ends all hope.

    A counter never falls below zero while there is hope: a symbol takes away at most 1, and only
    from the counter that its condition wants positive. Nor does a condition ask about a latch
    that the symbol itself sets. So all can be checked after the symbol as well as before it.
    """

    alphabet: Alphabet
    counters: tuple[Counter, ...]
    latches: tuple[frozenset[int], ...]
    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        size = len(check_alphabet(self.alphabet))
        if len(self.conditions) != size + 1:
            raise InputError(
                f"there must be a condition a symbol and one for the end ({size + 1}), "
                f"got {len(self.conditions)}."
            )
        for counter in self.counters:
            if len(counter.changes) != size or counter.initial < 0:
                raise InputError(
                    f"a counter starts at 0 or more and has a change a symbol ({size}), "
                    f"got {counter}."
                )
        for condition in self.conditions:
            for number in self._asked(condition):
                if not 0 <= number < self.num_quantities:
                    raise InputError(
                        f"a condition asks about quantities 0 to {self.num_quantities - 1}, "
                        f"got {number}."
                    )
        for index, symbol in enumerate(self.alphabet):
            self._check_symbol(index, symbol)

    @property
    def num_quantities(self) -> int:
        """The number of counters and latches."""
        return len(self.counters) + len(self.latches)

    @property
    def start(self) -> tuple[int, ...]:
        """The quantities before the first symbol."""
        return (*(counter.initial for counter in self.counters), *(0 for _ in self.latches))

    @classmethod
    def match(cls, language: Language) -> CounterLanguage | None:
        """Return the closed form of `language`; None if its memory is not counters known here."""
        machine = language.machine
        if isinstance(machine, ShuffleMachine):
            return shuffle(machine.alphabet)
        if isinstance(machine, BooleanMachine):
            return boolean(machine.alphabet)
        if isinstance(machine, EqualRunsMachine) and len(machine.alphabet) > 1:
            return equal_runs(machine.alphabet)
        return None

    def step(self, quantities: tuple[int, ...], symbol: int) -> tuple[int, ...] | None:
        """Return the quantities after the symbol of that number; None if it may not be read."""
        if not self.conditions[symbol].holds(quantities):
            return None
        return tuple(self._after(quantities, symbol))

    def allowed(self, quantities: tuple[int, ...]) -> NextSymbols:
        """Return the symbols that may be read at these quantities, END if the word may end."""
        answers: tuple[str | End, ...] = (*self.alphabet, END)
        pairs = zip(answers, self.conditions, strict=True)
        return frozenset(answer for answer, condition in pairs if condition.holds(quantities))

    def next_symbols(self, prefix: Word) -> NextSymbols:
        """Return the symbols that may follow `prefix`, END if it is a word; none if it is wrong."""
        check_word(prefix, self.alphabet)
        quantities = self.start
        for symbol in prefix:
            following = self.step(quantities, self.alphabet.index(symbol))
            if following is None:
                return frozenset()
            quantities = following
        return self.allowed(quantities)

    def _after(self, quantities: tuple[int, ...], symbol: int) -> Iterator[int]:
        for counter, count in zip(self.counters, quantities, strict=False):
            yield count + counter.changes[symbol]
        for latch, was_set in zip(self.latches, quantities[len(self.counters) :], strict=True):
            yield 1 if symbol in latch else was_set

    def _asked(self, condition: Condition) -> tuple[int, ...]:
        positive = condition.positive
        return condition.zero if positive is None else (*condition.zero, positive)

    def _check_symbol(self, index: int, symbol: str) -> None:
        condition = self.conditions[index]
        for number, counter in enumerate(self.counters):
            change = counter.changes[index]
            if change < -1 or (change == -1 and condition.positive != number):
                raise InputError(
                    f"{symbol!r} may take 1 from the counter that must be positive before it, and "
                    f"nothing from others; it adds {change} to counter {number}."
                )
        for number, latch in enumerate(self.latches, start=len(self.counters)):
            if index in latch and number in self._asked(condition):
                raise InputError(f"{symbol!r} asks about the latch {number} that it sets.")


def shuffle(alphabet: Alphabet) -> CounterLanguage:
    """Return the shuffle of Dyck-1 languages, over ( ) [ ] …: an opening, then its closing one.

    With one type of brackets, this is Dyck-1.

    Raises:
        InputError: the number of symbols is odd.
    """
    if len(alphabet) % 2:
        raise InputError(f"brackets come in pairs, got {len(alphabet)} symbols.")
    num_types = len(alphabet) // 2
    counters = []
    conditions: list[Condition] = []
    for kind in range(num_types):
        changes = [0] * len(alphabet)
        changes[2 * kind : 2 * kind + 2] = (1, -1)
        counters.append(Counter(0, tuple(changes)))
        conditions += [Condition(), Condition(positive=kind)]
    conditions.append(Condition(zero=tuple(range(num_types))))
    return CounterLanguage(alphabet, tuple(counters), (), tuple(conditions))


def boolean(alphabet: Alphabet) -> CounterLanguage:
    """Return the expressions in prefix notation over two operands, then operators of 1, 2, ….

    The counter is the number of operands that are still missing.
    """
    missing = Counter(1, (-1, -1, *range(len(alphabet) - 2)))
    conditions = [Condition(positive=0)] * len(alphabet)
    return CounterLanguage(alphabet, (missing,), (), (*conditions, Condition(zero=(0,))))


def equal_runs(alphabet: Alphabet) -> CounterLanguage:
    """Return a^n b^n c^n … for n ≥ 0, over at least two symbols.

    The counter number j is how many more there were of the symbol j than of the next. The latch
    is set by the second symbol: then the first has come to its end. No later symbol needs one,
    since each asks that all runs before its neighbor be as long as each other.

    Raises:
        InputError: there are fewer than two symbols.
    """
    size = len(alphabet)
    if size < 2:
        raise InputError(f"equal runs need at least two symbols, got {size}.")
    counters = []
    for run in range(size - 1):
        changes = [0] * size
        changes[run : run + 2] = (1, -1)
        counters.append(Counter(0, tuple(changes)))
    second_was_read = size - 1
    first = Condition(zero=(second_was_read,))
    middle = [Condition(zero=(j - 2,) if j > 1 else (), positive=j - 1) for j in range(1, size)]
    end = Condition(zero=tuple(range(size - 1)))
    latches = (frozenset({1}),)
    return CounterLanguage(alphabet, tuple(counters), latches, (first, *middle, end))
