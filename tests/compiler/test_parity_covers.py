"""A bit beside an automaton changes nothing that the automaton says."""

from __future__ import annotations

from random import Random

import pytest

from statespan.compiler.parity_covers import parity_covers
from statespan.languages import language
from statespan.languages.automaton import DFA, minimize
from tests.compiler.random_automata import random_dfa


@pytest.mark.parametrize("seed", range(20))
def test_a_cover_is_the_automaton_with_a_bit(seed: int) -> None:
    dfa = random_dfa(4, 2, rng=Random(seed))
    covers = list(parity_covers(dfa))
    assert len(covers) == 3
    for cover, origin in covers:
        assert minimize(cover) == dfa
        assert origin[cover.start] == dfa.start
        for state, row in enumerate(cover.transitions):
            assert [origin[target] for target in row] == list(dfa.transitions[origin[state]])


def test_letters_that_turn_are_counted_first() -> None:
    """Here a turns three states and b keeps them; only a cover that counts a makes turns swaps."""
    dfa = DFA(("b", "a"), 0, frozenset([0]), ((0, 1), (1, 2), (2, 0)))
    cover, origin = next(parity_covers(dfa))
    assert cover.num_states == 6
    keeps = [state for state, row in enumerate(cover.transitions) if row[0] == state]
    assert keeps == list(range(6))
    assert sorted(origin) == [0, 0, 1, 1, 2, 2]


def test_large_groups_are_not_covered() -> None:
    assert not list(parity_covers(language("word-problem").dfa()))
