"""Decision diagrams: the functions that they stand for, against tables."""

import itertools
import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statespan.compiler.decision_diagrams import Diagrams
from statespan.errors import LimitError

SIZES = (2, 3, 2)
POINTS = list(itertools.product(*map(range, SIZES)))

tables = st.lists(st.integers(0, 3), min_size=len(POINTS), max_size=len(POINTS))


def function_of(diagrams, table):
    """Return the diagram of a table, made by comparing with each of its points."""
    found = diagrams.constant(table[0])
    for point, value in zip(POINTS, table, strict=True):
        here = diagrams.constant(True)
        for variable, coordinate in reversed(list(enumerate(point))):
            own = diagrams.table(variable, (v == coordinate for v in range(SIZES[variable])))
            here = diagrams.apply(operator.and_, own, here)
        chosen = diagrams.constant(value)
        found = diagrams.apply(lambda yes, one, other: one if yes else other, here, chosen, found)
    return found


@given(tables)
def test_a_function_has_its_values_and_one_node(table):
    diagrams = Diagrams(SIZES)
    node = function_of(diagrams, table)
    assert [diagrams.at(node, point) for point in POINTS] == table
    assert diagrams.leaves(node) == set(table)
    backwards = function_of(diagrams, table[::-1])
    assert (node == backwards) == (table == table[::-1])


@given(tables, tables)
def test_what_is_applied_is_applied_at_every_point(left, right):
    diagrams = Diagrams(SIZES)
    nodes = function_of(diagrams, left), function_of(diagrams, right)
    difference = diagrams.apply(operator.sub, *nodes)
    wanted = [x - y for x, y in zip(left, right, strict=True)]
    assert [diagrams.at(difference, point) for point in POINTS] == wanted


@given(tables, tables)
def test_variables_are_replaced_all_at_once(table, inner):
    diagrams = Diagrams(SIZES)
    swapped = {0: diagrams.variable(2), 2: diagrams.variable(0)}
    node = diagrams.compose(function_of(diagrams, table), swapped)
    wanted = [table[POINTS.index(point[::-1])] for point in POINTS]
    assert [diagrams.at(node, point) for point in POINTS] == wanted
    remainder = diagrams.apply(lambda value: value % 3, function_of(diagrams, inner))
    node = diagrams.compose(function_of(diagrams, table), {1: remainder})
    wanted = [table[POINTS.index((a, inner[i] % 3, c))] for i, (a, _, c) in enumerate(POINTS)]
    assert [diagrams.at(node, point) for point in POINTS] == wanted


@given(tables)
def test_the_support_is_what_changes_a_value(table):
    diagrams = Diagrams(SIZES)
    values = dict(zip(POINTS, table, strict=True))
    wanted = {
        variable
        for variable in range(len(SIZES))
        if any(
            values[point] != values[(*point[:variable], v, *point[variable + 1 :])]
            for point in POINTS
            for v in range(SIZES[variable])
        )
    }
    assert diagrams.support(function_of(diagrams, table)) == wanted


@given(tables, st.lists(tables, min_size=4, max_size=4))
def test_a_choice_between_functions_is_made_at_every_point(chooser, cases):
    diagrams = Diagrams(SIZES)
    nodes = [function_of(diagrams, case) for case in cases]
    node = diagrams.select(function_of(diagrams, chooser), nodes)
    wanted = [cases[choice][i] for i, choice in enumerate(chooser)]
    assert [diagrams.at(node, point) for point in POINTS] == wanted


def test_a_long_sum_stays_small():
    diagrams = Diagrams([2] * 40, limit=2_000)
    total = diagrams.constant(0)
    for variable in reversed(range(40)):
        total = diagrams.apply(operator.add, diagrams.variable(variable), total)
    assert diagrams.leaves(total) == set(range(41))


def test_too_many_nodes_are_refused():
    diagrams = Diagrams([10] * 3, limit=50)
    with pytest.raises(LimitError, match="more than 50 nodes"):
        diagrams.apply(lambda *values: values, *map(diagrams.variable, range(3)))
