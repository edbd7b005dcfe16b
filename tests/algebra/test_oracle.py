"""The monoid and its classes against libsemigroups, an independent C++ library."""

from __future__ import annotations

import random
from typing import Any

import pytest

from statespan import language
from statespan.algebra import green_classes, transition_monoid
from statespan.languages.automaton import DFA

libsemigroups: Any = pytest.importorskip(
    "libsemigroups_pybind11", reason="the oracle libsemigroups_pybind11 is not installed"
)


def random_dfa(num_states: int, num_letters: int, seed: int) -> DFA:
    rng = random.Random(seed)
    rows = tuple(
        tuple(rng.randrange(num_states) for _ in range(num_letters)) for _ in range(num_states)
    )
    return DFA(tuple("abc"[:num_letters]), 0, frozenset({0}), rows)


def check(dfa: DFA) -> None:
    identity = list(range(dfa.num_states))
    maps = [libsemigroups.Transf(identity)]
    maps += [libsemigroups.Transf(list(column)) for column in zip(*dfa.transitions, strict=True)]
    monoid = transition_monoid(dfa)
    semigroup = libsemigroups.FroidurePin(maps)
    assert len(monoid) == semigroup.size()
    assert len(monoid.idempotents) == semigroup.number_of_idempotents()
    by_classes = libsemigroups.Konieczny(maps)
    green = green_classes(monoid)
    assert len(monoid) == by_classes.size()
    assert green.num_j_classes == by_classes.number_of_D_classes()
    assert green.num_r_classes == by_classes.number_of_R_classes()
    assert green.num_l_classes == by_classes.number_of_L_classes()
    assert green.num_h_classes == by_classes.number_of_H_classes()
    regular = sum(box.is_regular for box in green.egg_boxes)
    assert regular == by_classes.number_of_regular_D_classes()


@pytest.mark.parametrize("name", ["tomita-3", "tomita-4", "d-4", "d-12", "abab-star", "flip-flop"])
def test_the_catalogue_agrees_with_libsemigroups(name: str) -> None:
    check(language(name).dfa())


@pytest.mark.parametrize("seed", range(30))
def test_random_automata_agree_with_libsemigroups(seed: int) -> None:
    check(random_dfa(2 + seed % 6, 2 + seed % 2, seed))
