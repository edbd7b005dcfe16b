"""Permutation groups against closure by brute force, and the names of small groups."""

from __future__ import annotations

import itertools
from math import factorial, lcm

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statespan import language
from statespan.algebra import (
    PermutationGroup,
    contains_alternating_5,
    green_classes,
    maximal_subgroup,
    name_group,
    permutation_group,
    schutzenberger_groups,
    summarize_groups,
    transition_monoid,
)
from statespan.algebra.groups import Permutation, permutation_order
from statespan.errors import LimitError
from statespan.languages.automaton import DFA


def times(first: Permutation, second: Permutation) -> Permutation:
    return tuple(second[image] for image in first)


def closure(degree: int, generators: list[Permutation]) -> set[Permutation]:
    found = {tuple(range(degree))}
    queue = list(found)
    while queue:
        element = queue.pop()
        for generator in generators:
            product = times(element, generator)
            if product not in found:
                found.add(product)
                queue.append(product)
    return found


def derived(degree: int, elements: set[Permutation]) -> set[Permutation]:
    one = tuple(range(degree))
    inverse = {g: next(h for h in elements if times(g, h) == one) for g in elements}
    commutators = {
        times(times(inverse[g], inverse[h]), times(g, h)) for g in elements for h in elements
    }
    return closure(degree, list(commutators))


generating_sets = st.integers(1, 6).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.permutations(range(n)).map(tuple), max_size=3))
)


@given(generating_sets)
@settings(max_examples=150, deadline=None)
def test_a_group_is_the_closure_of_its_generators(
    drawn: tuple[int, list[Permutation]],
) -> None:
    degree, generators = drawn
    group, elements = permutation_group(degree, generators), closure(degree, generators)
    assert group.order == len(elements)
    listed = list(group.elements())
    assert set(listed) == elements
    assert len(listed) == len(elements)
    for permutation in itertools.islice(itertools.permutations(range(degree)), 200):
        assert (permutation in group) == (permutation in elements)
    assert 2 ** len(group.generators) <= group.order


@given(generating_sets)
@settings(max_examples=40, deadline=None)
def test_properties_are_their_definitions(drawn: tuple[int, list[Permutation]]) -> None:
    degree, generators = drawn
    group, elements = permutation_group(degree, generators), closure(degree, generators)
    if len(elements) > 130:
        elements = closure(degree, generators[:1])
        group = permutation_group(degree, generators[:1])
    pairs = list(itertools.product(elements, repeat=2))
    assert group.is_abelian == all(times(g, h) == times(h, g) for g, h in pairs)
    assert group.exponent() == lcm(*map(permutation_order, elements))
    assert group.has_exponent_two == (group.exponent() <= 2)
    series = [elements]
    while len(following := derived(degree, series[-1])) < len(series[-1]):
        series.append(following)
    assert [step.order for step in group.derived_series()] == list(map(len, series))
    assert group.is_solvable == (len(series[-1]) == 1)
    assert group.derived_length == (len(series) - 1 if group.is_solvable else None)


def cycle(*points: int, degree: int) -> Permutation:
    image = list(range(degree))
    for source, target in zip(points, (*points[1:], points[0]), strict=True):
        image[source] = target
    return tuple(image)


def regular(group: PermutationGroup) -> PermutationGroup:
    """Return the same group acting on itself, so that its natural action is lost."""
    elements = list(group.elements())
    number = {element: index for index, element in enumerate(elements)}
    generators = [tuple(number[times(e, g)] for e in elements) for g in group.generators]
    return permutation_group(len(elements), generators)


def symmetric(n: int) -> PermutationGroup:
    return permutation_group(n, [(*range(1, n), 0), cycle(0, 1, degree=n)])


def alternating(n: int) -> PermutationGroup:
    return permutation_group(n, [cycle(0, 1, i, degree=n) for i in range(2, n)])


QUATERNION = permutation_group(8, [(1, 2, 3, 0, 5, 6, 7, 4), (4, 7, 6, 5, 2, 1, 0, 3)])
NAMED = {
    "trivial": permutation_group(3, []),
    "Z_2": permutation_group(2, [(1, 0)]),
    "Z_12": permutation_group(7, [(1, 2, 3, 0, 5, 6, 4)]),
    "Z_2×Z_4": permutation_group(6, [(1, 2, 3, 0, 4, 5), (0, 1, 2, 3, 5, 4)]),
    "Z_2×Z_2×Z_6": permutation_group(
        9, [cycle(0, 1, degree=9), cycle(2, 3, degree=9), (0, 1, 2, 3, 5, 4, 7, 8, 6)]
    ),
    "S_3": symmetric(3),
    "D_4": permutation_group(4, [(1, 2, 3, 0), (0, 3, 2, 1)]),
    "Q_8": QUATERNION,
    "D_5": permutation_group(5, [(1, 2, 3, 4, 0), (0, 4, 3, 2, 1)]),
    "A_4": alternating(4),
    "D_6": permutation_group(6, [(1, 2, 3, 4, 5, 0), (0, 5, 4, 3, 2, 1)]),
    "Dic_3": permutation_group(7, [(1, 2, 0, 3, 4, 5, 6), (0, 2, 1, 4, 5, 6, 3)]),
    "S_4": symmetric(4),
    "A_5": alternating(5),
    "S_5": symmetric(5),
    "A_6": alternating(6),
}


@pytest.mark.parametrize("name", NAMED)
def test_small_groups_have_their_name(name: str) -> None:
    assert name_group(NAMED[name]) == name


