"""Dyck-2: two types of brackets nested without bound, which takes a stack."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final, final

from statespan.languages.catalogue import LANGUAGES
from statespan.languages.definitions.dyck import BRACKETS, draw_nested
from statespan.languages.formal_language import Language
from statespan.languages.machine import Machine, Memory, State
from statespan.languages.symbols import END, NextSymbols

__all__: list[str] = []

CLOSING: Final = dict(zip(BRACKETS[:4:2], BRACKETS[1:4:2], strict=True))


@final
class StackMachine(Machine):
    """A state is the stack of open brackets: (innermost, the stack below, depth), or ()."""

    memory: Memory = "stack"
    alphabet = tuple(BRACKETS[:4])

    @property
    def start(self) -> State:
        return ()

    def step(self, state: Any, symbol: str) -> State:
        if symbol in CLOSING:
            return (symbol, state, state[2] + 1 if state else 1)
        matches = state and CLOSING[state[0]] == symbol
        return state[1] if matches else None

    def is_accepting(self, state: Any) -> bool:
        return bool(state == ())

    def allowed(self, state: Any) -> NextSymbols:
        return frozenset((*CLOSING, CLOSING[state[0]] if state else END))

    def counting_class(self, state: Any) -> Hashable:
        return state[2] if state else 0


@LANGUAGES.register("dyck-2")
def dyck_2() -> Language:
    """Brackets ( ) and [ ] in balance, nested, any depth."""
    return Language.from_machine("dyck-2", StackMachine(), published=draw_nested(2))
