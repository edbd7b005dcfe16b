"""n-ary Boolean expressions in prefix notation: one counter of the operands still to come."""

from __future__ import annotations

from random import Random
from typing import Any, final

from statespan.languages.catalogue import LANGUAGES
from statespan.languages.formal_language import Language, PublishedSampler
from statespan.languages.machine import Machine, Memory, State
from statespan.languages.symbols import END, NextSymbols

__all__: list[str] = []

OPERATORS = "~+>*^"


@final
class BooleanMachine(Machine):
    """A state is the number of operands that are still missing; it starts at 1."""

    memory: Memory = "counters"

    def __init__(self, max_arity: int) -> None:
        self.alphabet = ("0", "1", *OPERATORS[:max_arity])
        self._changes = {"0": -1, "1": -1}
        self._changes.update((symbol, arity) for arity, symbol in enumerate(self.alphabet[2:]))
        self._allowed = (frozenset((END,)), frozenset(self.alphabet))

    @property
    def start(self) -> State:
        return 1

    def step(self, state: Any, symbol: str) -> State:
        return state + self._changes[symbol] if state else None

    def is_accepting(self, state: Any) -> bool:
        return bool(state == 0)

    def allowed(self, state: Any) -> NextSymbols:
        return self._allowed[state > 0]


def _draw_expression(max_arity: int, operator_chance: float) -> PublishedSampler:
    def draw(shortest: int, longest: int, rng: Random) -> str:
        del shortest
        word = ""
        missing = 1
        while missing and len(word) + missing <= longest:
            if rng.random() < operator_chance:
                arity = rng.randint(1, max_arity)
                word += OPERATORS[arity - 1]
                missing += arity - 1
            else:
                word += rng.choice("01")
                missing -= 1
        return "" if missing else word

    return draw


def _boolean(max_arity: int, operator_chance: float) -> Language:
    machine = BooleanMachine(max_arity)
    published = _draw_expression(max_arity, operator_chance)
    return Language.from_machine("boolean", machine, published=published)


@LANGUAGES.register("boolean-3")
def boolean_3() -> Language:
    """Prefix expressions over 0, 1 and operators ~ + > with 1, 2 and 3 operands."""
    return _boolean(3, 0.5)


@LANGUAGES.register("boolean-5")
def boolean_5() -> Language:
    """Prefix expressions over 0, 1 and operators ~ + > * ^ with 1 to 5 operands."""
    return _boolean(5, 0.3)
