"""Reflection systems are exact, and found where the letters of a language are mirrors."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statespan.compiler.mirrors import dot, reflect, roots_of_e8
from statespan.compiler.reflections import (
    ReflectionSystem,
    check_reflection_system,
    reflection_system,
)
from statespan.compiler.rotations import RotationSystem, rotation_system
from statespan.languages import language
from statespan.languages.automaton import DFA, complement, determinize, minimize

SWAPS_OF_THREE = {"a": (1, 0, 2), "b": (0, 2, 1), "same": (0, 1, 2), "again": (1, 0, 2)}


def act(
    letters: dict[str, tuple[int, ...]], accepted: frozenset[tuple[int, ...]], points: int | None
) -> DFA:
    """The automaton that follows the first `points` points (None: all) under permutations."""
    images = list(letters.values())
    size = len(images[0])
    start = tuple(range(size))[:points]
    return determinize(
        tuple(letters),
        start,
        lambda state, letter: tuple(images[letter][point] for point in state),
        lambda state: state in accepted,
    )


def word_problem(group: str, generators: str = "adjacent") -> DFA:
    return language("word-problem", group=group, generators=generators).dfa()


def found(dfa: DFA) -> ReflectionSystem:
    system = reflection_system(dfa)
    assert system is not None
    assert check_reflection_system(system, minimize(dfa)) >= minimize(dfa).num_states
    check_shape(system)
    return system


def check_shape(system: ReflectionSystem) -> None:
    allowed = {Fraction(0), Fraction(1, 2), Fraction(1)}
    for normal in system.normals:
        if normal is not None:
            assert set(normal) <= allowed
            assert sum(entry * entry for entry in normal) == 1
    for head in system.heads:
        length = sum(entry * entry for entry in head.start)
        assert length in {4**power for power in range(12)}
        assert all(0 <= entry <= 255 for entry in (*head.start, *head.query))


def test_there_are_22_nonnegative_roots_of_e8() -> None:
    roots = roots_of_e8(8)
    assert len(set(roots)) == 22
    assert {dot(root, root) for root in roots} == {4}
    assert {dot(first, second) for first, second in product(roots, roots)} == {0, 2, 4}


@given(st.sampled_from(roots_of_e8(8)), st.lists(st.integers(-50, 50), min_size=8, max_size=8))
def test_a_reflection_undoes_itself_and_keeps_lengths(
    normal: tuple[int, ...], entries: list[int]
) -> None:
    vector = tuple(2 * entry for entry in entries)
    image = reflect(normal, vector)
    assert reflect(normal, image) == vector
    assert dot(image, image) == dot(vector, vector)


@pytest.mark.parametrize(
    ("name", "dimension", "order", "num_heads"),
    [("parity", 1, 2, 1), ("aa-star", 1, 2, 1), ("tomita-5", 4, 4, 2)],
)
def test_languages_of_the_catalogue(name: str, dimension: int, order: int, num_heads: int) -> None:
    system = found(language(name).dfa())
    assert (system.dimension, system.num_elements) == (dimension, order)
    assert len(system.heads) == num_heads


@pytest.mark.parametrize(
    ("group", "dimension", "order"),
    [
        ("S_2", 1, 2),
        ("S_3", 5, 6),
        ("S_3xZ_2", 8, 12),
        pytest.param("S_4", 8, 24, marks=pytest.mark.slow),
        pytest.param("S_5", 8, 120, marks=pytest.mark.slow),
    ],
)
def test_word_problems_need_one_head(group: str, dimension: int, order: int) -> None:
    system = found(word_problem(group))
    assert (system.dimension, system.num_elements, len(system.heads)) == (dimension, order, 1)


def test_names_repeated_letters_and_identities_do_not_matter() -> None:
    system = found(act(SWAPS_OF_THREE, frozenset({(0, 1, 2)}), None))
    a, b, same, again = system.normals
    assert a == again != b
    assert same is None
    assert system.num_elements == 6


@pytest.mark.parametrize("accepted", [{(0,)}, {(1,)}, {(0,), (2,)}])
def test_only_one_point_is_followed(accepted: set[tuple[int, ...]]) -> None:
    """The states are cosets here, six elements on three states."""
    letters = {"a": (1, 0, 2), "b": (0, 2, 1)}
    assert found(act(letters, frozenset(accepted), 1)).num_elements == 6


def test_what_is_left_out_can_be_told_instead() -> None:
    assert found(complement(word_problem("S_3"))).complement
    assert not found(word_problem("S_3")).complement


@pytest.mark.slow
def test_transpositions_that_share_a_point() -> None:
    letters = {"a": (1, 0, 2, 3), "b": (2, 1, 0, 3), "c": (3, 1, 2, 0)}
    assert found(act(letters, frozenset({(0, 1, 2, 3)}), None)).num_elements == 24


def test_all_words() -> None:
    system = found(DFA(("a",), 0, frozenset({0}), ((0,),)))
    assert system.normals == (None,)
    assert system.num_elements == 1


@pytest.mark.parametrize(
    "dfa",
    [
        pytest.param(DFA(("a",), 0, frozenset(), ((0,),)), id="no words"),
        pytest.param(word_problem("Z_3"), id="a rotation"),
        pytest.param(word_problem("S_3", "all"), id="all elements"),
        pytest.param(
            act({"a": (1, 0, 2), "b": (0, 2, 1), "c": (2, 1, 0)}, frozenset({(0, 1, 2)}), None),
            id="three mirrors of a plane",
        ),
        pytest.param(
            act({"a": (1, 0, 3, 2), "b": (0, 3, 2, 1)}, frozenset({(0, 1, 2, 3)}), None),
            id="the symmetries of a square",
        ),
        *(
            pytest.param(language(name).dfa(), id=name)
            for name in ("aaaa-star", "abab-star", "tomita-3", "tomita-6", "d-2", "tomita-1")
        ),
    ],
)
def test_what_is_no_reflection_group_is_left_alone(dfa: DFA) -> None:
    assert reflection_system(dfa) is None


def test_the_check_can_fail() -> None:
    dfa = word_problem("S_3")
    system = found(dfa)
    (head,) = system.heads
    for wrong in (
        replace(system, complement=True),
        replace(system, normals=(None, *system.normals[1:])),
        replace(system, heads=(replace(head, query=head.start),)),
        replace(system, heads=(replace(head, query=(0, 0, 1, 0, 0)),)),
    ):
        with pytest.raises(AssertionError, match=r"wrong|zero"):
            check_reflection_system(wrong, dfa)


def test_the_search_is_the_same_every_time() -> None:
    assert reflection_system(word_problem("S_3")) == reflection_system(word_problem("S_3"))


def triangle(turns: tuple[int, ...], start: int, accepted: frozenset[int]) -> DFA:
    rows = [tuple((corner + turn) % 3 for turn in turns) for corner in range(3)]
    return DFA(tuple("abc"[: len(turns)]), start, accepted, tuple(rows))


def says(system: RotationSystem, word: tuple[int, ...]) -> bool:
    """What the mirrors say about a word, by Fractions."""
    vectors = [tuple(map(Fraction, head.start)) for head in system.mirrors.heads]
    place = 0
    for letter in word:
        turn = system.turns[letter]
        if turn:
            normal = system.mirrors.normals[system.mirror(turn, is_odd=place % 2 == 1)]
            assert normal is not None
            vectors = [
                tuple(v - 2 * dot(normal, vector) * n for n, v in zip(normal, vector, strict=True))
                for vector in vectors
            ]
            place += 1
    products = [
        dot(head.query, vector) for head, vector in zip(system.mirrors.heads, vectors, strict=True)
    ]
    assert all(products)
    return all(product > 0 for product in products) != system.mirrors.complement


@pytest.mark.parametrize("turns", [(1,), (2,), (1, 2), (1, 0), (0, 2, 1)])
def test_two_mirrors_turn_a_triangle(turns: tuple[int, ...]) -> None:
    for size, start in product((1, 2), range(3)):
        for accepted in map(frozenset, combinations(range(3), size)):
            system = rotation_system(triangle(turns, start, accepted))
            assert system is not None
            for word in product(range(len(turns)), repeat=6 if len(turns) == 1 else 4):
                corner = (start + sum(turns[letter] for letter in word)) % 3
                assert says(system, word) == (corner in accepted)


@pytest.mark.parametrize("name", ["parity", "tomita-2", "tomita-5", "d-2", "aaaa-star"])
def test_what_turns_no_triangle_is_left_alone(name: str) -> None:
    assert rotation_system(language(name).dfa()) is None
    assert rotation_system(word_problem("S_3")) is None
