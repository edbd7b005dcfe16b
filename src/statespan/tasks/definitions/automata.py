"""Learning the language of a random automaton in context (Akyürek et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random
from string import ascii_lowercase
from typing import TypeAlias

from statespan.errors import InputError
from statespan.tasks.catalogue import TASKS
from statespan.tasks.task import Answer, Sample, SymbolTask, at_least

__all__: list[str] = []

SEPARATOR = "|"

Automaton: TypeAlias = list[dict[str, int]]
"""Of each state, the symbols that may follow and where they lead; 0 is the start."""


@TASKS.register("automata")
def automata(*, states: int = 4, symbols: int = 6, edges: int = 3, longest: int = 8) -> SymbolTask:
    """Strings of a random automaton, another one a sample; an answer is a symbol that may follow.

    A state has 1 to `edges` symbols that may follow, each leads to any state, and each of them is
    drawn as likely. Strings are 1 to `longest` symbols long, with | between. It is asked where
    the string so far began an earlier string, too, that went on: from there the answer is known.
    """
    at_least(1, states=states, edges=edges, longest=longest)
    if not 2 <= symbols <= len(ascii_lowercase) or edges > symbols:
        raise InputError(
            f"symbols must be from 2 to {len(ascii_lowercase)} and at least edges, got "
            f"symbols={symbols} and edges={edges}."
        )
    letters = tuple(ascii_lowercase[:symbols])

    def draw(length: int, rng: Random) -> Sample:
        automaton = _draw_automaton(states, letters, edges, rng)
        inputs: list[str] = []
        while len(inputs) <= length:
            inputs += [*_draw_string(automaton, rng.randint(1, longest), rng), SEPARATOR]
        return Sample(tuple(inputs[:length]), tuple(_answers(automaton, inputs, length)))

    return SymbolTask(
        source="Akyürek et al. 2024, arXiv:2401.12973",
        bins=[(40, 80), (81, 120), (121, 160)],
        draw=draw,
        has_length=lambda length: length > longest,
        alphabet=(*letters, SEPARATOR),
        answers=letters,
    )


def _draw_automaton(states: int, letters: Sequence[str], edges: int, rng: Random) -> Automaton:
    return [
        {symbol: rng.randrange(states) for symbol in rng.sample(letters, rng.randint(1, edges))}
        for _ in range(states)
    ]


def _draw_string(automaton: Automaton, length: int, rng: Random) -> Iterator[str]:
    state = 0
    for _ in range(length):
        symbol = rng.choice(list(automaton[state]))
        yield symbol
        state = automaton[state][symbol]


def _answers(automaton: Automaton, inputs: Sequence[str], length: int) -> Iterator[Answer]:
    """Yield the answers of the first `length` inputs; one more tells what the last goes on with."""
    began: set[tuple[str, ...]] = set()
    prefix: tuple[str, ...] = ()
    state = 0
    for symbol, following in pairwise(inputs[: length + 1]):
        went_on = symbol != SEPARATOR
        prefix = (*prefix, symbol) if went_on else ()
        state = automaton[state][symbol] if went_on else 0
        began.update([prefix[:-1]] if went_on else [])
        ends = following == SEPARATOR
        yield frozenset(automaton[state]) if prefix in began and not ends else None
