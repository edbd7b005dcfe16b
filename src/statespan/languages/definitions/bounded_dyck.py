"""Dyck(K, h): K types of brackets nested at most h deep (Hewitt et al. 2020, Yao et al. 2021)."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from random import Random
from string import ascii_lowercase
from typing import Any, final

from statespan.errors import InputError
from statespan.languages.catalogue import LANGUAGES
from statespan.languages.formal_language import Language, PublishedSampler
from statespan.languages.machine import Machine, Memory, State
from statespan.languages.symbols import END, NextSymbols

__all__: list[str] = []


@final
class BoundedDyckMachine(Machine):
    """A state is the tuple of the types of the open brackets, the innermost last."""

    memory: Memory = "bounded-stack"

    def __init__(self, brackets: int, depth: int) -> None:
        letters = ascii_lowercase if brackets <= len(ascii_lowercase) else ()
        names = letters[:brackets] or [str(i + 1) for i in range(brackets)]
        self.opening = tuple(f"({name}" for name in names)
        self.closing = tuple(f"{name})" for name in names)
        self.alphabet = self.opening + self.closing
        self.depth = depth
        self._kinds = {symbol: index % brackets for index, symbol in enumerate(self.alphabet)}
        self._opens = frozenset(self.opening)
        self._allowed = cache(self._allowed_after)

    @property
    def start(self) -> State:
        return ()

    def step(self, state: Any, symbol: str) -> State:
        kind = self._kinds[symbol]
        if symbol in self._opens:
            return (*state, kind) if len(state) < self.depth else None
        return state[:-1] if state and state[-1] == kind else None

    def is_accepting(self, state: Any) -> bool:
        return not state

    def allowed(self, state: Any) -> NextSymbols:
        return self._allowed(state[-1] if state else None, len(state) < self.depth)

    def counting_class(self, state: Any) -> Hashable:
        return len(state)

    def _allowed_after(self, innermost: int | None, can_open: bool) -> NextSymbols:
        last = END if innermost is None else self.closing[innermost]
        return frozenset((last, *(self.opening if can_open else ())))


def _draw_walk(machine: BoundedDyckMachine) -> PublishedSampler:
    """Open or close with chance ½; at depth 0 end with chance ½ once it is long enough."""

    def draw(shortest: int, longest: int, rng: Random) -> tuple[str, ...]:
        word: list[str] = []
        state: list[int] = []
        while len(word) <= longest:
            if not state and len(word) >= shortest and rng.random() < 0.5:
                break
            if not state or (len(state) < machine.depth and rng.random() < 0.5):
                state.append(rng.randrange(len(machine.opening)))
                word.append(machine.opening[state[-1]])
            else:
                word.append(machine.closing[state.pop()])
        return tuple(word)

    return draw


@LANGUAGES.register("bounded-dyck")
def bounded_dyck(*, brackets: int = 8, depth: int = 10) -> Language:
    """Brackets of several types in balance, at most `depth` deep."""
    if brackets < 1 or depth < 1:
        raise InputError(
            f"brackets and depth must be at least 1, got brackets={brackets}, depth={depth}."
        )
    machine = BoundedDyckMachine(brackets, depth)
    return Language.from_machine("bounded-dyck", machine, published=_draw_walk(machine))
