"""Covers of tables and the terms made of them: right, disjoint, and small where that is known."""

from __future__ import annotations

from functools import reduce
from itertools import combinations, product
from operator import or_

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statespan.compiler.covers import cover_table
from statespan.compiler.cubes import Cube, Point, are_disjoint
from statespan.compiler.rules import component_of_cubes, readout_of_cubes
from statespan.compiler.work import Work
from statespan.errors import LimitError

NUM_ANSWERS = 3
STEPS = 1_000_000


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[int], dict[Point, int]]:
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    points = [p for p in product(*map(range, sizes)) if draw(st.booleans())]
    masks = st.integers(1, (1 << NUM_ANSWERS) - 1)
    return sizes, {point: draw(masks) for point in points}


@given(tables())
def test_a_cover_is_right_and_disjoint(drawn: tuple[list[int], dict[Point, int]]) -> None:
    sizes, table = drawn
    cubes = cover_table(sizes, table, 0, Work(STEPS))
    for left, right in combinations(cubes, 2):
        assert are_disjoint(left, right)
        assert not any(left.contains(p) and right.contains(p) for p in product(*map(range, sizes)))
    for point, mask in table.items():
        answers = [cube.answer for cube in cubes if cube.contains(point)] or [0]
        assert mask >> answers[0] & 1
    assert all(
        0 < mask < 1 << size for c in cubes for mask, size in zip(c.sets, sizes, strict=True)
    )


@given(tables())
def test_no_cube_is_needless(drawn: tuple[list[int], dict[Point, int]]) -> None:
    sizes, table = drawn
    for cube in cover_table(sizes, table, 0, Work(STEPS)):
        assert any(cube.contains(point) and not mask & 1 for point, mask in table.items())


@given(st.lists(st.integers(1, 2), min_size=1, max_size=3), st.data())
def test_two_answers_over_few_points_take_as_few_cubes_as_can_be(
    sizes: list[int], data: st.DataObject
) -> None:
    points = list(product(*map(range, sizes)))
    table = {point: data.draw(st.integers(1, 3)) for point in points}
    found = cover_table(sizes, table, 0, Work(STEPS))
    assert len(found) <= least_cover(sizes, table) + 1


def least_cover(sizes: list[int], table: dict[Point, int]) -> int:
    """Return the least number of disjoint cubes with the answer 1, by trying all choices."""
    subsets = [range(1, 1 << size) for size in sizes]
    cubes = [Cube(sets, 1) for sets in product(*subsets)]
    inside = [frozenset(p for p in table if cube.contains(p)) for cube in cubes]
    usable = [cube for cube in inside if cube and all(table[p] & 2 for p in cube)]
    needed = {point for point, mask in table.items() if mask == 2}
    for count in range(len(table) + 1):
        for chosen in combinations(usable, count):
            union: frozenset[Point] = reduce(or_, chosen, frozenset())
            if needed <= union and len(union) == sum(map(len, chosen)):
                return count
    raise AssertionError("single points are a cover")


def test_an_irrelevant_variable_is_not_asked_about() -> None:
    table = {(a, b): 1 << (a == 1) for a in range(2) for b in range(5)}
    assert cover_table([2, 5], table, 0, Work(STEPS)) == [Cube((0b10, 0b11111), 1)]


def test_a_cover_that_takes_too_many_steps_is_refused() -> None:
    table: dict[Point, int] = {(a, b): 1 << (a + b) % 2 for a in range(6) for b in range(6)}
    work = Work(STEPS)
    cover_table([6, 6], table, 0, work)
    assert 0 < work.used < STEPS
    with pytest.raises(LimitError, match=f"more than {work.used - 1:,} steps"):
        cover_table([6, 6], table, 0, Work(work.used - 1))


def test_the_restart_joins_a_term_that_always_writes_the_start() -> None:
    cubes = [Cube((0b01, 0b11), 1), Cube((0b10, 0b01), 0)]
    component = component_of_cubes(2, 1, cubes, [2, 2], [4])
    assert [(t.letters, t.conditions, t.value) for t in component.terms] == [
        ({1}, ((4, frozenset([0])),), 0),
        ({0, 2}, (), 1),
    ]


def test_the_restart_is_a_term_where_none_writes_the_start() -> None:
    component = component_of_cubes(2, 0, [Cube((0b01,), 3)], [2], [])
    assert [(t.letters, t.value) for t in component.terms] == [({0}, None), ({2}, 0)]


def test_a_readout_leaves_out_what_may_have_any_value() -> None:
    (term,) = readout_of_cubes([Cube((0b11, 0b10), 2)], [2, 2])
    assert term.conditions == ((1, frozenset([1])),)
    assert term.label == 2
