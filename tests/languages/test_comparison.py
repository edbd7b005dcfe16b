"""Comparisons: a counterexample is a shortest one, and there is none exactly when none exists."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statespan import Language, language
from statespan.errors import LimitError, NotRegularError
from statespan.languages import DFA
from statespan.languages.machine import shortest_difference

Fields = tuple[Any, ...]
"""The fields of a DFA. Strategies draw these, so that no code under test runs inside them."""


@st.composite
def automata(draw: st.DrawFn, *, alphabets: list[str], max_states: int) -> Fields:
    alphabet = tuple(draw(st.sampled_from(alphabets)))
    num_states = draw(st.integers(1, max_states))
    states = st.integers(0, num_states - 1)
    row = st.tuples(*[states] * len(alphabet))
    rows = draw(st.tuples(*[row] * num_states))
    return alphabet, draw(states), draw(st.frozensets(states)), rows


def accepts(dfa: DFA, word: tuple[str, ...]) -> bool:
    state = dfa.start
    for symbol in word:
        if symbol not in dfa.alphabet:
            return False
        state = dfa.transitions[state][dfa.alphabet.index(symbol)]
    return state in dfa.accepting


def differences(left: DFA, right: DFA, longest: int, *, inclusion: bool) -> list[tuple[str, ...]]:
    """Return, shortest first, the words up to `longest` that only one (only `left`) accepts."""
    symbols = sorted({*left.alphabet, *right.alphabet})
    return [
        word
        for length in range(longest + 1)
        for word in itertools.product(symbols, repeat=length)
        if accepts(left, word) > accepts(right, word)
        or (not inclusion and accepts(right, word) > accepts(left, word))
    ]


def assert_shortest(found: str | tuple[str, ...] | None, expected: list[tuple[str, ...]]) -> None:
    if found is None:
        assert not expected
        return
    assert tuple(found) in expected
    assert len(found) == len(expected[0])


@settings(deadline=None, max_examples=300)
@given(
    automata(alphabets=["ab", "ba"], max_states=3), automata(alphabets=["ab", "ba"], max_states=3)
)
def test_counterexamples_are_shortest(first: Fields, second: Fields) -> None:
    left, right = DFA(*first), DFA(*second)
    one, other = Language.from_dfa(left), Language.from_dfa(right)
    longest = 8  # a difference of two automata shows within the product of their sizes
    assert_shortest(
        one.counterexample_to_equivalence(other),
        differences(left, right, longest, inclusion=False),
    )
    assert_shortest(
        one.counterexample_to_inclusion(other), differences(left, right, longest, inclusion=True)
    )


@settings(deadline=None)
@given(
    automata(alphabets=["ab", "bc", "a", "abc"], max_states=2),
    automata(alphabets=["ab", "bc", "a", "abc"], max_states=2),
)
def test_counterexamples_are_shortest_over_different_alphabets(
    first: Fields, second: Fields
) -> None:
    left, right = DFA(*first), DFA(*second)
    one, other = Language.from_dfa(left), Language.from_dfa(right)
    longest = 6
    assert_shortest(
        one.counterexample_to_equivalence(other),
        differences(left, right, longest, inclusion=False),
    )
    assert_shortest(
        one.counterexample_to_inclusion(other), differences(left, right, longest, inclusion=True)
    )


@settings(deadline=None)
@given(
    automata(alphabets=["ab", "bc"], max_states=4), automata(alphabets=["ab", "bc"], max_states=4)
)
def test_languages_are_equal_exactly_if_each_includes_the_other(
    first: Fields, second: Fields
) -> None:
    one, other = Language.from_dfa(DFA(*first)), Language.from_dfa(DFA(*second))
    equal = one.counterexample_to_equivalence(other) is None
    assert equal == (other.counterexample_to_equivalence(one) is None)
    assert equal == (
        one.counterexample_to_inclusion(other) is None
        and other.counterexample_to_inclusion(one) is None
    )


@pytest.mark.parametrize(
    ("left", "right", "equivalence", "inclusion"),
    [
        ("(aa)*", "(aaaa)*", "aa", "aa"),
        ("(aaaa)*", "(aa)*", "aa", None),
        ("a*", "a*", None, None),
        ("a*", "(a|b)*", "b", None),
        ("(a|b)*", "a*", "b", "b"),
        ("a*", "a*|b&c", None, None),
        ("a", "b", "a", "a"),
        ("a{5}", "a{4}a?", "aaaa", None),
        ("a&b", "c&d", None, None),
        ("a&b", "a*", "", None),
    ],
)
def test_counterexamples_of_expressions(
    left: str, right: str, equivalence: str | None, inclusion: str | None
) -> None:
    one, other = map(Language.from_expression, (left, right))
    assert one.counterexample_to_equivalence(other) == equivalence
    assert one.counterexample_to_inclusion(other) == inclusion


def test_a_counterexample_is_a_tuple_where_a_symbol_has_several_characters() -> None:
    one = Language.from_expression("<up>*")
    other = Language.from_expression("<up>*|u")
    assert one.counterexample_to_equivalence(other) == ("u",)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_d_n_is_bounded_dyck_with_one_type_under_other_names(depth: int) -> None:
    renamed = language("bounded-dyck", brackets=1, depth=depth)
    expression = ""
    for _ in range(depth):
        expression = f"(a({expression})b)*"
    suite = language(f"d-{depth}")
    assert suite.counterexample_to_equivalence(Language.from_expression(expression)) is None
    assert suite.dfa().transitions == renamed.dfa().transitions


def test_the_d_n_are_a_chain() -> None:
    chain = [language(f"d-{depth}") for depth in (2, 3, 4, 12)]
    for smaller, larger in itertools.pairwise(chain):
        assert smaller.counterexample_to_inclusion(larger) is None
    assert chain[1].counterexample_to_inclusion(chain[0]) == "aaabbb"


@pytest.mark.parametrize("name", ["dyck-1", "shuffle-2", "boolean-3", "anbn"])
def test_a_language_that_is_not_regular_is_not_compared(name: str) -> None:
    regular, other = language("parity"), language(name)
    for left, right in [(regular, other), (other, regular), (other, other)]:
        with pytest.raises(NotRegularError, match=f"{name} is not regular, and a comparison needs"):
            left.counterexample_to_equivalence(right)
        with pytest.raises(NotRegularError, match=f"{name} is not regular"):
            left.counterexample_to_inclusion(right)
    with pytest.raises(NotRegularError, match=f"{name} is not regular, and a finite automaton"):
        other.dfa()


def test_a_search_without_end_stops_at_its_limit() -> None:
    machine = language("dyck-1").machine
    with pytest.raises(LimitError, match="more than 100 pairs"):
        shortest_difference(machine, machine, limit=100)


def test_an_automaton_past_the_limit_is_not_built() -> None:
    with pytest.raises(LimitError, match=r"more than 1,000 states"):
        language("bounded-dyck").dfa(limit=1_000)
