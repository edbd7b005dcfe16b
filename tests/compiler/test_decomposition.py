"""Cascades of automata: right on all they reach, small, and the same in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import combinations
from random import Random

import pytest

from statespan.algebra import is_aperiodic
from statespan.compiler.cascade import Cascade, Conditions, check_cascade
from statespan.compiler.decomposition import decompose
from statespan.compiler.work import SEARCH_STEPS, Work
from statespan.errors import InputError, LimitError
from statespan.languages import END, LANGUAGES, Language, language, language_from_text
from statespan.languages.automaton import DFA, determinize, minimize
from tests.compiler.random_automata import random_aperiodic_dfa, random_dfa

LEVELS = {
    "tomita-1": (1, 2),
    "tomita-2": (2, 5),
    "tomita-4": (3, 7),
    "tomita-7": (3, 7),
    "d-2": (3, 8),
    "d-3": (4, 11),
    "d-4": (5, 14),
    "d-12": (13, 38),
    "012-star-02-star": (1, 2),
    "ab-star-d-bc-star": (2, 5),
    "aa-star-bb-star-cc-star-dd-star-ee-star": (2, 13),
    "flip-flop": (3, 17),
    "bounded-dyck:brackets=2,depth=2": (3, 14),
    "bounded-dyck:brackets=2,depth=3": (4, 23),
}
"""The levels and the number of terms that each language may take at most."""

FLIPS = {
    "parity": 1,
    "aa-star": 1,
    "aaaa-star": 2,
    "abab-star": 2,
    "tomita-3": 4,
    "tomita-5": 1,
}


TOO_LARGE = ("bounded-dyck", "d-12", "word-problem")


def regular_names() -> list[str]:
    names = (name for name in LANGUAGES.names() if name not in TOO_LARGE)
    return [name for name in names if language(name).is_regular]


def num_terms(cascade: Cascade) -> int:
    return sum(len(component.terms) for component in cascade.components)


def assert_says(cascade: Cascade, dfa: DFA) -> None:
    """Compare with a walk of the automaton, by the definitions and nothing of the package."""
    live = set(dfa.accepting)
    while True:
        more = {q for q, row in enumerate(dfa.transitions) if live & set(row)} - live
        if not more:
            break
        live |= more
    start = (tuple(component.initial for component in cascade.components), dfa.start)
    seen, waiting = {start}, [start]
    while waiting:
        values, state = waiting.pop()
        expected = {
            a for a, q in zip(dfa.alphabet, dfa.transitions[state], strict=True) if q in live
        }
        expected |= {END} & ({END} if state in dfa.accepting else set())
        said = [t.label for t in cascade.readout.terms if meets(t.conditions, values)]
        assert len(said) <= 1
        label = said[0] if said else cascade.readout.default
        assert cascade.readout.labels[label] == expected
        for letter in range(len(dfa.alphabet) + 1):
            after = []
            for component, value in zip(cascade.components, values, strict=True):
                acting = [
                    term.value
                    for term in component.terms
                    if letter in term.letters and meets(term.conditions, values)
                ]
                assert len(acting) <= 1
                after.append(value if not acting else 1 - value if acting[0] is None else acting[0])
            restarts = letter == len(dfa.alphabet)
            state_after = dfa.start if restarts else dfa.transitions[state][letter]
            following = (tuple(after), state_after)
            if restarts:
                assert following == start
            if following not in seen:
                seen.add(following)
                waiting.append(following)


def meets(conditions: Conditions, values: tuple[int, ...]) -> bool:
    return all(values[name] in allowed for name, allowed in conditions)


def exclude_each_other(left: Conditions, right: Conditions) -> bool:
    others = dict(right)
    return any(not values & others[name] for name, values in left if name in others)


def assert_is_in_order(cascade: Cascade) -> None:
    """Terms exclude each other, ask about earlier components, and name values that exist."""
    for number, component in enumerate(cascade.components):
        assert all(read < number for read in component.reads)
        assert 0 <= component.initial < component.num_values
        restarting = [t for t in component.terms if len(cascade.alphabet) in t.letters]
        assert [(t.conditions, t.value) for t in restarting] == [((), component.initial)]
        for term in component.terms:
            assert term.letters
            assert term.value is not None or component.num_values == 2
            assert_is_sensible(cascade, term.conditions)
        for left, right in combinations(component.terms, 2):
            assert not left.letters & right.letters or exclude_each_other(
                left.conditions, right.conditions
            )
    for readout_term in cascade.readout.terms:
        assert_is_sensible(cascade, readout_term.conditions)
        assert readout_term.label != cascade.readout.default
    for one, other in combinations(cascade.readout.terms, 2):
        assert exclude_each_other(one.conditions, other.conditions)
    assert list(cascade.levels) == sorted(cascade.levels)


def assert_is_sensible(cascade: Cascade, conditions: Conditions) -> None:
    names = [name for name, _ in conditions]
    assert names == sorted(set(names))
    for name, values in conditions:
        assert values
        assert values < set(range(cascade.components[name].num_values))


@pytest.mark.parametrize("name", regular_names())
def test_a_cascade_says_what_its_language_says(name: str) -> None:
    dfa = language(name).dfa()
    if name == "tomita-6":
        with pytest.raises(InputError, match="no 2-group"):
            decompose(dfa)
        return
    cascade = decompose(dfa)
    assert_says(cascade, dfa)
    assert_is_in_order(cascade)
    assert cascade.flips == (not is_aperiodic(dfa))


@pytest.mark.parametrize(("name", "bound"), LEVELS.items())
def test_a_cascade_is_no_larger_than_this(name: str, bound: tuple[int, int]) -> None:
    cascade = decompose(language_from_text(name).dfa())
    assert (cascade.num_levels, num_terms(cascade)) <= bound


@pytest.mark.parametrize(("name", "levels"), FLIPS.items())
def test_flips_count_modulo_powers_of_two(name: str, levels: int) -> None:
    cascade = decompose(language(name).dfa())
    assert cascade.flips
    assert cascade.num_levels <= levels


@pytest.mark.parametrize("seed", range(30))
def test_random_automata_without_counters_need_no_flips(seed: int) -> None:
    check_random(seed, num_states=2 + seed % 5, num_letters=1 + seed % 3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 400))
def test_many_random_automata_without_counters_need_no_flips(seed: int) -> None:
    check_random(seed, num_states=2 + seed % 7, num_letters=2 + seed % 2)


def check_random(seed: int, *, num_states: int, num_letters: int) -> None:
    dfa = random_aperiodic_dfa(num_states, num_letters, rng=Random(seed))
    cascade = decompose(dfa)
    assert not cascade.flips
    assert_says(cascade, dfa)
    assert_is_in_order(cascade)
    assert is_aperiodic(automaton_of(cascade))


def automaton_of(cascade: Cascade) -> DFA:
    """Return the automaton whose states are the values of the cascade."""
    return determinize(
        cascade.alphabet, cascade.start, cascade.step, lambda v: END in cascade.next_symbols(v)
    )


@pytest.mark.parametrize("seed", range(60))
def test_exactly_the_groups_that_are_no_2_groups_are_refused(seed: int) -> None:
    dfa = random_dfa(2 + seed % 4, 2, rng=Random(seed))
    if all(period & (period - 1) == 0 for period in periods(dfa)):
        cascade = decompose(dfa)
        assert_says(cascade, dfa)
        assert_is_in_order(cascade)
        assert not cascade.flips or max(periods(dfa)) > 1
    else:
        with pytest.raises(InputError, match="no 2-group"):
            decompose(dfa)


def periods(dfa: DFA) -> Iterator[int]:
    """Yield the lengths of the cycles of all maps of words."""
    for element in transition_maps(dfa):
        for state in range(dfa.num_states):
            image, steps = element[state], 1
            while image != state and steps <= dfa.num_states:
                image, steps = element[image], steps + 1
            if image == state:
                yield steps


def test_groups_of_order_eight_are_flipped() -> None:
    turn, mirror = (1, 2, 3, 0), (0, 3, 2, 1)
    rows = tuple(zip(turn, mirror, strict=True))
    dfa = DFA(("t", "m"), 0, frozenset([0]), rows)
    cascade = decompose(dfa)
    assert_says(cascade, minimize(dfa))
    assert cascade.num_levels <= 2


def test_five_letters_cannot_be_permuted_by_flips() -> None:
    with pytest.raises(InputError, match="no 2-group"):
        decompose(language("word-problem").dfa())


@pytest.mark.parametrize(("accepting", "expected"), [(frozenset([0]), {END, "a"}), ((), set())])
def test_one_state_needs_no_component(accepting: frozenset[int], expected: set[object]) -> None:
    dfa = DFA(("a",), 0, frozenset(accepting), ((0,),))
    cascade = decompose(dfa)
    assert cascade.components == ()
    assert cascade.readout.terms == ()
    assert cascade.next_symbols(()) == expected


def test_only_the_language_counts() -> None:
    minimal = language("d-2").dfa()
    doubled = tuple(tuple(q + len(minimal.transitions) for q in row) for row in minimal.transitions)
    accepting = minimal.accepting | {q + minimal.num_states for q in minimal.accepting}
    dfa = DFA(minimal.alphabet, minimal.start, frozenset(accepting), doubled + doubled)
    assert decompose(dfa) == decompose(minimal)


def test_letters_that_act_alike_share_terms() -> None:
    few = decompose(Language.from_expression("(ab)*c").dfa())
    many = decompose(Language.from_expression("((a|x|y|z)(b|v|w))*c").dfa())
    assert num_terms(few) == num_terms(many)


def test_a_cascade_beyond_the_limit_is_refused() -> None:
    with pytest.raises(LimitError, match="more than 100 chains"):
        decompose(language("d-12").dfa(), limit=100)


@pytest.mark.parametrize("seed", [3, 14])
def test_a_search_with_few_steps_ends_with_a_cascade_or_says_so(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dfa = random_aperiodic_dfa(7, 2, rng=Random(seed))
    best = decompose(dfa)
    found = 0
    for steps in (10, 2_000, 10_000, 50_000):
        monkeypatch.setattr("statespan.compiler.decomposition.SEARCH_STEPS", steps)
        cascade = cascade_or_error(dfa)
        if isinstance(cascade, LimitError):
            assert "steps" in str(cascade)
            assert not found
            continue
        found += 1
        assert_says(cascade, dfa)
        assert (best.num_levels, num_terms(best)) <= (cascade.num_levels, num_terms(cascade))
    assert 0 < found < 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_states", "seed", "size"),
    [(13, 35, 10_405), (15, 7, 16_236), (13, 39, 20_603), (16, 51, 19_227), (16, 50, 192_433)],
)
def test_monoids_of_ten_thousand_elements_take_a_bounded_search(
    num_states: int, seed: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    dfa = random_aperiodic_dfa(num_states, 3, rng=Random(seed))
    assert sum(1 for _ in transition_maps(dfa)) == size
    spent = record_work(monkeypatch)
    cascade = cascade_or_error(dfa)
    if isinstance(cascade, LimitError):
        assert "no cascade was found" in str(cascade)
        assert "more than" in str(cascade)
    else:
        check_cascade(cascade, dfa)
        assert not cascade.flips
    assert all(work.used <= work.limit <= SEARCH_STEPS for work in spent)
    assert sum(work.used for work in spent) <= 2 * SEARCH_STEPS


def cascade_or_error(dfa: DFA) -> Cascade | LimitError:
    try:
        return decompose(dfa)
    except LimitError as error:
        return error


def record_work(monkeypatch: pytest.MonkeyPatch) -> list[Work]:
    """Return a list to which every bound of a search is added."""
    made: list[Work] = []
    create = Work.__init__

    def record(work: Work, steps: int) -> None:
        create(work, steps)
        made.append(work)

    monkeypatch.setattr(Work, "__init__", record)
    return made


def transition_maps(dfa: DFA) -> Iterator[tuple[int, ...]]:
    """Yield the maps of all words, each once."""
    letters = list(zip(*dfa.transitions, strict=True))
    elements = [tuple(range(dfa.num_states))]
    seen = set(elements)
    for element in elements:
        yield element
        for letter in letters:
            product = tuple(letter[image] for image in element)
            if product not in seen:
                seen.add(product)
                elements.append(product)


_PRINT = """
from random import Random
from statespan.compiler.decomposition import decompose
from statespan.languages import language
for name in ("flip-flop", "tomita-7", "tomita-3", "aa-star-bb-star-cc-star-dd-star-ee-star"):
    cascade = decompose(language(name).dfa())
    for component in cascade.components:
        print(component.num_values, component.initial)
        for term in component.terms:
            print(sorted(term.letters), [(c, sorted(v)) for c, v in term.conditions], term.value)
    print([sorted(map(str, label)) for label in cascade.readout.labels], cascade.readout.default)
    for term in cascade.readout.terms:
        print([(c, sorted(v)) for c, v in term.conditions], term.label)
"""


@pytest.mark.slow
def test_a_cascade_is_the_same_in_every_process() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", _PRINT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(printed) == 1
