"""Past-time temporal logic: against expressions, against its semantics, and its errors."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statespan.algebra import is_aperiodic
from statespan.errors import ExpressionError, SymbolError
from statespan.languages import Language
from statespan.languages.automaton import DFA
from statespan.languages.expression import dfa_from_expression
from statespan.languages.temporal import (
    And,
    Atom,
    Constant,
    First,
    Formula,
    Historically,
    Not,
    Once,
    Or,
    Since,
    Yesterday,
    dfa_from_temporal,
    parse_temporal,
)


def accepts(dfa: DFA, word: Sequence[str]) -> bool:
    state = dfa.start
    for symbol in word:
        state = dfa.transitions[state][dfa.alphabet.index(symbol)]
    return state in dfa.accepting


def holds(formula: Formula, word: Sequence[str], i: int) -> bool:
    """Return whether `formula` holds at position i of `word`, from 0; -1 is before any symbol."""
    match formula:
        case Atom(name):
            return i >= 0 and word[i] == name
        case Constant(value):
            return value
        case First():
            return i == 0
        case Not(part):
            return not holds(part, word, i)
        case And(left, right):
            return holds(left, word, i) and holds(right, word, i)
        case Or(left, right):
            return holds(left, word, i) or holds(right, word, i)
        case Yesterday(part):
            return i >= 1 and holds(part, word, i - 1)
        case Once(part):
            return any(holds(part, word, j) for j in range(i + 1))
        case Historically(part):
            return all(holds(part, word, j) for j in range(i + 1))
        case Since(left, right):
            return any(
                holds(right, word, j) and all(holds(left, word, m) for m in range(j + 1, i + 1))
                for j in range(i + 1)
            )


PAIRS = [
    ("a", "(a|b)*a", "ab"),
    ("Y a", "(a|b)*a(a|b)", "ab"),
    ("O a", "(a|b)*a(a|b)*", "ab"),
    ("H a", "a*", "ab"),
    ("a S b", "(a|b|c)*ba*", "abc"),
    ("!(O (b & Y b))", "~(.*bb.*)", "ab"),
    ("O (first & a)", "a(a|b)*", "ab"),
    ("H (first -> a)", "(a.*)?", "ab"),
    ("H (a -> !Y a) & H (b -> Y a) & (O true -> b)", "(ab)*", "ab"),
    ("first", "a|b", "ab"),
    ("false", "a&b", "ab"),
    ("true", ".*", "ab"),
    ("c & Y (b S a)", ".*ab*c", "abc"),
    ("(a S b) S c", ".*c(.*ba*)?&(.*c(ba*)*)", "abc"),
]


@pytest.mark.parametrize(("formula", "expression", "alphabet"), PAIRS)
def test_formulas_agree_with_expressions(formula: str, expression: str, alphabet: str) -> None:
    temporal = dfa_from_temporal(formula, alphabet)
    regular = dfa_from_expression(expression, alphabet)
    for length in range(9):
        for word in itertools.product(alphabet, repeat=length):
            assert accepts(temporal, word) == accepts(regular, word), word
    assert temporal == regular


THREE_WAYS = [
    (
        "O a & H (b -> Y true)",
        "a(a|b)*",
        [["start", "a", "in"], ["start", "b", "out"], ["in", "a", "in"], ["in", "b", "in"]],
        ["in"],
    ),
    (
        "H (a -> !Y a) & H (b -> Y a) & (O true -> b)",
        "(ab)*",
        [["start", "a", "a"], ["start", "b", "out"], ["a", "a", "out"], ["a", "b", "start"]],
        ["start"],
    ),
    (
        "!(O (b & Y b))",
        "~(.*bb.*)",
        [["start", "a", "start"], ["start", "b", "b"], ["b", "a", "start"], ["b", "b", "out"]],
        ["start", "b"],
    ),
]


@pytest.mark.parametrize(("formula", "expression", "transitions", "accepting"), THREE_WAYS)
def test_formula_expression_and_table_agree_on_every_word_to_length_8(
    formula: str, expression: str, transitions: list[list[str]], accepting: list[str]
) -> None:
    table = {
        "alphabet": "ab",
        "start": "start",
        "accepting": accepting,
        "transitions": [*transitions, ["out", "a", "out"], ["out", "b", "out"]],
    }
    ways = [
        Language.from_temporal(formula, alphabet="ab"),
        Language.from_expression(expression, alphabet="ab"),
        Language.from_dfa(table),
    ]
    for length in range(9):
        for word in itertools.product("ab", repeat=length):
            assert len({language.accepts(word) for language in ways}) == 1, word
    assert len({language.dfa() for language in ways}) == 1


formulas = st.recursive(
    st.sampled_from([Atom("a"), Atom("b"), Constant(True), Constant(False), First()]),
    lambda inner: st.one_of(
        *[st.builds(kind, inner) for kind in (Not, Yesterday, Once, Historically)],
        *[st.builds(kind, inner, inner) for kind in (And, Or, Since)],
    ),
    max_leaves=6,
)


def show(formula: Formula) -> str:
    match formula:
        case Atom(name):
            return name
        case Constant(value):
            return "true" if value else "false"
        case First():
            return "first"
        case Not(part):
            return f"!{show(part)}"
        case Yesterday(part):
            return f"Y{show(part)}" if isinstance(part, Atom) else f"Y {show(part)}"
        case Once(part):
            return f"O {show(part)}"
        case Historically(part):
            return f"H {show(part)}"
        case And(left, right):
            return f"({show(left)} & {show(right)})"
        case Or(left, right):
            return f"({show(left)} | {show(right)})"
        case Since(left, right):
            return f"({show(left)} S {show(right)})"


@given(formulas)
@settings(max_examples=150, deadline=None)
def test_the_automaton_has_the_words_whose_last_position_satisfies_the_formula(
    formula: Formula,
) -> None:
    text = show(formula)
    assert parse_temporal(text) == formula
    dfa = dfa_from_temporal(text, "ab")
    assert is_aperiodic(dfa)
    for length in range(6):
        for word in itertools.product("ab", repeat=length):
            assert accepts(dfa, word) == holds(formula, word, length - 1)


def test_precedence() -> None:
    a, b, c = Atom("a"), Atom("b"), Atom("c")
    assert parse_temporal("a | b & c") == Or(a, And(b, c))
    assert parse_temporal("a & b | c") == Or(And(a, b), c)
    assert parse_temporal("a & b S c") == And(a, Since(b, c))
    assert parse_temporal("Y a S !b") == Since(Yesterday(a), Not(b))
    assert parse_temporal("a S b S c") == Since(Since(a, b), c)
    assert parse_temporal("a -> b -> c") == Or(Not(a), Or(Not(b), c))
    assert parse_temporal("OHa") == Once(Historically(a))


def test_names_and_escapes() -> None:
    assert parse_temporal("<up> & Y <true>") == And(Atom("up"), Yesterday(Atom("true")))
    assert parse_temporal(r"\Y S \&") == Since(Atom("Y"), Atom("&"))
    dfa = dfa_from_temporal("Y <up>", ("up", "down"))
    assert accepts(dfa, ("up", "down"))
    assert not accepts(dfa, ("down", "up"))


@pytest.mark.parametrize(
    ("text", "member"),
    [
        *(("a", False), ("!a", True), ("H a", True), ("O true", False), ("Y true", False)),
        *(("true", True), ("first", False), ("a S true", False), ("!Y true", True)),
    ],
)
def test_the_empty_word(text: str, member: bool) -> None:
    assert accepts(dfa_from_temporal(text, "ab"), ()) is member


def test_yesterday_of_true_fails_at_the_first_position() -> None:
    assert not accepts(dfa_from_temporal("Y true", "ab"), "a")
    assert accepts(dfa_from_temporal("Y true", "ab"), "aa")


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "something is missing here"),
        ("a &", 3, "something is missing here"),
        ("a b", 2, "an operator .* is missing"),
        ("(a", 0, "this parenthesis is never closed"),
        ("a)", 1, "never opened"),
        ("S a", 0, "a formula is missing before 'S'"),
        ("a | & b", 4, "a formula is missing before '&'"),
        ("<up", 0, "this '<' is never closed"),
        ("Y <>", 2, "is empty"),
        ("a\\", 1, "an operator"),
        ("Y\\", 1, "a backslash needs a character"),
        ("a - b", 2, "an operator"),
        ("a > b", 2, "an operator"),
        ("(" * 99 + "a" + ")" * 99, 60, "nested more than 60"),
        ("Y" * 99 + "a", 60, "more than 60 prefixes"),
    ],
)
def test_a_formula_that_does_not_parse_points_at_the_position(
    text: str, position: int, message: str
) -> None:
    with pytest.raises(ExpressionError, match=message) as caught:
        parse_temporal(text)
    assert caught.value.position == position


def test_symbols_must_be_in_the_alphabet() -> None:
    with pytest.raises(SymbolError, match="uses the symbol 'c'"):
        dfa_from_temporal("O c", "ab")
    with pytest.raises(SymbolError, match="uses no symbol"):
        dfa_from_temporal("H true")
    assert dfa_from_temporal("b S a").alphabet == ("a", "b")
