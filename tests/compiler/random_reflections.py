"""Random automata that are cascades of resets and of things that symbols swap."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from itertools import combinations, permutations, product
from random import Random

from statespan.languages.automaton import DFA, determinize, minimize


@dataclass(frozen=True)
class Memory:
    """Values, and what symbols may do to them; the first value is that of the start."""

    values: tuple[Hashable, ...]
    actions: tuple[dict[Hashable, Hashable], ...]


def random_reflecting_dfa(num_memories: int, *, rng: Random, coarse: bool = False) -> DFA:
    """Draw a minimal automaton of memories in a row, each a reset, or a group S_2, S_3 or S_4.

    What a symbol does to a memory depends on those before it, and the answer on all of them. With
    `coarse`, the answer looks at two classes of values of each only.
    """
    num_letters = rng.randint(2, 3)
    memories = [random_memory(rng) for _ in range(num_memories)]
    classes = [{v: rng.randrange(3) for v in memory.values} for memory in memories]
    rules = []
    for number, memory in enumerate(memories):
        reads = [other for other in range(number) if rng.random() < 0.7]
        keys = product(range(num_letters), *[range(3)] * len(reads))
        rules.append((reads, {key: rng.choice(memory.actions) for key in keys}))
    shown = [{v: rng.randrange(2 if coarse else 9) for v in m.values} for m in memories]
    chance = rng.choice([0.1, 0.3, 0.5])
    answers: dict[Hashable, bool] = {}

    def step(state: tuple[Hashable, ...], letter: int) -> tuple[Hashable, ...]:
        return tuple(
            table[letter, *(classes[other][state[other]] for other in reads)][state[number]]
            for number, (reads, table) in enumerate(rules)
        )

    def accepts(state: tuple[Hashable, ...]) -> bool:
        key = tuple(own[value] for own, value in zip(shown, state, strict=True))
        return answers.setdefault(key, rng.random() < chance)

    start = tuple(memory.values[0] for memory in memories)
    return minimize(determinize(tuple("abc"[:num_letters]), start, step, accepts))


def random_memory(rng: Random) -> Memory:
    """Draw a reset memory, a place of few that symbols swap, or an element of S_3 or S_4."""
    kind = rng.choice(("reset", "place", "place", "element"))
    if kind == "element":
        size = 3 if rng.random() < 0.8 else 4
        values: list[Hashable] = list(permutations(range(size)))
        moves = [
            {
                value: tuple(_swapped(place, pair) for place in value)
                for value in permutations(range(size))
            }
            for pair in combinations(range(size), 2)
        ]
    else:
        size = rng.choice((2, 3, 3, 4))
        values = list(range(size))
        moves = [
            {value: _swapped(value, pair) for value in range(size)}
            for pair in combinations(range(size), 2)
        ]
    actions: list[dict[Hashable, Hashable]] = [{value: value for value in values}]
    if kind != "reset":
        actions += [dict(move) for move in moves]
    if kind == "reset" or rng.random() < 0.5:
        written = values if kind == "reset" else rng.sample(values, rng.randint(1, 2))
        actions += [dict.fromkeys(values, one) for one in written]
    return Memory(tuple(values), tuple(actions))


def _swapped(value: int, pair: tuple[int, int]) -> int:
    return sum(pair) - value if value in pair else value
