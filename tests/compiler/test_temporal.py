"""Cascades of temporal formulas: an operator that looks back is a memory."""

from __future__ import annotations

from random import Random

import pytest

from statespan.compiler.cascade import check_cascade
from statespan.compiler.decomposition import decompose
from statespan.compiler.temporal import cascade_from_temporal
from statespan.errors import ExpressionError, SymbolError
from statespan.languages.temporal import dfa_from_temporal

FORMULAS = {
    "a": 1,
    "Y a": 2,
    "Y Y Y a": 4,
    "first": 2,
    "a S b": 1,
    "(a S b) S c": 2,
    "H a": 1,
    "O (a & Y (b S c))": 2,
    "H (b -> Y a)": 2,
    "!(O (b & Y b)) & O true": 2,
    "O(c & Y(!b S a)) & H(c -> Y Y a | O b)": 3,
    "true": 0,
    "false": 0,
}
"""Formulas over a, b, c, and the levels that they may take at most."""


@pytest.mark.parametrize(("formula", "levels"), FORMULAS.items())
def test_a_formula_and_its_automaton_agree(formula: str, levels: int) -> None:
    cascade = cascade_from_temporal(formula, "abc")
    check_cascade(cascade, dfa_from_temporal(formula, "abc"))
    assert cascade.num_levels <= levels
    assert not cascade.flips


@pytest.mark.parametrize("seed", range(40))
def test_random_formulas_and_their_automata_agree(seed: int) -> None:
    formula = draw_formula(3, rng=Random(seed))
    cascade = cascade_from_temporal(formula, "ab")
    dfa = dfa_from_temporal(formula, "ab")
    check_cascade(cascade, dfa)
    assert (decompose(dfa).num_levels == 0) == (dfa.num_states == 1)


def draw_formula(depth: int, *, rng: Random) -> str:
    if depth == 0:
        return rng.choice(["a", "b", "first", "true"])
    part = draw_formula(depth - 1, rng=rng)
    if rng.random() < 0.5:
        return f"{rng.choice(['!', 'Y', 'O', 'H'])}({part})"
    return f"({part}) {rng.choice(['&', '|', 'S', 'S'])} ({draw_formula(depth - 1, rng=rng)})"


def test_a_memory_reads_what_its_parts_held_before_the_symbol() -> None:
    cascade = cascade_from_temporal("O (a & Y b)", "ab")
    latch = cascade.components[1]
    assert latch.reads == {0}
    values = list(cascade.run([1, 0, 1]))
    assert values[1] != values[0]
    assert [cascade.readout.label(v) for v in values[:2]] == [cascade.readout.label(values[0])] * 2
    assert cascade.readout.label(values[2]) != cascade.readout.label(values[1])


def test_symbols_that_the_formula_does_not_name_act_alike() -> None:
    cascade = cascade_from_temporal("!a S b", "abcdef")
    assert len(cascade.components) == 1
    assert sum(len(component.terms) for component in cascade.components) == 2


def test_a_formula_that_does_not_parse_is_refused() -> None:
    with pytest.raises(ExpressionError, match="position"):
        cascade_from_temporal("a S", "ab")


def test_a_symbol_outside_the_alphabet_is_refused() -> None:
    with pytest.raises(SymbolError, match="'c'"):
        cascade_from_temporal("O c", "ab")
