"""The verdicts: computed from the algebra, replayed, and consistent with one another."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import statespan
from statespan.algebra import (
    ARCHITECTURES,
    THEOREMS,
    Judgment,
    cascade_height,
    has_twin_entries,
    judge,
    last_symbol_decides,
    memory_order,
    periodic_memory,
)
from statespan.errors import LimitError, NotRegularError, UnknownNameError
from statespan.languages import LANGUAGES, Language
from statespan.languages.automaton import DFA
from statespan.languages.machine import Machine, Memory, State

STAR_FREE = {
    "tomita-1", "tomita-2", "tomita-4", "tomita-7", "ab-star-d-bc-star", "012-star-02-star",
    "aa-star-bb-star-cc-star-dd-star-ee-star", "d-2", "d-3", "d-4", "d-12", "flip-flop",
    "bounded-dyck", "bounded-anbn",
}  # fmt: skip
COUNTERS = {
    "dyck-1", "shuffle-2", "shuffle-4", "shuffle-6", "boolean-3", "boolean-5", "anbn", "anbncn",
    "anbncndn",
}  # fmt: skip
GROUPS = {
    "tomita-3", "tomita-5", "tomita-6", "parity", "aa-star", "aaaa-star", "abab-star",
    "word-problem", "bounded-palindromes",
}  # fmt: skip
NONNEGATIVE = ("non-negative selective", "non-negative tied")


@cache
def judged(name: str) -> Judgment:
    return judge(statespan.language(name))


def verdicts(name: str) -> dict[str, str]:
    return {cell.architecture.name: cell.verdict for cell in judged(name).table}


def test_a_stack_without_bound_is_beyond_every_recurrence() -> None:
    table = verdicts("dyck-2")
    recurrent = {cell.architecture.name for cell in judged("dyck-2").table[:10]}
    assert {table[name] for name in recurrent} == {"no"}


def test_every_language_of_the_catalogue_has_a_known_kind() -> None:
    assert set(LANGUAGES.names()) == STAR_FREE | COUNTERS | GROUPS | {"dyck-2"}
    for name in LANGUAGES.names():
        expected = {name in STAR_FREE: True, name in GROUPS: False}.get(True)
        assert judged(name).star_free is expected, name


@pytest.mark.parametrize("name", sorted(STAR_FREE))
def test_nonnegative_gates_express_star_free_languages(name: str) -> None:
    assert all(verdicts(name)[family] == "yes" for family in NONNEGATIVE)


@pytest.mark.parametrize("name", sorted(GROUPS))
def test_every_no_for_a_nonnegative_gate_has_a_witness_that_can_be_pumped(name: str) -> None:
    """u, uu, uuu, … between prefix and suffix: membership alternates with the period."""
    judgment = judged(name)
    assert all(verdicts(name)[family] == "no" for family in NONNEGATIVE)
    witness = judgment.witness
    assert witness is not None
    members = [judgment.language.accepts(witness.pumped(n)) for n in range(6 * witness.period)]
    assert members == members[: witness.period] * 6
    assert len(set(members)) == 2


@pytest.mark.parametrize("name", sorted(COUNTERS))
def test_counters_need_numbers_that_grow(name: str) -> None:
    table = verdicts(name)
    assert table["non-negative selective"] == table["nonlinear recurrence"] == "growing precision"
    assert table["non-negative tied"] == table["fixed real decay"] == "no"
    with pytest.raises(NotRegularError):
        _ = judged(name).monoid_size


def test_the_groups_decide_between_the_signed_the_complex_and_the_dense() -> None:
    rows = {
        "parity": ("yes", "yes", "yes"),
        "tomita-3": ("yes", "yes", "yes"),
        "tomita-6": ("no", "yes", "yes"),
        "word-problem": ("no", "no", "yes"),
    }
    for name, row in rows.items():
        table = verdicts(name)
        families = ("real selective", "complex selective", "products and dense")
        assert tuple(table[family] for family in families) == row, name
    s3 = judge("word-problem:group=S_3")
    assert s3.cell("AUSSM").verdict == "yes"
    assert "at least 2 layers" in s3.cell("AUSSM").answers.fixed.cost


def test_time_invariant_gates_count_positions_and_not_symbols() -> None:
    assert verdicts("aa-star")["time-invariant complex"] == "yes"
    assert verdicts("abab-star")["time-invariant complex"] == "yes"
    assert verdicts("parity")["time-invariant complex"] == "no"
    assert verdicts("flip-flop")["time-invariant complex"] == "open"
    assert judge("(aaa)*").cell("S4").verdict == "yes"
    assert judge("(aaa)*").cell("Mamba with signed gates").verdict == "no"


def test_a_word_problem_that_is_not_solvable_is_beyond_attention_at_any_precision() -> None:
    table = verdicts("word-problem")
    for family in ("transformer", "transformer with positions", "hybrid"):
        assert table[family] == "no"


def test_what_holds_at_fixed_width_holds_at_growing_precision() -> None:
    for name in LANGUAGES.names():
        for cell in judged(name).table:
            fixed, growing = cell.answers
            if fixed.verdict == "yes":
                assert growing.verdict == "yes", (name, cell.architecture.name)
            if growing.verdict == "no":
                assert fixed.verdict == "no", (name, cell.architecture.name)


def test_more_expressive_families_never_lose_what_weaker_ones_have() -> None:
    chains = [
        ("fixed real decay", "time-invariant complex", "complex selective"),
        ("non-negative tied", "non-negative selective", "real selective", "complex selective"),
        ("complex selective", "products and dense"),
        ("delta rule", "reflections", "products and dense"),
        ("transformer", "transformer with positions"),
        ("transformer", "hybrid"),
        ("non-negative selective", "hybrid"),
    ]
    for name in LANGUAGES.names():
        table = verdicts(name)
        for chain in chains:
            known = [table[family] for family in chain]
            for weaker, stronger in pairwise(known):
                if weaker == "yes":
                    assert stronger == "yes", (name, chain, known)


def test_closed_forms_have_the_sizes_of_their_theorems() -> None:
    cost = judged("bounded-dyck").cell("Mamba").answers.fixed.cost
    assert cost == "2 layers, 31 numbers (Theorem 6)"
    cost = judge("bounded-dyck:brackets=8,depth=5").cell("Mamba").answers.fixed.cost
    assert "16 numbers" in cost
    assert "2 layers" in judged("flip-flop").cell("Mamba").answers.fixed.cost


@pytest.mark.parametrize(
    ("name", "height"),
    [
        ("tomita-1", 1), ("tomita-2", 2), ("tomita-4", 3), ("tomita-7", 5), ("d-2", 3), ("d-3", 4),
        ("d-4", 5), ("d-12", 13), ("012-star-02-star", 1), ("ab-star-d-bc-star", 3),
        ("aa-star-bb-star-cc-star-dd-star-ee-star", 6), ("flip-flop", 4),
    ],
)  # fmt: skip
def test_the_cascade_has_as_many_levels_as_the_holonomy_decomposition(
    name: str, height: int
) -> None:
    assert cascade_height(statespan.language(name).dfa()) == height


def test_closed_forms_belong_to_the_language_and_not_to_its_name() -> None:
    impostor = judge(Language.from_expression("(ab)*c", name="flip-flop"))
    assert impostor.cell("Mamba").answers.fixed.theorem.key != "flip-flop"
    assert "Theorem 1" not in impostor.cell("Mamba").answers.fixed.cost
    same = judge(statespan.language("flip-flop", ignore=0.5)).cell("Mamba")
    assert same.answers.fixed.theorem.key == "flip-flop"
    renamed = Language.from_machine("mine", statespan.language("bounded-dyck").machine)
    assert "31 numbers" in judge(renamed).cell("Mamba").answers.fixed.cost


def test_a_cascade_over_the_limit_says_so() -> None:
    with pytest.raises(LimitError, match="at most 3 image sets"):
        cascade_height(statespan.language("d-4").dfa(), limit=3)


def brute_force_memory(dfa: DFA, modulus: int, longest: int) -> int | None:
    """Return the least k for which words up to `longest` show no two answers to one context."""
    language = Language.from_dfa(dfa)
    prefixes: list[tuple[str, ...]] = [()]
    for word in prefixes:
        if len(word) < longest:
            prefixes += [(*word, symbol) for symbol in dfa.alphabet]
    answers = [(word, language.next_symbols(word)) for word in prefixes]
    answers = [(word, answer) for word, answer in answers if answer]
    for k in range(longest // 2 + 1):
        contexts: dict[object, set[object]] = {}
        for word, answer in answers:
            if len(word) >= k:
                key = (word[len(word) - k :], len(word) % modulus)
                contexts.setdefault(key, set()).add(answer)
        if all(len(found) == 1 for found in contexts.values()):
            return k
    return None


@given(
    st.integers(1, 4).flatmap(
        lambda n: st.tuples(
            st.lists(
                st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=n, max_size=n
            ),
            st.frozensets(st.integers(0, n - 1)),
        )
    ),
    st.integers(1, 3),
)
def test_the_memory_that_prediction_needs_is_what_words_show(
    table: tuple[list[tuple[int, int]], frozenset[int]], modulus: int
) -> None:
    rows, accepting = table
    dfa = Language.from_dfa(DFA(("a", "b"), 0, accepting, tuple(rows))).dfa()
    order = memory_order(dfa, modulus=modulus)
    shown = brute_force_memory(dfa, modulus, 10)
    if order is not None and order <= 5:
        assert shown == order
    elif order is None:
        # Two states that no number of symbols tells apart show themselves on short words.
        assert shown is None or shown >= 3


def test_the_memory_of_the_catalogue() -> None:
    found = {
        name: periodic_memory(statespan.language(name).dfa())
        for name in ("tomita-1", "tomita-2", "tomita-4", "abab-star", "d-2", "parity", "d-3")
    }
    assert found == {
        "tomita-1": (1, 0),
        "tomita-2": (1, 1),
        "tomita-4": (1, 2),
        "abab-star": (4, 0),
        "d-2": (2, 1),
        "parity": None,
        "d-3": None,
    }


def test_every_theorem_is_used_and_says_where_it_is_from() -> None:
    source = Path(statespan.algebra.rules.__file__).read_text(encoding="utf-8")
    for key, theorem in THEOREMS.items():
        assert key == theorem.key
        used = f'"{key}"' in source
        assert used, key
        assert theorem.statement.endswith(".")
        assert (
            "arXiv" in theorem.source or theorem.basis != "theorem" or "classical" in theorem.source
        )


def test_a_language_that_no_theorem_speaks_of_is_open() -> None:
    class SquareMachine(Machine):
        memory: Memory = "unbounded"
        alphabet = ("a",)

        @property
        def start(self) -> State:
            return 0

        def step(self, state: Any, symbol: str) -> State:
            return state + 1

        def is_accepting(self, state: Any) -> bool:
            return math.isqrt(state) ** 2 == state

    judgment = judge(Language.from_machine("squares", SquareMachine()))
    assert judgment.language.accepts("aaaa")
    assert judgment.star_free is None
    assert judgment.cell("Mamba").verdict == "open"
    assert judgment.cell("Mamba").answers.fixed.verdict == "no"


def test_parity_is_known_under_every_name() -> None:
    for said in ("parity", "(a|ba*b)*", "a*ba*(ba*ba*)*"):
        cells = judge(said)
        assert cells.cell("transformer with positions").verdict == "growing precision"
        assert cells.cell("Mamba").answers.fixed.theorem.key == "nonnegative-parity"


def test_attention_predicts_with_the_last_symbol_what_it_cannot_recognize() -> None:
    """Not R-trivial, but "c was seen" and the last symbol decide what may follow: left open."""
    judgment = judge("(b|ab)*a?c(b|ab)*a?")
    assert not judgment.classes["r-trivial"].holds
    assert judgment.cell("NoPE transformer").answers.fixed.verdict == "open"
    assert judged("flip-flop").cell("NoPE transformer").answers.fixed.verdict == "no"
    assert has_twin_entries(statespan.language("parity").dfa())
    assert not has_twin_entries(judgment.analysis.dfa)


def test_the_delta_rule_holds_no_group_until_beta_reaches_two() -> None:
    assert judged("parity").cell("Gated DeltaNet").verdict == "no"
    assert judged("parity").cell("OLMo Hybrid").verdict == "yes"
    assert judged("dyck-1").cell("DeltaNet").verdict == "no"


def test_a_memory_that_is_costly_to_find_hides_nothing_else() -> None:
    judgment = judge(Language.from_expression(".*a.{9}", alphabet="ab"))
    assert judgment.star_free is True
    assert judgment.cell("RetNet").verdict == "open"
    assert judgment.cell("RetNet").answers.fixed.theorem.key == "memory-limit"
    assert judgment.cell("Mamba").verdict == "yes"


def test_the_last_symbol_decides_where_the_memory_is_at_most_one() -> None:
    for name in LANGUAGES.names():
        if name in STAR_FREE - {"bounded-dyck"}:
            dfa = statespan.language(name).dfa()
            assert last_symbol_decides(dfa) == (memory_order(dfa) in {0, 1}), name


def test_a_costly_monoid_does_not_hide_the_verdict() -> None:
    judgment = judge(statespan.language("d-12"), monoid_limit=100)
    assert judgment.star_free is True
    assert judgment.cell("Mamba").verdict == "yes"
    with pytest.raises(LimitError, match="100"):
        _ = judgment.monoid_size


def test_a_language_can_be_said_in_every_way() -> None:
    table = {
        "alphabet": ["a"],
        "start": 0,
        "accepting": [0],
        "transitions": [[0, "a", 1], [1, "a", 0]],
    }
    dfa = Language.from_dfa(table).dfa()
    for said in ("aa-star", "(aa)*", dfa, Language.from_dfa(table)):
        assert judge(said).star_free is False
    assert judge(Language.from_temporal("b & Y O a", alphabet="ab")).star_free is True
    with pytest.raises(UnknownNameError):
        judge("partiy")
    with pytest.raises(KeyError):
        judge("parity").cell("Mamba-7")


def test_families_have_names_of_their_own() -> None:
    names = [family.name for family in ARCHITECTURES]
    models = [model for family in ARCHITECTURES for model in family.models]
    assert len(set(names)) == len(names) == 13
    assert len(set(models)) == len(models)


def test_an_empty_language_and_all_words_are_trivial() -> None:
    for expression in ("a&b", "(a|b)*", "()|a|b"):
        judgment = judge(expression)
        assert judgment.star_free is True
        assert judgment.cell("Mamba").verdict == "yes"
