"""The stack of a bounded context-free grammar (Shi et al. 2021, arXiv:2112.09174)."""

from __future__ import annotations

from itertools import accumulate, product
from random import Random
from typing import Any

from statespan.errors import InputError, suggest
from statespan.languages import Language
from statespan.languages.bounded_grammars import BoundedPushdown, matched_runs, palindromes
from statespan.tasks.catalogue import TASKS
from statespan.tasks.task import Sample, SymbolTask

__all__: list[str] = []

EMPTY = "-"
MAX_STACKS = 1_000


@TASKS.register("bounded-grammar")
def bounded_grammar(
    *, grammar: str = "palindromes", symbols: int = 2, depth: int = 3
) -> SymbolTask:
    """Words of a bounded grammar, each as likely; after each symbol, the stack is the answer.

    `grammar` is `palindromes` (a string of up to `depth` symbols, #, the string reversed, any
    number of times) or `runs` (aⁿbⁿ, n up to `depth`, any number of times; one symbol). The words
    are those of the languages bounded-palindromes and bounded-anbn.
    """
    machine = _machine(grammar, symbols, depth)
    letters = tuple(machine.closes)
    num_stacks = sum(len(letters) ** size for size in range(depth + 1))
    if num_stacks > MAX_STACKS:
        raise InputError(
            f"depth must leave at most {MAX_STACKS:,} stacks to choose from, got {num_stacks:,} "
            f"with symbols={len(letters)}, depth={depth}."
        )
    stacks = [stack for size in range(depth + 1) for stack in product(letters, repeat=size)]
    answer_of = {stack: frozenset((_show(stack),)) for stack in stacks}
    language = Language.from_machine(grammar, machine)

    def draw(length: int, rng: Random) -> Sample:
        word = tuple(*language.sample(length=length, count=1, rng=rng))
        _, *states = accumulate(word, machine.step, initial=machine.start)
        return Sample(word, tuple(answer_of[_stack(state)] for state in states))

    return SymbolTask(
        source="Shi et al. 2021, arXiv:2112.09174",
        bins=[(2, 30), (31, 60), (61, 120)],
        draw=draw,
        has_length=lambda length: length > 0 and language.count(length) > 0,
        alphabet=machine.alphabet,
        answers=tuple(map(_show, stacks)),
    )


def _machine(grammar: str, symbols: int, depth: int) -> BoundedPushdown:
    if grammar == "palindromes":
        return palindromes(symbols, depth)
    if grammar != "runs":
        raise InputError(
            f"unknown grammar {grammar!r}. {suggest(grammar, ['palindromes', 'runs'])}"
        )
    return matched_runs(depth)


def _stack(state: Any) -> tuple[str, ...]:
    stack: tuple[str, ...] = state[1]
    return stack


def _show(stack: tuple[str, ...]) -> str:
    return "".join(stack) or EMPTY
