"""Arithmetic on diagrams: torch's bits at every point, and no sum whose order could matter."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import silu

from statespan.compiler.decision_diagrams import Diagrams
from statespan.compiler.diagram_arithmetic import DiagramArithmetic, UnprovedError

small = st.integers(-64, 64).map(lambda n: n / 8)
triples = st.tuples(small, small, small)


def arithmetic_of(*columns, dtype=torch.float32):
    """Return arithmetic over a variable a column, and the functions that have these values."""
    diagrams = Diagrams([len(column) for column in columns])
    nodes = [diagrams.table(i, column) for i, column in enumerate(columns)]
    return DiagramArithmetic(diagrams, dtype), nodes


@given(triples, triples, st.permutations([0.5, -2.0, 3.0]))
def test_a_sum_is_that_of_torch_in_any_order(left, right, weights):
    numbers, (one, other) = arithmetic_of(left, right)
    total = numbers.total([(weights[0], one), (weights[1], other)], bias=weights[2])
    for i, x in enumerate(left):
        for j, y in enumerate(right):
            row = torch.tensor([x, y, 1.0])
            assert numbers.diagrams.at(total, [i, j]) == float(row @ torch.tensor(weights))


@given(triples)
def test_a_function_is_that_of_torch(values):
    numbers, (node,) = arithmetic_of(values, dtype=torch.bfloat16)
    found = numbers.map("silu", lambda x: silu(x.bfloat16()), node)
    wanted = silu(torch.tensor(values).bfloat16()).tolist()
    assert [numbers.diagrams.at(found, [i]) for i in range(3)] == wanted


def test_a_sum_that_could_be_rounded_is_not_taken():
    numbers, (large, one) = arithmetic_of([2.0**24, 0.0], [1.0, 0.0])
    with pytest.raises(UnprovedError, match="order could matter"):
        numbers.total([(1.0, large), (1.0, one)])
    assert numbers.total([(0.5, large), (1.0, one)])


def test_numbers_that_never_meet_may_differ_much():
    numbers, (node,) = arithmetic_of([0.0, 1.0, 2.0])
    large = numbers.diagrams.apply(lambda x: 2.0**40 * (x == 1.0), node)
    little = numbers.diagrams.apply(lambda x: float(x == 2.0), node)
    total = numbers.total([(1.0, large), (1.0, little)])
    assert numbers.diagrams.leaves(total) == {0.0, 2.0**40, 1.0}


def test_what_is_not_finite_is_refused():
    numbers, (node,) = arithmetic_of([0.0, 1.0])
    with pytest.raises(UnprovedError, match="not finite"):
        numbers.map("reciprocal", torch.reciprocal, node)


def test_what_depends_on_its_place_in_a_vector_is_refused():
    numbers, (node,) = arithmetic_of([1.0, 2.0])
    with pytest.raises(UnprovedError, match="where in a vector"):
        numbers.map("running sum", lambda x: x.cumsum(0), node)


@pytest.mark.parametrize(
    ("columns", "same"),
    [
        ([[1.0, -1.0], [2.0, -2.0]], True),
        ([[1.0, 2.0], [3.0, 3.0]], False),
        ([[2.0**40, 2.0**40], [1.0, 2.0]], True),
        ([[2.0**12, 2.0**12], [1.0, 2.0]], False),
        ([[2.0**12, 2.0**12], [2.0**40, 2.0**40]], True),
        ([[2.0**40, -(2.0**40)], [2.0**27, 0.0], [1.0, 1.0]], False),
    ],
)
def test_a_norm_must_not_tell_streams_apart(columns, same):
    numbers, nodes = arithmetic_of(*columns)
    if same:
        numbers.mean_square(nodes)
        return
    with pytest.raises(UnprovedError):
        numbers.mean_square(nodes)
