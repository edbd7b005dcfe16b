"""Counting the words of each length, and drawing one of them uniformly.

For a deterministic machine the number of words that can follow a state with exactly n more symbols
is a sum over the symbols, so a table over (state, n) counts exactly (in ints of any size), and a
walk along the table draws a word with equal chances. States that a machine puts in one counting
class share their numbers; that keeps bounded Dyck languages with 10^9 states countable.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Iterator
from random import Random
from typing import final

from statespan.languages.machine import Machine, State
from statespan.languages.symbols import Word, to_word

__all__ = ["MachineCounter", "WordCounter"]


class WordCounter(ABC):
    """What counts the words of a length and draws one of them uniformly."""

    @abstractmethod
    def count(self, length: int) -> int:
        """Return the number of words of that length."""

    @abstractmethod
    def draw(self, length: int, rng: Random) -> Word:
        """Return one of the words of that length, each as likely; there must be one."""


@final
class MachineCounter(WordCounter):
    """Counts by the table over (counting class, remaining length), filled as it is needed.

    Counting length n costs the number of classes within reach, times n, times the alphabet.
    """

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._counts: dict[tuple[Hashable, int], int] = {}
        self._members: dict[Hashable, State] = {}
        self._steps: dict[Hashable, Counter[Hashable]] = {}
        self._layers: list[list[Hashable]] = []
        self._counted: set[int] = set()

    def count(self, length: int) -> int:
        """Return the number of words of that length."""
        start = self._machine.start
        if start is None:
            return 0
        self._fill(length)
        return self._counts[self._machine.counting_class(start), length]

    def draw(self, length: int, rng: Random) -> Word:
        """Return one of the words of that length, each as likely; there must be one."""
        machine = self._machine
        total = self.count(length)
        state = machine.start
        word: list[str] = []
        for remaining in range(length - 1, -1, -1):
            target = rng.randrange(total)
            for symbol in machine.alphabet:
                following = machine.step(state, symbol)
                if following is None:
                    continue
                total = self._counts[machine.counting_class(following), remaining]
                if target < total:
                    break
                target -= total
            state = following
            word.append(symbol)
        return to_word(word, machine.alphabet)

    def words(self, length: int) -> Iterator[Word]:
        """Yield the words of that length in alphabet order; no prefix is tried in vain."""
        machine = self._machine
        if self.count(length) == 0:
            return
        pending: list[tuple[tuple[str, ...], State]] = [((), machine.start)]
        while pending:
            word, state = pending.pop()
            remaining = length - len(word) - 1
            if remaining < 0:
                yield to_word(word, machine.alphabet)
                continue
            for symbol in reversed(machine.alphabet):
                following = machine.step(state, symbol)
                if following is not None:
                    key = (machine.counting_class(following), remaining)
                    if self._counts[key]:
                        pending.append(((*word, symbol), following))

    def _fill(self, length: int) -> None:
        if length in self._counted:
            return
        self._extend_layers(length)
        for remaining in range(length + 1):
            for key in self._layers[length - remaining]:
                if (key, remaining) not in self._counts:
                    self._counts[key, remaining] = self._sum(key, remaining)
        self._counted.add(length)

    def _sum(self, key: Hashable, remaining: int) -> int:
        if remaining == 0:
            return int(self._machine.is_accepting(self._members[key]))
        steps = self._steps[key].items()
        return sum(ways * self._counts[following, remaining - 1] for following, ways in steps)

    def _extend_layers(self, length: int) -> None:
        """Find the classes that are exactly t symbols from the start, for t up to `length`."""
        if not self._layers:
            self._layers.append([self._register(self._machine.start)])
        while len(self._layers) <= length:
            following: dict[Hashable, None] = {}
            for key in self._layers[-1]:
                following.update(dict.fromkeys(self._expand(key)))
            self._layers.append(list(following))

    def _register(self, state: State) -> Hashable:
        key = self._machine.counting_class(state)
        self._members.setdefault(key, state)
        return key

    def _expand(self, key: Hashable) -> Counter[Hashable]:
        if key not in self._steps:
            state = self._members[key]
            targets = (self._machine.step(state, symbol) for symbol in self._machine.alphabet)
            self._steps[key] = Counter(self._register(t) for t in targets if t is not None)
        return self._steps[key]
