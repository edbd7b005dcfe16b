"""Brackets of unbounded depth: Dyck-1, and shuffles of several Dyck-1 languages."""

from __future__ import annotations

from functools import cache
from math import comb
from random import Random
from typing import Any, final

from statespan.languages.catalogue import LANGUAGES
from statespan.languages.counting import MachineCounter, WordCounter
from statespan.languages.formal_language import Language, PublishedSampler
from statespan.languages.machine import Machine, Memory, State
from statespan.languages.symbols import END, NextSymbols

__all__: list[str] = []

BRACKETS = "()[]{}<>+-ab"


@final
class ShuffleMachine(Machine):
    """One counter a bracket type; a state is the tuple of depths."""

    memory: Memory = "counters"

    def __init__(self, num_types: int) -> None:
        self.alphabet = tuple(BRACKETS[: 2 * num_types])
        self._changes = {s: (i // 2, 1 - 2 * (i % 2)) for i, s in enumerate(self.alphabet)}
        self._allowed = cache(self._allowed_after)

    @property
    def start(self) -> State:
        return (0,) * (len(self.alphabet) // 2)

    def step(self, state: Any, symbol: str) -> State:
        kind, change = self._changes[symbol]
        depth = state[kind] + change
        return None if depth < 0 else (*state[:kind], depth, *state[kind + 1 :])

    def is_accepting(self, state: Any) -> bool:
        return not any(state)

    def allowed(self, state: Any) -> NextSymbols:
        return self._allowed(tuple(map(bool, state)))

    def _allowed_after(self, is_open: tuple[bool, ...]) -> NextSymbols:
        closing = (s for s, opened in zip(self.alphabet[1::2], is_open, strict=True) if opened)
        end = () if any(is_open) else (END,)
        return frozenset((*self.alphabet[::2], *closing, *end))


@final
class ShuffleCounter(WordCounter):
    """Counts words of a shuffle through the lengths of its parts, since it has too many states.

    A word of length 2n is a choice of sizes n_1 + … + n_k = n, of places for each type, and of a
    Dyck-1 word for each: (2n)! / ∏ (2 n_i)! · ∏ Catalan(n_i) words a choice.
    """

    def __init__(self, num_types: int) -> None:
        self._num_types = num_types
        self._dyck = MachineCounter(ShuffleMachine(1))
        self._ways = cache(self._count_ways)

    def count(self, length: int) -> int:
        """Return the number of words of that length."""
        return 0 if length % 2 else self._ways(self._num_types, length // 2)

    def draw(self, length: int, rng: Random) -> str:
        """Return one of the words of that length, each as likely; there must be one."""
        free = list(range(length))
        word = [""] * length
        rest = length // 2
        for num_types in range(self._num_types, 0, -1):
            target = rng.randrange(self._ways(num_types, rest))
            size = 0
            while target >= (ways := self._ways_with(num_types, rest, size)):
                target -= ways
                size += 1
            chosen = sorted(rng.sample(free, 2 * size))
            kind = self._num_types - num_types
            for position, symbol in zip(chosen, self._dyck.draw(2 * size, rng), strict=True):
                word[position] = BRACKETS[2 * kind + (symbol == ")")]
            free = sorted(set(free) - set(chosen))
            rest -= size
        return "".join(word)

    def _count_ways(self, num_types: int, pairs: int) -> int:
        if num_types == 0:
            return int(pairs == 0)
        return sum(self._ways_with(num_types, pairs, size) for size in range(pairs + 1))

    def _ways_with(self, num_types: int, pairs: int, size: int) -> int:
        catalan = comb(2 * size, size) // (size + 1)
        places = comb(2 * pairs, 2 * size)
        return places * catalan * self._ways(num_types - 1, pairs - size)


def draw_nested(num_types: int) -> PublishedSampler:
    """S → (_i S )_i with chance ½ (i uniform), S S with ¼, ε with ¼; given up when too long."""

    def draw(shortest: int, longest: int, rng: Random) -> str:
        del shortest
        word: list[str] = []
        pending = ["S"]
        while pending and len(word) <= longest and len(pending) <= 2 * longest + 2:
            symbol = pending.pop()
            if symbol != "S":
                word.append(symbol)
                continue
            chance = rng.random()
            if chance < 0.5:
                kind = 2 * rng.randrange(num_types)
                pending += [BRACKETS[kind + 1], "S", BRACKETS[kind]]
            elif chance < 0.75:
                pending += ["S", "S"]
        return "" if pending else "".join(word)

    return draw


def _shuffle(num_types: int) -> Language:
    machine = ShuffleMachine(num_types)
    counter: WordCounter = ShuffleCounter(num_types)
    return Language.from_machine(
        "shuffle", machine, counter=counter, published=draw_nested(num_types)
    )


@LANGUAGES.register("dyck-1")
def dyck_1() -> Language:
    """Brackets ( and ) in balance, any depth."""
    return _shuffle(1)


@LANGUAGES.register("shuffle-2")
def shuffle_2() -> Language:
    """Two types of brackets, each in balance, interleaved freely."""
    return _shuffle(2)


@LANGUAGES.register("shuffle-4")
def shuffle_4() -> Language:
    """Four types of brackets, each in balance, interleaved freely."""
    return _shuffle(4)


@LANGUAGES.register("shuffle-6")
def shuffle_6() -> Language:
    """Six types of brackets, each in balance, interleaved freely."""
    return _shuffle(6)
