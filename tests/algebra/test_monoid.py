"""The transition monoid: sizes, shortest words, Cayley graphs, products, limits."""

from __future__ import annotations

import itertools
import resource
import time

import pytest

from statespan import Language, language
from statespan.algebra import period, syntactic_monoid, transition_monoid
from statespan.algebra.transformations import compose, cycle_length
from statespan.errors import LimitError
from statespan.languages.automaton import DFA

SIZES = {
    "tomita-1": 2,
    "tomita-2": 6,
    "tomita-4": 12,
    "tomita-7": 9,
    "ab-star-d-bc-star": 5,
    "012-star-02-star": 3,
    "aa-star-bb-star-cc-star-dd-star-ee-star": 17,
    "d-2": 15,
    "d-3": 31,
    "d-4": 56,
    "d-12": 820,
    "tomita-3": 26,
    "tomita-5": 4,
    "tomita-6": 3,
    "parity": 2,
    "aa-star": 2,
    "aaaa-star": 4,
    "abab-star": 10,
}


def element(dfa: DFA, word: tuple[str, ...]) -> tuple[int, ...]:
    images = tuple(range(dfa.num_states))
    for symbol in word:
        images = tuple(dfa.transitions[q][dfa.alphabet.index(symbol)] for q in images)
    return images


@pytest.mark.parametrize("name", SIZES)
def test_syntactic_monoid_has_the_published_size(name: str) -> None:
    assert len(syntactic_monoid(language(name).dfa())) == SIZES[name]


def test_elements_are_the_maps_of_words_in_shortlex_order(some_dfas: list[DFA]) -> None:
    for dfa in some_dfas:
        monoid = transition_monoid(dfa)
        expected: dict[tuple[int, ...], tuple[str, ...]] = {}
        for length in range(max(len(monoid.word(x)) for x in range(len(monoid))) + 2):
            for word in itertools.product(dfa.alphabet, repeat=length):
                expected.setdefault(element(dfa, word), word)
        found = {tuple(m): monoid.word(x) for x, m in enumerate(monoid.elements)}
        assert list(found.items()) == list(expected.items())


def test_cayley_graphs_multiply_by_a_letter_on_either_side(some_dfas: list[DFA]) -> None:
    for dfa in some_dfas:
        monoid = transition_monoid(dfa)
        letters = [monoid.element_of((symbol,)) for symbol in dfa.alphabet]
        for x in range(len(monoid)):
            for i, a in enumerate(letters):
                right = compose(monoid.elements[x], monoid.elements[a])
                left = compose(monoid.elements[a], monoid.elements[x])
                assert monoid.elements[monoid.right[2 * x + i]] == right
                assert monoid.elements[monoid.left[2 * x + i]] == left
                assert monoid.product(x, a) == monoid.index[right]


def test_the_syntactic_monoid_is_that_of_the_minimal_automaton() -> None:
    doubled = DFA(("a",), 0, frozenset({0, 2}), ((1,), (2,), (3,), (0,)))
    assert len(transition_monoid(doubled)) == 4
    assert len(syntactic_monoid(doubled)) == 2


def test_the_semigroup_has_the_identity_only_if_a_nonempty_word_acts_so() -> None:
    assert len(syntactic_monoid(language("parity").dfa()).semigroup) == 2
    assert len(syntactic_monoid(language("tomita-4").dfa()).semigroup) == 11


def test_idempotents_and_powers(some_dfas: list[DFA]) -> None:
    for dfa in some_dfas:
        monoid = transition_monoid(dfa)
        squares = [monoid.product(x, x) for x in range(len(monoid))]
        assert monoid.idempotents == tuple(x for x, y in enumerate(squares) if x == y)
        for x in range(len(monoid)):
            assert monoid.idempotent_power(x) in monoid.idempotents


def test_period_is_that_of_the_powers(some_dfas: list[DFA]) -> None:
    for dfa in some_dfas:
        monoid = transition_monoid(dfa)
        for x, transformation in enumerate(monoid.elements):
            powers = [x]
            while (following := monoid.product(powers[-1], x)) not in powers:
                powers.append(following)
            assert period(transformation) == len(powers) - powers.index(following)


def test_period_and_cycles_of_a_map() -> None:
    assert period((1, 2, 0, 4, 3, 0)) == 6
    assert [cycle_length((1, 2, 0, 4, 3, 0), q) for q in range(6)] == [3, 3, 3, 2, 2, 0]


def test_more_than_256_states_are_no_different() -> None:
    n = 300
    rows = tuple((min(q + 1, n - 1), 0) for q in range(n))
    dfa = DFA(("a", "b"), 0, frozenset({n - 1}), rows)
    monoid = syntactic_monoid(dfa)
    assert len(monoid) == 2 * n - 1
    for x in range(0, len(monoid), 60):
        assert monoid.elements[x] == element(dfa, monoid.word(x))
    with pytest.raises(LimitError, match="more than 500 elements: 500 were reached"):
        transition_monoid(dfa, limit=500)


def test_a_limit_is_exact() -> None:
    dfa = language("d-12").dfa()
    assert len(syntactic_monoid(dfa, limit=820)) == 820
    with pytest.raises(LimitError, match="more than 819 elements"):
        syntactic_monoid(dfa, limit=819)


def test_symbols_of_several_characters_keep_their_names() -> None:
    monoid = syntactic_monoid(Language.from_expression("(<up><down>)*").dfa())
    words = {monoid.word(x) for x in range(len(monoid))}
    assert ("up", "down") in words


def full_transformations(num_states: int) -> DFA:
    """Return an automaton whose letters generate all maps: a cycle, a swap, a merging."""
    cycle = [(q + 1) % num_states for q in range(num_states)]
    swap = [1, 0, *range(2, num_states)]
    merge = [0, 0, *range(2, num_states)]
    rows = tuple(zip(cycle, swap, merge, strict=True))
    return DFA(("a", "b", "c"), 0, frozenset({0}), rows)


@pytest.mark.parametrize("num_states", range(2, 6))
def test_the_full_transformation_monoid_has_all_maps(num_states: int) -> None:
    assert len(transition_monoid(full_transformations(num_states))) == num_states**num_states


@pytest.mark.slow
def test_almost_a_million_elements_take_seconds() -> None:
    started = time.perf_counter()
    assert len(transition_monoid(full_transformations(7))) == 7**7
    assert time.perf_counter() - started < 120
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 * 2**20
