"""Small automata that the tests of the algebra share."""

from __future__ import annotations

import itertools
import random

import pytest

from statespan.languages.automaton import DFA, minimize


def all_minimal(num_states: int) -> set[DFA]:
    """Return every minimal automaton over {a, b} with at most `num_states` states."""
    found: set[DFA] = set()
    states = range(num_states)
    subsets = [
        frozenset(chosen)
        for size in range(num_states + 1)
        for chosen in itertools.combinations(states, size)
    ]
    for rows in itertools.product(itertools.product(states, repeat=2), repeat=num_states):
        found.update(minimize(DFA(("a", "b"), 0, accepting, rows)) for accepting in subsets)
    return found


@pytest.fixture(scope="session")
def three_state_dfas() -> list[DFA]:
    """Every minimal automaton over {a, b} with at most 3 states, in a fixed order."""
    return sorted(all_minimal(3), key=lambda dfa: (dfa.transitions, sorted(dfa.accepting)))


@pytest.fixture(scope="session")
def some_dfas(three_state_dfas: list[DFA]) -> list[DFA]:
    """Every minimal automaton with at most 2 states, and 120 with 3."""
    larger = [dfa for dfa in three_state_dfas if dfa.num_states == 3]
    smaller = [dfa for dfa in three_state_dfas if dfa.num_states < 3]
    return smaller + random.Random(0).sample(larger, 120)
