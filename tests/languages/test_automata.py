"""Automata: minimization, complement, product, and the tables they come from."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statespan import Language
from statespan.errors import AutomatonError, InputError, LimitError, SymbolError
from statespan.languages.automaton import (
    DFA,
    DFAMachine,
    complement,
    determinize,
    dfa_from_table,
    dfa_of_machine,
    minimize,
    product,
)

LONGEST = 6


Fields = tuple[Any, ...]
"""The fields of a DFA. Strategies draw these, so that no code under test runs inside them."""


def automata(alphabet: str = "ab", max_states: int = 6) -> st.SearchStrategy[Fields]:
    def with_states(num_states: int) -> st.SearchStrategy[Fields]:
        states = st.integers(0, num_states - 1)
        row = st.tuples(*[states] * len(alphabet))
        return st.tuples(
            st.just(tuple(alphabet)),
            states,
            st.frozensets(states),
            st.tuples(*[row] * num_states),
        )

    return st.integers(1, max_states).flatmap(with_states)


def strings(alphabet: tuple[str, ...], longest: int = LONGEST) -> list[tuple[str, ...]]:
    return [w for n in range(longest + 1) for w in itertools.product(alphabet, repeat=n)]


def accepts_from(dfa: DFA, state: int, word: tuple[str, ...]) -> bool:
    for symbol in word:
        state = dfa.transitions[state][dfa.alphabet.index(symbol)]
    return state in dfa.accepting


def behavior(dfa: DFA, state: int | None = None) -> tuple[bool, ...]:
    begin = dfa.start if state is None else state
    return tuple(accepts_from(dfa, begin, word) for word in strings(dfa.alphabet))


def shuffled_twin(dfa: DFA) -> DFA:
    """Return an automaton of the same language: two copies of each state, in another order."""
    size = dfa.num_states

    def rename(state: int, copy: int) -> int:
        return 2 * (size - 1 - state) + copy

    rows: list[tuple[int, ...]] = [()] * (2 * size)
    for state, row in enumerate(dfa.transitions):
        for copy in (0, 1):
            rows[rename(state, copy)] = tuple(
                rename(target, (state + index + copy) % 2) for index, target in enumerate(row)
            )
    accepting = frozenset(rename(state, copy) for state in dfa.accepting for copy in (0, 1))
    return DFA(dfa.alphabet, rename(dfa.start, 1), accepting, tuple(rows))


def table_of(dfa: DFA) -> dict[str, Any]:
    return {
        "alphabet": list(dfa.alphabet),
        "start": f"q{dfa.start}",
        "accepting": [f"q{state}" for state in sorted(dfa.accepting)],
        "transitions": [
            [f"q{state}", symbol, f"q{target}"]
            for state, row in enumerate(dfa.transitions)
            for symbol, target in zip(dfa.alphabet, row, strict=True)
        ],
    }


@settings(deadline=None)
@given(automata())
def test_minimize_keeps_the_language(fields: Fields) -> None:
    dfa = DFA(*fields)
    assert behavior(minimize(dfa)) == behavior(dfa)


@settings(deadline=None)
@given(automata())
def test_the_states_of_a_minimal_automaton_differ_and_are_reachable(fields: Fields) -> None:
    dfa = DFA(*fields)
    minimal = minimize(dfa)
    behaviors = [behavior(minimal, state) for state in range(minimal.num_states)]
    assert len(set(behaviors)) == minimal.num_states
    reached = {minimal.start}
    for _ in range(minimal.num_states):
        reached |= {target for state in reached for target in minimal.transitions[state]}
    assert reached == set(range(minimal.num_states))


@settings(deadline=None)
@given(automata())
def test_minimize_changes_nothing_the_second_time(fields: Fields) -> None:
    dfa = DFA(*fields)
    assert minimize(minimize(dfa)) == minimize(dfa)


@settings(deadline=None)
@given(automata("abc", 7))
def test_equal_languages_have_equal_minimal_automata(fields: Fields) -> None:
    dfa = DFA(*fields)
    assert minimize(shuffled_twin(dfa)) == minimize(dfa)


@settings(deadline=None)
@given(automata(max_states=4), automata(max_states=4))
def test_minimal_automata_are_equal_exactly_if_the_languages_are(
    one: Fields, other: Fields
) -> None:
    left, right = DFA(*one), DFA(*other)
    assert (minimize(left) == minimize(right)) == (behavior(left) == behavior(right))


def test_minimal_states_are_numbered_breadth_first() -> None:
    dfa = DFA(("a", "b"), 3, frozenset({0}), ((0, 0), (0, 1), (1, 2), (2, 1)))
    assert minimize(dfa) == DFA(("a", "b"), 0, frozenset({3}), ((1, 2), (2, 1), (3, 2), (3, 3)))


@settings(deadline=None)
@given(automata())
def test_complement_accepts_what_the_automaton_rejects(fields: Fields) -> None:
    dfa = DFA(*fields)
    assert behavior(complement(dfa)) == tuple(not accepted for accepted in behavior(dfa))
    assert complement(complement(dfa)) == dfa


@settings(deadline=None, max_examples=50)
@given(automata(max_states=4), automata(max_states=4), st.frozensets(st.integers(0, 3)))
def test_a_product_accepts_by_the_given_rule(
    one: Fields, other: Fields, kept: frozenset[int]
) -> None:
    left, right = DFA(*one), DFA(*other)
    both = product(left, right, lambda in_left, in_right: 2 * in_left + in_right in kept)
    expected = tuple(
        2 * x + y in kept for x, y in zip(behavior(left), behavior(right), strict=True)
    )
    assert behavior(both) == expected


@settings(deadline=None, max_examples=50)
@given(automata(max_states=4), automata(max_states=4))
def test_de_morgan(one: Fields, other: Fields) -> None:
    left, right = DFA(*one), DFA(*other)
    neither = complement(product(left, right, lambda x, y: x or y))
    both_not = product(complement(left), complement(right), lambda x, y: x and y)
    assert minimize(neither) == minimize(both_not)


@settings(deadline=None)
@given(automata())
def test_a_table_and_a_machine_keep_the_language(fields: Fields) -> None:
    dfa = DFA(*fields)
    assert behavior(dfa_from_table(table_of(dfa))) == behavior(dfa)
    assert dfa_of_machine(DFAMachine(dfa)) == minimize(dfa)
    made = Language.from_dfa(table_of(dfa))
    assert tuple(made.accepts(word) for word in strings(dfa.alphabet)) == behavior(dfa)
    assert made.dfa() == Language.from_dfa(dfa).dfa() == minimize(dfa)


def test_determinize_stops_at_its_limit() -> None:
    with pytest.raises(LimitError, match="more than 5 states"):
        determinize(("a",), 0, lambda state, symbol: state + 1, lambda state: True, limit=5)
    endless = determinize(("a",), 0, lambda state, symbol: (state + 1) % 5, bool, limit=5)
    assert endless.num_states == 5


def even_table(**changes: object) -> dict[str, Any]:
    table = {
        "alphabet": ["a", "b"],
        "start": "even",
        "accepting": ["even"],
        "transitions": [
            ["even", "a", "odd"],
            ["even", "b", "even"],
            ["odd", "a", "even"],
            ["odd", "b", "odd"],
        ],
    }
    return {key: value for key, value in {**table, **changes}.items() if value is not None}


def test_the_table_of_the_errors_below_is_right() -> None:
    assert dfa_from_table(even_table()) == DFA(("a", "b"), 0, frozenset({0}), ((1, 0), (0, 1)))


def test_a_table_takes_an_alphabet_in_one_string_and_sets_and_ints() -> None:
    table = {"alphabet": "a", "start": 7, "accepting": {7}, "transitions": [(7, "a", 7)]}
    assert dfa_from_table(table) == DFA(("a",), 0, frozenset({0}), ((0,),))


TRANSITIONS = even_table()["transitions"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"transitions": TRANSITIONS[:-1]}, "state 'odd' has no transition on symbol 'b'"),
        ({"accepting": ["even", "never"]}, "state 'never' has no transition on symbol 'a'"),
        ({"start": "nowhere"}, "state 'nowhere' has no transition on symbol 'a'"),
        (
            {"transitions": [*TRANSITIONS, ["odd", "a", "odd"]]},
            "two transitions leave state 'odd' on symbol 'a'",
        ),
        (
            {"transitions": [*TRANSITIONS, ["odd", "c", "odd"]]},
            r"'c', which is not in the alphabet",
        ),
        ({"transitions": [*TRANSITIONS, ["odd", "a"]]}, r"\[state, symbol, next state\], got"),
        ({"transitions": [*TRANSITIONS, "odd"]}, r"\[state, symbol, next state\], got 'odd'"),
        ({"transitions": "even a odd"}, "'transitions' must be a list"),
        ({"accepting": "even"}, "'accepting' must be a list, got 'even'"),
        ({"accepting": 3}, "'accepting' must be a list, got 3"),
        ({"start": 1.5}, "a state is an int or a string, got 1.5"),
        ({"start": True}, "a state is an int or a string, got True"),
        ({"start": ["even"]}, r"a state is an int or a string, got \['even'\]"),
        ({"accepting": [["even"]]}, r"a state is an int or a string, got \['even'\]"),
        ({"acepting": ["even"]}, "unknown key 'acepting' .* Did you mean accepting"),
        ({"accepting": None}, "the table has no 'accepting'; it needs the keys alphabet, start"),
        ({"start": None}, "the table has no 'start'"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(AutomatonError, match=message):
        dfa_from_table(even_table(**changes))
    with pytest.raises(AutomatonError, match=message):
        Language.from_dfa(even_table(**changes))


@pytest.mark.parametrize(
    ("alphabet", "message"),
    [
        ([], "an alphabet needs at least one symbol"),
        (["a", "b", "a"], "the symbol 'a' comes twice"),
        (["a", ""], "a symbol is a nonempty string, got '' as symbol 1"),
    ],
)
def test_what_is_wrong_with_an_alphabet_is_named(alphabet: list[str], message: str) -> None:
    with pytest.raises(SymbolError, match=message):
        dfa_from_table(even_table(alphabet=alphabet))


def test_the_same_transition_twice_is_no_conflict() -> None:
    assert dfa_from_table(even_table(transitions=TRANSITIONS * 2)) == dfa_from_table(even_table())


def test_an_alphabet_that_is_no_list_is_an_input_error() -> None:
    with pytest.raises(InputError, match="'alphabet' must be a list, got 5"):
        dfa_from_table(even_table(alphabet=5))
