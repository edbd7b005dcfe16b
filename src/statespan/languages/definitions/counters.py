"""a^n b^n, a^n b^n c^n and a^n b^n c^n d^n, for n ≥ 0."""

from __future__ import annotations

from random import Random
from typing import Any, cast, final

from statespan.languages.catalogue import LANGUAGES
from statespan.languages.counting import WordCounter
from statespan.languages.formal_language import Language
from statespan.languages.machine import Machine, Memory, State
from statespan.languages.symbols import END, NextSymbols

__all__: list[str] = []


@final
class EqualRunsMachine(Machine):
    """A state is (which run, its length so far, the length of the first run)."""

    memory: Memory = "counters"

    def __init__(self, alphabet: str) -> None:
        self.alphabet = tuple(alphabet)
        self._runs = {symbol: run for run, symbol in enumerate(alphabet)}
        self._follows: list[NextSymbols] = [frozenset((symbol,)) for symbol in alphabet[1:]]
        self._stays: list[NextSymbols] = [frozenset((symbol,)) for symbol in alphabet]
        self._empty: NextSymbols = frozenset((alphabet[0], END))
        self._first: NextSymbols = frozenset(alphabet[:2])

    @property
    def start(self) -> State:
        return (0, 0, 0)

    def step(self, state: Any, symbol: str) -> State:
        run, done, size = state
        symbol_run = self._runs[symbol]
        if symbol_run == 0:
            return (0, done + 1, size + 1) if run == 0 else None
        if symbol_run == run:
            return (run, done + 1, size) if done < size else None
        ready = symbol_run == run + 1 and done == size > 0
        return (symbol_run, 1, size) if ready else None

    def is_accepting(self, state: Any) -> bool:
        run, done, size = state
        return bool(size == 0 or (run == len(self.alphabet) - 1 and done == size))

    def allowed(self, state: Any) -> NextSymbols:
        run, done, size = cast("tuple[int, int, int]", state)
        if size == 0:
            return self._empty
        if run == 0:
            return self._first
        if done < size:
            return self._stays[run]
        return frozenset((END,)) if run == len(self.alphabet) - 1 else self._follows[run]


@final
class EqualRunsCounter(WordCounter):
    """There is one word for each n, of length n times the number of symbols."""

    def __init__(self, alphabet: str) -> None:
        self._alphabet = alphabet

    def count(self, length: int) -> int:
        """Return the number of words of that length."""
        return int(length % len(self._alphabet) == 0)

    def draw(self, length: int, rng: Random) -> str:
        """Return the word of that length; there must be one."""
        del rng
        return "".join(symbol * (length // len(self._alphabet)) for symbol in self._alphabet)


def _equal_runs(alphabet: str) -> Language:
    counter = EqualRunsCounter(alphabet)

    def draw(shortest: int, longest: int, rng: Random) -> str:
        first = -(-shortest // len(alphabet))
        last = longest // len(alphabet)
        n = rng.randint(first, last) if first <= last else 0
        return counter.draw(n * len(alphabet), rng)

    return Language.from_machine(
        "equal runs", EqualRunsMachine(alphabet), counter=counter, published=draw
    )


@LANGUAGES.register("anbn")
def anbn() -> Language:
    """a^n b^n for n ≥ 0."""
    return _equal_runs("ab")


@LANGUAGES.register("anbncn")
def anbncn() -> Language:
    """a^n b^n c^n for n ≥ 0."""
    return _equal_runs("abc")


@LANGUAGES.register("anbncndn")
def anbncndn() -> Language:
    """a^n b^n c^n d^n for n ≥ 0."""
    return _equal_runs("abcd")
