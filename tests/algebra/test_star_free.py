"""Star-free expressions by their syntax."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statespan.algebra import is_aperiodic, is_star_free_expression
from statespan.languages.expression import dfa_from_expression, parse_expression


@pytest.mark.parametrize(
    "text", ["", "ab", "a|b", "~(.*aa.*)", "a{2,5}", "(ab)?", ".+", "~(~(a)&~(b))", "(a{3}){2}"]
)
def test_star_free_expressions(text: str) -> None:
    assert is_star_free_expression(parse_expression(text))


@pytest.mark.parametrize("text", ["a*", "(aa)*", "~(a*)", "b(a|ab+)", "(..)*", "(ab){2,}", "a&b*"])
def test_expressions_with_an_unbounded_repetition(text: str) -> None:
    assert not is_star_free_expression(parse_expression(text))


texts = st.recursive(
    st.sampled_from(["a", "b", ".", ".*", "(.*)"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}&{pair[1]})"),
        st.tuples(inner, inner).map("".join),
        inner.map(lambda text: f"~({text})"),
        inner.map(lambda text: f"({text}){{0,2}}"),
        inner.map(lambda text: f"({text})*"),
    ),
    max_leaves=7,
)


@given(texts)
@settings(max_examples=150, deadline=None)
def test_a_star_free_expression_has_a_star_free_language(text: str) -> None:
    if is_star_free_expression(parse_expression(text)):
        assert is_aperiodic(dfa_from_expression(text, "ab"))
