"""Deterministic acceptors, finite or not: the one meaning that every language has.

A machine reads a word symbol by symbol. A state is any hashable value; None is the dead state,
from which no word of the language can be reached any more. `step` returns None exactly then, so
the symbols that may follow a prefix can be read off without any search.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Iterable
from typing import Any, Literal, TypeAlias

from statespan.errors import LimitError
from statespan.languages.symbols import END, Alphabet, NextSymbols

__all__ = ["Machine", "Memory", "State", "shortest_difference"]

State = Hashable
"""A state of a machine; None is dead."""


Memory: TypeAlias = Literal["finite", "bounded-stack", "counters", "stack", "unbounded"]


class Machine(ABC):
    """A deterministic acceptor.

    `memory` says what a state is: one of finitely many; a stack of bounded depth (finitely many
    too); "counters", a fixed number of integers to which each symbol adds constants, and of which
    only the signs matter; a stack without bound; or "unbounded", anything else.
    """

    alphabet: Alphabet
    memory: Memory

    @property
    def is_finite(self) -> bool:
        """Whether there are finitely many states."""
        return self.memory in {"finite", "bounded-stack"}

    @property
    @abstractmethod
    def start(self) -> State:
        """The state before the first symbol; None if the language is empty."""

    @abstractmethod
    def step(self, state: Any, symbol: str) -> State:
        """Return the state after `symbol`, or None if no word can follow. `state` is not None."""

    @abstractmethod
    def is_accepting(self, state: Any) -> bool:
        """Return whether what was read is a word. `state` is not None."""

    def allowed(self, state: Any) -> NextSymbols:
        """Return the symbols that can follow, with END if what was read is a word."""
        symbols: Iterable[str] = (s for s in self.alphabet if self.step(state, s) is not None)
        end = (END,) if self.is_accepting(state) else ()
        return frozenset((*symbols, *end))

    def run(self, symbols: Iterable[str]) -> State:
        """Return the state after `symbols`, all of the alphabet; None if no word starts so."""
        state = self.start
        for symbol in symbols:
            if state is None:
                return None
            state = self.step(state, symbol)
        return state

    def accepts(self, symbols: Iterable[str]) -> bool:
        """Return whether `symbols`, all of the alphabet, are a word."""
        state = self.run(symbols)
        return state is not None and self.is_accepting(state)

    def counting_class(self, state: Any) -> Hashable:
        """Return a value that is equal for states with equally many continuations of each length.

        Two such states must also agree, symbol by symbol up to a renaming, on the classes they
        step to. The finer the slower, never wrong: the state itself will do.
        """
        return state  # type: ignore[no-any-return]


def shortest_difference(
    left: Machine, right: Machine, *, inclusion: bool = False, limit: int = 2_000_000
) -> tuple[str, ...] | None:
    """Return the shortest word on which two machines differ, the first in alphabet order.

    With `inclusion`, only words of `left` that are not words of `right` count. None means that
    there is no such word. A symbol that one machine does not know kills it. Both machines must
    be finite for the search to end; it takes at most the product of their sizes.

    Raises:
        LimitError: more than `limit` pairs of states were met.
    """
    symbols = left.alphabet + tuple(s for s in right.alphabet if s not in left.alphabet)
    known = (frozenset(left.alphabet), frozenset(right.alphabet))
    start = (left.start, right.start)
    seen: dict[tuple[State, State], tuple[tuple[State, State], str] | None] = {start: None}
    queue = deque([start])
    while queue:
        pair = queue.popleft()
        in_left = pair[0] is not None and left.is_accepting(pair[0])
        in_right = pair[1] is not None and right.is_accepting(pair[1])
        if (in_left and not in_right) or (in_right and not in_left and not inclusion):
            return _path(seen, pair)
        for symbol in symbols:
            following = (
                left.step(pair[0], symbol) if pair[0] is not None and symbol in known[0] else None,
                right.step(pair[1], symbol) if pair[1] is not None and symbol in known[1] else None,
            )
            hopeless = following[0] is None and (inclusion or following[1] is None)
            if hopeless or following in seen:
                continue
            if len(seen) >= limit:
                raise LimitError(f"the comparison met more than {limit:,} pairs of states.")
            seen[following] = (pair, symbol)
            queue.append(following)
    return None


def _path(
    seen: dict[tuple[State, State], tuple[tuple[State, State], str] | None],
    pair: tuple[State, State],
) -> tuple[str, ...]:
    word: list[str] = []
    while (entry := seen[pair]) is not None:
        pair, symbol = entry
        word.append(symbol)
    return tuple(reversed(word))
