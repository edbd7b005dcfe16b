"""Every class against its definition, brute force, and every witness replayed."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from statespan import Language, language
from statespan.algebra import CLASSES, CounterWitness, GroupWitness, PumpedPair, decide_class
from statespan.errors import LimitError, UnknownNameError
from statespan.languages.automaton import DFA, minimize

Map = tuple[int, ...]


class Naive:
    """The syntactic semigroup of a minimal automaton, and the definitions read off literally."""

    def __init__(self, dfa: DFA, limit: int = 10_000) -> None:
        self.letters = [tuple(column) for column in zip(*dfa.transitions, strict=True)]
        self.one: Map = tuple(range(dfa.num_states))
        self.semigroup = self.close(self.letters, self.letters, limit)
        self.monoid = self.semigroup | {self.one}

    def close(self, start: Iterable[Map], by: Iterable[Map], limit: int = 10_000) -> set[Map]:
        found = set(start)
        queue = list(found)
        by = list(by)
        while queue:
            x = queue.pop()
            for a in by:
                y = self.times(x, a)
                if y not in found:
                    found.add(y)
                    queue.append(y)
                    if len(found) > limit:
                        raise OverflowError
        return found

    @staticmethod
    def times(*factors: Map) -> Map:
        result = factors[0]
        for factor in factors[1:]:
            result = tuple(factor[image] for image in result)
        return result

    def omega(self, x: Map) -> Map:
        power = x
        while self.times(power, power) != power:
            power = self.times(power, x)
        return power

    def idempotents(self) -> list[Map]:
        return [x for x in self.semigroup if self.times(x, x) == x]

    def groups(self) -> list[set[Map]]:
        found = []
        for e in (x for x in self.monoid if self.times(x, x) == x):
            local = {self.times(e, x, e) for x in self.monoid}
            found.append({x for x in local if any(self.times(x, y) == e for y in local)})
        return found

    def definite(self) -> bool:
        return all(self.times(s, e) == e for e in self.idempotents() for s in self.semigroup)

    def reverse_definite(self) -> bool:
        return all(self.times(e, s) == e for e in self.idempotents() for s in self.semigroup)

    def locally_testable(self) -> bool:
        for e in self.idempotents():
            local = {self.times(e, s, e) for s in self.semigroup}
            for s, t in itertools.product(local, repeat=2):
                if self.times(s, s) != s or self.times(s, t) != self.times(t, s):
                    return False
        return True

    def trivial(self, ideal: Callable[[Map], frozenset[Map]]) -> bool:
        return len({ideal(x) for x in self.monoid}) == len(self.monoid)

    def r_trivial(self) -> bool:
        return self.trivial(lambda x: frozenset(self.times(x, s) for s in self.monoid))

    def l_trivial(self) -> bool:
        return self.trivial(lambda x: frozenset(self.times(s, x) for s in self.monoid))

    def piecewise_testable(self) -> bool:
        return self.trivial(
            lambda x: frozenset(self.times(s, x, t) for s in self.monoid for t in self.monoid)
        )

    def da(self) -> bool:
        for x, y, z in itertools.product(self.monoid, repeat=3):
            e = self.omega(self.times(x, y, z))
            if self.times(e, y, e) != e:
                return False
        return True

    def aperiodic(self, elements: Iterable[Map]) -> bool:
        return all(self.times(self.omega(x), x) == self.omega(x) for x in elements)

    def star_free(self) -> bool:
        return self.aperiodic(self.monoid)

    def quasi_aperiodic(self) -> bool:
        powers = [set(self.letters)]
        while True:
            s = len(powers)
            while len(powers) < 2 * s:
                powers.append({self.times(x, a) for x in powers[-1] for a in self.letters})
            if powers[s - 1] == powers[2 * s - 1]:
                return self.aperiodic(powers[s - 1])
            powers.append({self.times(x, a) for x in powers[-1] for a in self.letters})
            powers = powers[: s + 1]

    def commutative_groups(self) -> bool:
        return all(
            self.times(g, h) == self.times(h, g)
            for group in self.groups()
            for g in group
            for h in group
        )

    def exponent_two_groups(self) -> bool:
        return all(self.times(g, g) == self.omega(g) for group in self.groups() for g in group)

    def solvable(self) -> bool:
        return all(is_solvable(group, self.times, self.omega) for group in self.groups())


def is_solvable(group: set[Map], times: Callable[..., Map], omega: Callable[[Map], Map]) -> bool:
    one = omega(next(iter(group)))
    while len(group) > 1:
        inverse = {g: next(h for h in group if times(g, h) == one) for g in group}
        commutators = {times(inverse[g], inverse[h], g, h) for g in group for h in group}
        derived = set(commutators)
        while True:
            larger = {times(g, h) for g in derived for h in commutators}
            if larger <= derived:
                break
            derived |= larger
        if derived == group:
            return False
        group = derived
    return True


DEFINITIONS: dict[str, Callable[[Naive], bool]] = {
    name: getattr(Naive, name.replace("-", "_")) for name in CLASSES
}


def run(dfa: DFA, word: Sequence[str], state: int | None = None) -> int:
    state = dfa.start if state is None else state
    for symbol in word:
        state = dfa.transitions[state][dfa.alphabet.index(symbol)]
    return state


def accepts(dfa: DFA, word: Sequence[str]) -> bool:
    return run(dfa, word) in dfa.accepting


def element(dfa: DFA, word: Sequence[str]) -> Map:
    return tuple(run(dfa, word, state) for state in range(dfa.num_states))


def replay(name: str, dfa: DFA, witness: object) -> None:
    """Check that `witness` proves the language of the minimal `dfa` to be outside the class."""
    match witness:
        case CounterWitness():
            replay_counter(dfa, witness)
        case PumpedPair():
            for n in range(4):
                left, right = witness.words(n)
                assert accepts(dfa, left) != accepts(dfa, right), (name, n)
            REPLAYS[name](dfa, witness)
        case GroupWitness():
            replay_group(dfa, witness)
        case _:
            raise AssertionError(witness)


def replay_counter(dfa: DFA, witness: CounterWitness) -> None:
    assert witness.period > 1
    assert run(dfa, witness.prefix) == witness.state
    cycle = [run(dfa, witness.word * n, witness.state) for n in range(witness.period + 1)]
    assert cycle[0] == cycle[-1]
    assert len(set(cycle)) == witness.period
    members = [accepts(dfa, witness.pumped(n)) for n in range(3 * witness.period)]
    assert members[0] != members[1]
    assert members == members[: witness.period] * 3


def replay_definite(dfa: DFA, pair: PumpedPair) -> None:
    left, right = pair.words(7)
    assert left[-7:] == right[-7:]
    assert min(len(left), len(right)) >= 7


def replay_reverse_definite(dfa: DFA, pair: PumpedPair) -> None:
    left, right = pair.words(7)
    assert left[:7] == right[:7]
    assert min(len(left), len(right)) >= 7


def factors(word: Sequence[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(word[i : i + length]) for i in range(len(word) - length + 1)}


def replay_locally_testable(dfa: DFA, pair: PumpedPair) -> None:
    left, right = pair.words(4)
    for length in range(1, 5):
        assert left[: length - 1] == right[: length - 1]
        assert left[len(left) - length + 1 :] == right[len(right) - length + 1 :]
        assert factors(left, length) == factors(right, length)


def subwords(word: Sequence[str], length: int) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = {()}
    for symbol in word:
        found |= {(*part, symbol) for part in found if len(part) < length}
    return found


def replay_piecewise_testable(dfa: DFA, pair: PumpedPair) -> None:
    left, right = pair.words(4)
    assert subwords(left, 4) == subwords(right, 4)


def elements_named(dfa: DFA, pair: PumpedPair, *names: str) -> list[Map]:
    words = dict(pair.names)
    return [element(dfa, words[name]) for name in names]


def replay_r_trivial(dfa: DFA, pair: PumpedPair) -> None:
    naive = Naive(dfa)
    s, t = elements_named(dfa, pair, "s", "t")
    power = naive.omega(naive.times(s, t))
    assert naive.times(power, s) != power
    x, z, s_word, t_word = (dict(pair.names)[name] for name in ("x", "z", "s", "t"))
    both = (s_word + t_word) * 2
    assert pair.words(1) == (x + both + z, x + both + s_word + z)


def replay_l_trivial(dfa: DFA, pair: PumpedPair) -> None:
    naive = Naive(dfa)
    s, t = elements_named(dfa, pair, "s", "t")
    power = naive.omega(naive.times(s, t))
    assert naive.times(t, power) != power
    x, z, s_word, t_word = (dict(pair.names)[name] for name in ("x", "z", "s", "t"))
    both = (s_word + t_word) * 2
    assert pair.words(1) == (x + both + z, x + t_word + both + z)


def replay_da(dfa: DFA, pair: PumpedPair) -> None:
    naive = Naive(dfa)
    s, t = elements_named(dfa, pair, "s", "t")
    power = naive.omega(naive.times(s, t))
    assert naive.times(power, s, power) != power


def orbit_of(dfa: DFA, word: Sequence[str], state: int) -> list[int]:
    orbit = [state]
    while (following := run(dfa, word, orbit[-1])) != state:
        assert len(orbit) <= dfa.num_states
        orbit.append(following)
    return orbit


def replay_quasi_aperiodic(dfa: DFA, pair: PumpedPair) -> None:
    words = dict(pair.names)
    assert len(words["u"]) == len(words["v"]) > 0
    orbit = orbit_of(dfa, words["u"], run(dfa, words["x"]))
    assert len(orbit) > 1
    assert all(run(dfa, words["v"], state) == state for state in orbit)
    assert len({len(word) for word in pair.words(3)}) == 1


def replay_exponent_two(dfa: DFA, pair: PumpedPair) -> None:
    words = dict(pair.names)
    assert len(orbit_of(dfa, words["u"], run(dfa, words["x"]))) > 2


def replay_commutative(dfa: DFA, pair: PumpedPair) -> None:
    words = dict(pair.names)
    state = run(dfa, words["x"])
    assert run(dfa, words["u"] + words["v"], state) != run(dfa, words["v"] + words["u"], state)
    orbit_of(dfa, words["u"], state)
    orbit_of(dfa, words["v"], state)


REPLAYS: dict[str, Callable[[DFA, PumpedPair], None]] = {
    "definite": replay_definite,
    "reverse-definite": replay_reverse_definite,
    "locally-testable": replay_locally_testable,
    "piecewise-testable": replay_piecewise_testable,
    "r-trivial": replay_r_trivial,
    "l-trivial": replay_l_trivial,
    "da": replay_da,
    "quasi-aperiodic": replay_quasi_aperiodic,
    "exponent-two-groups": replay_exponent_two,
    "commutative-groups": replay_commutative,
}


def replay_group(dfa: DFA, witness: GroupWitness) -> None:
    position = {state: index for index, state in enumerate(witness.states)}
    permutations = [
        tuple(position[run(dfa, word, state)] for state in witness.states) for word in witness.words
    ]
    naive = Naive(dfa)
    group = naive.close(permutations, permutations)
    assert len(group) == witness.order
    assert not is_solvable(group, naive.times, naive.omega)


def check(dfa: DFA) -> None:
    """Check every class on the minimal `dfa`."""
    naive = Naive(dfa)
    for name, definition in DEFINITIONS.items():
        verdict = decide_class(name, dfa)
        assert verdict.holds == definition(naive), (name, dfa)
        assert verdict.holds == (verdict.witness is None)
        if not verdict.holds:
            replay(name, dfa, verdict.witness)


def test_classes_are_their_definitions(some_dfas: list[DFA]) -> None:
    for dfa in some_dfas:
        check(dfa)


@pytest.mark.exhaustive
def test_classes_are_their_definitions_on_all_small_automata(three_state_dfas: list[DFA]) -> None:
    assert len(three_state_dfas) == 1054
    for dfa in three_state_dfas:
        check(dfa)


@st.composite
def dfas(draw: st.DrawFn, max_states: int = 5, max_symbols: int = 3) -> DFA:
    n = draw(st.integers(1, max_states))
    k = draw(st.integers(1, max_symbols))
    states = st.integers(0, n - 1)
    rows = draw(st.lists(st.tuples(*[states] * k), min_size=n, max_size=n))
    accepting = draw(st.frozensets(states))
    return minimize(DFA(tuple("abc"[:k]), 0, accepting, tuple(rows)))


@given(dfas())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_classes_are_their_definitions_on_random_automata(dfa: DFA) -> None:
    try:
        Naive(dfa, limit=60)
    except OverflowError:
        assume(False)
    check(dfa)


@pytest.mark.exhaustive
@given(dfas(max_states=6))
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
def test_classes_are_their_definitions_on_many_random_automata(dfa: DFA) -> None:
    try:
        Naive(dfa, limit=100)
    except OverflowError:
        assume(False)
    check(dfa)


IN_CLASS = {
    "definite": ["(a|b)*ab", "~(.*)a|b", "(a|b)*a"],
    "reverse-definite": ["ab(a|b)*", "a|ba"],
    "locally-testable": ["(ab)*", "~(.*aa.*)", "a*b*"],
    "piecewise-testable": ["a*b*", "(a|b)*a(a|b)*b(a|b)*"],
    "r-trivial": ["a*b(a|b)*", "(a|b)*a(a|b)*"],
    "l-trivial": ["(a|b)*ba*", "(a|b)*a(a|b)*"],
    "da": ["a*b(a|b)*", "(a|b)*ba*", "(a|c)*a(b|c)*"],
    "star-free": ["(ab)*", "(a(ab)*b)*"],
    "quasi-aperiodic": ["(aa)*", "(aa|ab|ba|bb)*", "(ab)*"],
    "exponent-two-groups": ["(aa)*", "(b*ab*a)*b*"],
    "commutative-groups": ["(aaa)*", "(aaaaaa)*"],
    "solvable": ["(aaa)*", "(ab)*"],
}
NOT_IN_CLASS = {
    "definite": ["ab(a|b)*", "(ab)*", "(aa)*"],
    "reverse-definite": ["(a|b)*ab", "(ab)*", "ba*"],
    "locally-testable": ["(a|b)*a(a|b)*b(a|b)*a(a|b)*", "(aa)*", "a*ba*", "c*a(a|b|c)*"],
    "piecewise-testable": ["(a|b)*a", "a(a|b)*", "(ab)*"],
    "r-trivial": ["(a|b)*a", "(ab)*"],
    "l-trivial": ["a(a|b)*", "(ab)*"],
    "da": ["(ab)*", "~(.*aa.*)&(a|b)*", "(aa)*"],
    "star-free": ["(aa)*", "(abab)*"],
    "quasi-aperiodic": ["(b*ab*a)*b*", "(b*ab*ab*a)*b*"],
    "exponent-two-groups": ["(aaa)*", "(aaaa)*"],
}


@pytest.mark.parametrize(
    ("name", "expression"),
    [(name, text) for name, texts in IN_CLASS.items() for text in texts],
)
def test_textbook_members_are_in_their_class(name: str, expression: str) -> None:
    assert decide_class(name, Language.from_expression(expression).dfa()).holds


@pytest.mark.parametrize(
    ("name", "expression"),
    [(name, text) for name, texts in NOT_IN_CLASS.items() for text in texts],
)
def test_textbook_outsiders_are_not_in_the_class(name: str, expression: str) -> None:
    dfa = Language.from_expression(expression).dfa()
    verdict = decide_class(name, dfa)
    assert not verdict.holds
    replay(name, dfa, verdict.witness)


@pytest.mark.parametrize(
    ("group", "outside"),
    [
        ("Z_2", set()),
        ("Z_2xZ_2", set()),
        ("Z_4", {"exponent-two-groups"}),
        ("S_3", {"exponent-two-groups", "commutative-groups"}),
        ("A_4", {"exponent-two-groups", "commutative-groups"}),
        ("S_4", {"exponent-two-groups", "commutative-groups"}),
        ("A_5", {"exponent-two-groups", "commutative-groups", "solvable"}),
        ("S_5", {"exponent-two-groups", "commutative-groups", "solvable"}),
    ],
)
def test_word_problems_have_the_classes_of_their_group(group: str, outside: set[str]) -> None:
    dfa = language("word-problem", group=group).dfa()
    for name in ("exponent-two-groups", "commutative-groups", "solvable"):
        verdict = decide_class(name, dfa)
        assert verdict.holds == (name not in outside)
        if not verdict.holds:
            replay(name, dfa, verdict.witness)


CATALOGUE = ["d-2", "d-3", "tomita-3", "tomita-4", "tomita-7", "abab-star", "flip-flop"]


@pytest.mark.parametrize("name", CATALOGUE)
def test_witnesses_of_the_catalogue_replay(name: str) -> None:
    dfa = language(name).dfa()
    for class_name in CLASSES:
        verdict = decide_class(class_name, dfa)
        if not verdict.holds:
            replay(class_name, dfa, verdict.witness)


def test_an_unknown_class_names_the_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="star-free"):
        decide_class("starfree", language("parity").dfa())


def test_the_search_for_local_testability_has_a_limit() -> None:
    rows = tuple((min(q + 1, 199), 0) for q in range(200))
    dfa = DFA(("a", "b"), 0, frozenset({199}), rows)
    with pytest.raises(LimitError, match="200 states, so 8,000,000 tuples"):
        decide_class("locally-testable", dfa)
