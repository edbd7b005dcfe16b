"""Star-freeness without the monoid, and the hidden counter."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statespan import Language, language
from statespan.algebra import find_counter, is_aperiodic, period, transition_monoid
from statespan.algebra.aperiodic import CounterWitness
from statespan.algebra.images import image_orbit
from statespan.errors import LimitError
from statespan.languages.automaton import DFA, minimize

STAR_FREE = [
    *("tomita-1", "tomita-2", "tomita-4", "tomita-7", "ab-star-d-bc-star", "012-star-02-star"),
    *("aa-star-bb-star-cc-star-dd-star-ee-star", "d-2", "d-3", "d-4", "d-12", "flip-flop"),
]
COUNTING = {
    "tomita-3": 2,
    "tomita-5": 2,
    "tomita-6": 3,
    "parity": 2,
    "aa-star": 2,
    "aaaa-star": 4,
    "abab-star": 2,
}


def run(dfa: DFA, word: Sequence[str], state: int) -> int:
    for symbol in word:
        state = dfa.transitions[state][dfa.alphabet.index(symbol)]
    return state


def has_counter(dfa: DFA, word: Sequence[str]) -> bool:
    return period([run(dfa, word, state) for state in range(dfa.num_states)]) > 1


def replay(dfa: DFA, witness: CounterWitness) -> None:
    """Check the cycle of states, and that pumping makes membership alternate with its period."""
    p = witness.period
    states = [run(dfa, witness.word * n, witness.state) for n in range(2 * p + 1)]
    assert p > 1
    assert run(dfa, witness.prefix, dfa.start) == witness.state
    assert len(set(states[:p])) == p
    assert states == [*(states[:p] * 2), witness.state]
    members = [run(dfa, witness.pumped(n), dfa.start) in dfa.accepting for n in range(3 * p)]
    assert members[0] != members[1]
    assert members == members[:p] * 3


@pytest.mark.parametrize("name", STAR_FREE)
def test_star_free_languages_of_the_catalogue(name: str) -> None:
    assert is_aperiodic(language(name).dfa())
    assert find_counter(language(name).dfa()) is None


@pytest.mark.parametrize("brackets", [1, 2, 3])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_bounded_dyck_is_star_free(brackets: int, depth: int) -> None:
    assert is_aperiodic(language("bounded-dyck", brackets=brackets, depth=depth).dfa())


@pytest.mark.parametrize("name", COUNTING)
def test_counting_languages_of_the_catalogue_have_a_counter(name: str) -> None:
    dfa = language(name).dfa()
    witness = find_counter(dfa)
    assert not is_aperiodic(dfa)
    assert witness is not None
    assert witness.period == COUNTING[name]
    replay(dfa, witness)


def check(dfa: DFA) -> None:
    """Compare with the definition, on the whole monoid, for a minimal automaton."""
    monoid = transition_monoid(dfa)
    aperiodic = all(period(transformation) == 1 for transformation in monoid.elements)
    assert is_aperiodic(dfa) == aperiodic
    witness = find_counter(dfa)
    assert (witness is None) == aperiodic
    if witness is None:
        return
    replay(dfa, witness)
    shortest = next(x for x, m in enumerate(monoid.elements) if period(m) > 1)
    assert witness.is_shortest
    assert witness.word == monoid.word(shortest)


def test_agrees_with_the_monoid(some_dfas: list[DFA]) -> None:
    for dfa in some_dfas:
        check(dfa)


@pytest.mark.exhaustive
def test_agrees_with_the_monoid_on_all_small_automata(three_state_dfas: list[DFA]) -> None:
    for dfa in three_state_dfas:
        check(dfa)


@given(st.data(), st.integers(2, 5), st.integers(1, 3))
@settings(max_examples=100, deadline=None)
def test_agrees_with_the_monoid_on_random_automata(data: st.DataObject, n: int, k: int) -> None:
    row = st.tuples(*[st.integers(0, n - 1)] * k)
    rows = tuple(data.draw(st.lists(row, min_size=n, max_size=n)))
    accepting = data.draw(st.frozensets(st.integers(0, n - 1)))
    check(minimize(DFA(tuple("abc"[:k]), 0, accepting, rows)))


def test_the_word_is_a_shortest_one() -> None:
    dfa = Language.from_expression("(abcabc|cba)*").dfa()
    witness = find_counter(dfa)
    assert witness is not None
    for length in range(1, len(witness.word)):
        for word in itertools.product(dfa.alphabet, repeat=length):
            assert not has_counter(dfa, word)


def random_dfa(num_states: int, seed: int) -> DFA:
    rng = random.Random(seed)
    rows = tuple((rng.randrange(num_states), rng.randrange(num_states)) for _ in range(num_states))
    accepting = frozenset(q for q in range(num_states) if rng.random() < 0.5)
    return minimize(DFA(("a", "b"), 0, accepting, rows))


def test_a_counter_beyond_the_search_for_a_shortest_one_replays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("statespan.algebra.aperiodic.SHORTEST_LIMIT", 1)
    found = 0
    for seed in range(60):
        dfa = random_dfa(7, seed)
        witness = find_counter(dfa)
        if witness is not None and not witness.is_shortest:
            found += 1
            replay(dfa, witness)
    assert found >= 10


def test_an_automaton_that_is_not_minimal_is_made_so() -> None:
    doubled = DFA(("a",), 0, frozenset({0, 1}), ((1,), (0,)))
    assert is_aperiodic(doubled)


def test_a_limit_says_how_many_images_were_reached() -> None:
    dfa = language("d-12").dfa()
    count = len(image_orbit(dfa).images)
    assert is_aperiodic(dfa, limit=count)
    with pytest.raises(LimitError, match=f"more than {count - 1} image sets"):
        is_aperiodic(dfa, limit=count - 1)
    with pytest.raises(LimitError, match="more than 5 image sets: 5 were reached from 14 states"):
        is_aperiodic(language("d-12").dfa(), limit=5)


def monotone(num_states: int, num_letters: int, seed: int) -> DFA:
    """Return an automaton whose letters keep the order of the states, so it has no counter."""
    rng = random.Random(seed)
    columns = [sorted(rng.choices(range(num_states), k=num_states)) for _ in range(num_letters - 1)]
    columns.append([*range(1, num_states), num_states - 1])
    rows = tuple(zip(*columns, strict=True))
    return DFA(tuple("abcdef"[:num_letters]), 0, frozenset({0}), rows)


@pytest.mark.parametrize("seed", range(5))
def test_monotone_automata_are_star_free(seed: int) -> None:
    assert is_aperiodic(monotone(12, 3, seed))


@pytest.mark.slow
def test_a_hundred_thousand_images_of_20_states_take_seconds() -> None:
    dfa = minimize(many_images(20))
    assert dfa.num_states == 20
    started = time.perf_counter()
    assert is_aperiodic(dfa)
    elapsed = time.perf_counter() - started
    assert len(image_orbit(dfa).images) >= 100_000
    assert elapsed < 15


def many_images(num_states: int) -> DFA:
    """Return a monotone automaton with many subsets of its states as images."""
    n = num_states
    columns = [[q if q <= i else q - 1 for q in range(n)] for i in range(0, n - 1, 3)]
    columns += [[q if q < i else min(q + 1, n - 1) for q in range(n)] for i in (1, n // 2)]
    alphabet = tuple(f"s{i}" for i in range(len(columns)))
    return DFA(alphabet, n // 2, frozenset({0}), tuple(zip(*columns, strict=True)))