@pytest.mark.parametrize("name", [name for name in NAMED if NAMED[name].order <= 120])
def test_the_name_does_not_depend_on_the_action(name: str) -> None:
    assert name_group(regular(NAMED[name])) == name


def test_a_group_without_a_known_name_has_its_order() -> None:
    frobenius = permutation_group(7, [(1, 2, 3, 4, 5, 6, 0), (0, 2, 4, 6, 1, 3, 5)])
    assert name_group(frobenius) == "order 21"
    pairs = [cycle(0, 1, 2, degree=5), cycle(0, 1, degree=5), cycle(3, 4, degree=5)]
    assert name_group(permutation_group(5, pairs)) == "D_6"
    times_two = [*((*g, 4, 5) for g in alternating(4).generators), cycle(4, 5, degree=6)]
    assert name_group(permutation_group(6, times_two)) == "order 24"


def test_a_group_of_the_order_of_s_5_with_a_center_is_not_s_5() -> None:
    generators = [(*g, 5, 6) for g in alternating(5).generators]
    assert name_group(permutation_group(7, [*generators, cycle(5, 6, degree=7)])) == "order 120"


def test_involutions_that_do_not_commute_generate_more_than_exponent_two() -> None:
    group = permutation_group(3, [(1, 0, 2), (0, 2, 1)])
    assert not group.has_exponent_two
    assert group.exponent() == 6


def test_a_large_symmetric_group_is_never_listed() -> None:
    group = symmetric(12)
    assert group.order == factorial(12)
    assert not group.is_solvable
    assert name_group(group) == "S_12"
    assert contains_alternating_5(group)
    with pytest.raises(LimitError, match="479,001,600 elements; at most 100,000"):
        list(group.elements())


def special_linear(p: int) -> PermutationGroup:
    """Return SL(2, p) on the nonzero vectors."""
    vectors = [v for v in itertools.product(range(p), repeat=2) if v != (0, 0)]
    number = {vector: index for index, vector in enumerate(vectors)}

    def act(a: int, b: int, c: int, d: int) -> Permutation:
        return tuple(number[(x * a + y * c) % p, (x * b + y * d) % p] for x, y in vectors)

    return permutation_group(len(vectors), [act(1, 1, 0, 1), act(1, 0, 1, 1)])


def projective_linear(p: int) -> PermutationGroup:
    """Return PSL(2, p) on the projective line, with infinity as point p."""
    shift = (*((x + 1) % p for x in range(p)), p)
    flip = (p, *(-pow(x, -1, p) % p for x in range(1, p)), 0)
    return permutation_group(p + 1, [shift, flip])


def test_whether_a_5_divides_a_group() -> None:
    assert contains_alternating_5(symmetric(4)) is False
    assert contains_alternating_5(alternating(5)) is True
    assert contains_alternating_5(regular(alternating(5))) is True
    assert contains_alternating_5(special_linear(5)) is True
    assert special_linear(5).order == 120
    assert projective_linear(7).order == 168
    assert contains_alternating_5(projective_linear(7)) is False
    assert projective_linear(11).order == 660
    assert contains_alternating_5(projective_linear(11)) is True
    assert projective_linear(13).order == 1092
    assert contains_alternating_5(projective_linear(13)) is False


def test_groups_of_image_sets_hold_the_maximal_subgroups(some_dfas: list[DFA]) -> None:
    for dfa in some_dfas:
        green = green_classes(transition_monoid(dfa))
        maximal = [maximal_subgroup(green, e) for e in green.monoid.idempotents]
        named = {name_group(group) for group in maximal} - {"trivial"}
        found = [item.group for item in schutzenberger_groups(dfa)]
        assert named <= {name_group(group) for group in found}
        assert all(any(m.order % group.order == 0 for m in maximal) for group in found)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("d-3", ()),
        ("tomita-3", ("Z_2",)),
        ("tomita-5", ("Z_2×Z_2",)),
        ("tomita-6", ("Z_3",)),
        ("aaaa-star", ("Z_4",)),
    ],
)
def test_groups_of_the_catalogue(name: str, kinds: tuple[str, ...]) -> None:
    assert summarize_groups(language(name).dfa()).names == kinds


@pytest.mark.parametrize(
    ("group", "derived_length", "divided"),
    [("S_3", 2, False), ("A_4", 2, False), ("S_4", 3, False), ("A_5", None, True)],
)
def test_summary_of_a_word_problem(group: str, derived_length: int | None, divided: bool) -> None:
    summary = summarize_groups(language("word-problem", group=group).dfa())
    assert summary.names == (group,)
    assert summary.derived_length == derived_length
    assert summary.is_solvable == (derived_length is not None)
    assert summary.contains_alternating_5 is divided
    assert not summary.is_abelian


def test_summary_of_a_monoid_with_several_groups() -> None:
    rows = ((1, 1, 0), (2, 0, 0), (3, 2, 2), (0, 3, 3))
    summary = summarize_groups(DFA(("a", "b", "c"), 0, frozenset({0}), rows))
    assert summary.names == ("Z_2", "S_3", "S_4")
    assert summary.derived_length == 3
    assert not summary.has_exponent_two


def test_words_of_a_group_act_as_its_generators() -> None:
    dfa = language("word-problem", group="S_4", generators="adjacent").dfa()
    (found,) = schutzenberger_groups(dfa)
    position = {state: index for index, state in enumerate(found.states)}
    for word, generator in zip(found.words, found.group.generators, strict=True):
        for state in found.states:
            image = state
            for symbol in word:
                image = dfa.transitions[image][dfa.alphabet.index(symbol)]
            assert position[image] == generator[position[state]]
