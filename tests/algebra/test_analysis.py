"""The analysis of a language: lazy, kept, and honest about limits."""

from __future__ import annotations

import pytest

import statespan.algebra
from statespan import Language, language
from statespan.algebra import CLASSES, analyze
from statespan.errors import LimitError, NotRegularError
from statespan.languages.automaton import DFA


def test_a_language_and_its_automaton_have_one_algebra() -> None:
    parity = language("parity")
    for source in (parity, parity.dfa()):
        analysis = analyze(source)
        assert analysis.star_free is False
        assert analysis.witness is not None
        assert analysis.witness.word == ("1",)
        assert analysis.monoid_size == len(analysis.monoid) == 2
        assert analysis.groups.names == ("Z_2",)
        assert analysis.green.num_j_classes == 1
        assert list(analysis.classes) == list(CLASSES)
        assert len(analysis.classes) == len(CLASSES)


def test_an_automaton_is_made_minimal_first() -> None:
    doubled = DFA(("a",), 0, frozenset({0, 2}), ((1,), (2,), (3,), (0,)))
    assert analyze(doubled).dfa.num_states == 2
    assert analyze(doubled).monoid_size == 2


def test_a_language_that_is_not_regular_has_no_verdict() -> None:
    analysis = analyze(language("dyck-1"))
    assert not analysis.is_regular
    assert analysis.star_free is None
    assert analysis.witness is None
    for attribute in ("dfa", "monoid", "monoid_size", "green", "groups", "classes"):
        with pytest.raises(NotRegularError, match="dyck-1 is not regular"):
            getattr(analysis, attribute)


def test_a_monoid_over_the_limit_hides_no_other_verdict() -> None:
    analysis = analyze(language("d-12"), monoid_limit=100)
    with pytest.raises(LimitError, match="more than 100 elements"):
        _ = analysis.monoid_size
    assert analysis.star_free is True
    assert analysis.classes["star-free"].holds
    assert analysis.groups.derived_length == 0
    with pytest.raises(LimitError, match="more than 100 elements"):
        analysis.classes["da"]
    assert analysis.classes["r-trivial"].holds is False


def test_results_are_kept() -> None:
    analysis = analyze(Language.from_expression("(ab)*"))
    assert analysis.dfa is analysis.dfa
    assert analysis.monoid is analysis.monoid
    assert analysis.classes["da"] is analysis.classes["da"]
    with pytest.raises(KeyError):
        analysis.classes["no such class"]


def test_the_room_lists_what_it_offers() -> None:
    names = statespan.algebra.__all__
    assert len(set(names)) == len(names)
    assert all(hasattr(statespan.algebra, name) for name in names)


@pytest.mark.parametrize(
    ("expression", "classes"),
    [
        ("(a|b)*ab", {"definite", "locally-testable", "l-trivial", "da"}),
        ("ab(a|b)*", {"reverse-definite", "locally-testable", "r-trivial", "da"}),
        ("(ab)*", {"locally-testable"}),
        ("a*b*", {"locally-testable", "piecewise-testable", "r-trivial", "l-trivial", "da"}),
        ("(a|b)*a(a|b)*a(a|b)*", {"piecewise-testable", "r-trivial", "l-trivial", "da"}),
    ],
)
def test_the_classes_of_textbook_languages(expression: str, classes: set[str]) -> None:
    verdicts = analyze(Language.from_expression(expression)).classes
    always = {"star-free", "quasi-aperiodic", "exponent-two-groups", "commutative-groups"}
    assert {n for n, v in verdicts.items() if v.holds} == classes | always | {"solvable"}
