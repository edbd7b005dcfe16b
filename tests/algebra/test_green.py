"""Green's relations against ideals, brute force, and the shape of egg boxes."""

from __future__ import annotations

import itertools

import pytest

from statespan import language
from statespan.algebra import GreenClasses, green_classes, maximal_subgroup, transition_monoid
from statespan.languages.automaton import DFA


def partition(labels: list[int]) -> set[frozenset[int]]:
    classes: dict[int, set[int]] = {}
    for x, label in enumerate(labels):
        classes.setdefault(label, set()).add(x)
    return {frozenset(members) for members in classes.values()}


def by_ideal(ideals: list[frozenset[int]]) -> set[frozenset[int]]:
    return {frozenset(y for y, other in enumerate(ideals) if other == ideal) for ideal in ideals}


def check(green: GreenClasses) -> None:
    monoid = green.monoid
    everything = range(len(monoid))
    table = [[monoid.product(x, y) for y in everything] for x in everything]
    right = [frozenset(table[x]) for x in everything]
    left = [frozenset(table[s][x] for s in everything) for x in everything]
    both = [frozenset(table[s][y] for y in right[x] for s in everything) for x in everything]
    assert partition(green.r_class_of) == by_ideal(right)
    assert partition(green.l_class_of) == by_ideal(left)
    assert partition(green.j_class_of) == by_ideal(both)
    for x, y in itertools.product(everything, repeat=2):
        if both[x] <= both[y]:
            assert green.j_class_of[x] <= green.j_class_of[y]
    check_egg_boxes(green)
    check_order(green, both)


def check_egg_boxes(green: GreenClasses) -> None:
    monoid = green.monoid
    seen: list[int] = []
    for number, box in enumerate(green.egg_boxes):
        assert box.number == number
        cells = [cell for row in box.cells for cell in row]
        assert {len(cell) for cell in cells} == {box.cell_size}
        assert box.size == sum(map(len, cells))
        for row in box.cells:
            assert len({green.r_class_of[x] for cell in row for x in cell}) == 1
        for column in zip(*box.cells, strict=True):
            assert len({green.l_class_of[x] for cell in column for x in cell}) == 1
        assert all(green.j_class_of[x] == number for cell in cells for x in cell)
        assert set(box.idempotents) == set(monoid.idempotents) & {x for c in cells for x in c}
        for e in box.idempotents:
            group = maximal_subgroup(green, e)
            assert group.order == box.cell_size
            assert tuple(green.h_class(e)) in cells
        if box.is_regular:
            lines = [*box.cells, *zip(*box.cells, strict=True)]
            assert all(set(box.idempotents) & {x for c in line for x in c} for line in lines)
        seen += [x for cell in cells for x in cell]
    assert sorted(seen) == list(range(len(monoid)))


def check_order(green: GreenClasses, both: list[frozenset[int]]) -> None:
    """The transitive closure of `order` is inclusion of ideals."""
    below = [{number} for number in range(green.num_j_classes)]
    for number in range(green.num_j_classes):
        for lower in green.order[number]:
            below[number] |= below[lower]
    for x, y in itertools.product(range(len(both)), repeat=2):
        assert (both[x] <= both[y]) == (green.j_class_of[x] in below[green.j_class_of[y]])


def test_classes_are_equal_ideals(some_dfas: list[DFA]) -> None:
    for dfa in some_dfas[::3]:
        check(green_classes(transition_monoid(dfa)))


@pytest.mark.exhaustive
def test_classes_are_equal_ideals_on_all_small_automata(three_state_dfas: list[DFA]) -> None:
    for dfa in three_state_dfas:
        check(green_classes(transition_monoid(dfa)))


@pytest.mark.parametrize("name", ["tomita-3", "abab-star", "d-4", "tomita-5", "flip-flop"])
def test_classes_of_the_catalogue_are_equal_ideals(name: str) -> None:
    check(green_classes(transition_monoid(language(name).dfa())))


def test_right_inverse_makes_an_idempotent_in_the_same_row(some_dfas: list[DFA]) -> None:
    for dfa in some_dfas[::3]:
        monoid = transition_monoid(dfa)
        green = green_classes(monoid)
        for box in green.egg_boxes:
            for s in (x for row in box.cells for cell in row for x in cell if box.is_regular):
                e = monoid.product(s, green.right_inverse(s))
                assert e in box.idempotents
                assert green.r_class_of[e] == green.r_class_of[s]


def test_egg_boxes_of_a_brandt_monoid() -> None:
    green = green_classes(transition_monoid(language("tomita-2").dfa()))
    shapes = [(len(box.cells), len(box.cells[0]), box.cell_size) for box in green.egg_boxes]
    assert shapes == [(1, 1, 1), (2, 2, 1), (1, 1, 1)]
    assert [len(box.idempotents) for box in green.egg_boxes] == [1, 2, 1]
    assert green.order == (frozenset(), frozenset({0}), frozenset({1}))


def test_the_full_transformation_monoid_has_a_class_for_each_rank() -> None:
    rows = ((1, 1, 0), (2, 0, 0), (3, 2, 2), (0, 3, 3))
    green = green_classes(transition_monoid(DFA(("a", "b", "c"), 0, frozenset({0}), rows)))
    shapes = [(len(box.cells), len(box.cells[0]), box.cell_size) for box in green.egg_boxes]
    assert shapes == [(1, 4, 1), (7, 6, 2), (6, 4, 6), (1, 1, 24)]
    assert green.num_h_classes == 4 + 42 + 24 + 1
    assert (green.num_r_classes, green.num_l_classes) == (15, 15)
