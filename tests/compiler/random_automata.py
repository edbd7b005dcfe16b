"""Random automata of star-free languages."""

from __future__ import annotations

from random import Random

from statespan.algebra import is_aperiodic
from statespan.languages.automaton import DFA, minimize


def random_aperiodic_dfa(num_states: int, num_letters: int, *, rng: Random) -> DFA:
    """Draw a minimal automaton of at most `num_states` states without counters.

    Rejection sampling from letters that are monotone, near the identity, or any map; not uniform.
    """
    alphabet = tuple("abcdefghijklmnopqrstuvwxyz"[:num_letters])
    while True:
        columns = [_draw_letter(num_states, rng) for _ in range(num_letters)]
        accepting = frozenset(q for q in range(num_states) if rng.random() < 0.5)
        rows = tuple(zip(*columns, strict=True))
        dfa = minimize(DFA(alphabet, 0, accepting, rows))
        if dfa.num_states >= num_states - 1 and is_aperiodic(dfa):
            return dfa


def _draw_letter(num_states: int, rng: Random) -> list[int]:
    kind = rng.choice(("monotone", "near", "near", "any"))
    if kind == "monotone":
        return sorted(rng.randrange(num_states) for _ in range(num_states))
    if kind == "any":
        return [rng.randrange(num_states) for _ in range(num_states)]
    images = list(range(num_states))
    for _ in range(rng.randint(1, max(1, num_states // 2))):
        images[rng.randrange(num_states)] = rng.randrange(num_states)
    return images


def random_dfa(num_states: int, num_letters: int, *, rng: Random) -> DFA:
    """Draw a minimal automaton; most have groups."""
    alphabet = tuple("abcdefghijklmnopqrstuvwxyz"[:num_letters])
    columns = []
    for _ in range(num_letters):
        permuted = rng.sample(range(num_states), num_states)
        columns.append(permuted if rng.random() < 0.6 else _draw_letter(num_states, rng))
    accepting = frozenset(q for q in range(num_states) if rng.random() < 0.5)
    return minimize(DFA(alphabet, 0, accepting, tuple(zip(*columns, strict=True))))
