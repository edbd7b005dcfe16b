"""Expressions against Python's `re` and against sets of words."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import sys
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from statespan import Language
from statespan.errors import ExpressionError, InputError, LimitError, SymbolError

LONGEST = 5
ALL = frozenset("".join(w) for n in range(LONGEST + 1) for w in itertools.product("ab", repeat=n))
UNION, INTERSECTION, SEQUENCE, FACTOR, ATOM = range(5)
Words = frozenset[str]


@dataclass(frozen=True)
class Piece:
    """An expression's text, how tightly it binds, and its words up to `LONGEST`."""

    text: str
    level: int
    words: Words

    def at(self, level: int) -> str:
        """Return the text, in parentheses only where something that binds tighter is needed."""
        return self.text if self.level >= level else f"({self.text})"


def concatenated(left: Words, right: Words) -> Words:
    return frozenset(x + y for x in left for y in right if len(x) + len(y) <= LONGEST)


def repeated(words: Words, low: int, high: int | None) -> Words:
    power, result = frozenset({""}), frozenset[str]()
    for count in range(low + LONGEST + 1 if high is None else high + 1):
        result |= power if count >= low else frozenset()
        power = concatenated(power, words)
    return result


REPEATS: dict[str, tuple[int, int | None]] = {
    "*": (0, None),
    "+": (1, None),
    "?": (0, 1),
    "{0}": (0, 0),
    "{2}": (2, 2),
    "{1,}": (1, None),
    "{2,}": (2, None),
    "{1,3}": (1, 3),
    "{,2}": (0, 2),
}
LEAVES = [
    Piece("a", ATOM, frozenset("a")),
    Piece("b", ATOM, frozenset("b")),
    Piece(".", ATOM, frozenset("ab")),
    Piece("", SEQUENCE, frozenset({""})),
]


def union(left: Piece, right: Piece) -> Piece:
    return Piece(f"{left.at(UNION)}|{right.at(UNION)}", UNION, left.words | right.words)


def intersection(left: Piece, right: Piece) -> Piece:
    text = f"{left.at(INTERSECTION)}&{right.at(INTERSECTION)}"
    return Piece(text, INTERSECTION, left.words & right.words)


def sequence(left: Piece, right: Piece) -> Piece:
    text = left.at(SEQUENCE) + right.at(SEQUENCE)
    return Piece(text, SEQUENCE, concatenated(left.words, right.words))


def complement(piece: Piece) -> Piece:
    return Piece(f"~{piece.at(FACTOR)}", FACTOR, ALL - piece.words)


def repetition(piece: Piece, repeat: str) -> Piece:
    words = repeated(piece.words, *REPEATS[repeat])
    return Piece(piece.at(ATOM) + repeat, FACTOR, words)


def plain_pieces(children: st.SearchStrategy[Piece]) -> st.SearchStrategy[Piece]:
    return st.one_of(
        st.builds(union, children, children),
        st.builds(sequence, children, children),
        st.builds(repetition, children, st.sampled_from(sorted(REPEATS))),
    )


def all_pieces(children: st.SearchStrategy[Piece]) -> st.SearchStrategy[Piece]:
    return st.one_of(
        plain_pieces(children),
        st.builds(intersection, children, children),
        st.builds(complement, children),
    )


def words_of(text: str, longest: int = LONGEST) -> Words:
    made = Language.from_expression(text, alphabet="ab")
    assert made.alphabet == ("a", "b")
    strings = (w for n in range(longest + 1) for w in itertools.product("ab", repeat=n))
    return frozenset(word for word in map("".join, strings) if made.accepts(word))


@settings(deadline=None, max_examples=200)
@given(st.recursive(st.sampled_from(LEAVES), plain_pieces, max_leaves=8))
def test_the_operators_that_re_has_mean_the_same_there(piece: Piece) -> None:
    compiled = re.compile(piece.text)
    accepted = words_of(piece.text, 6)
    for length in range(7):
        for word in map("".join, itertools.product("ab", repeat=length)):
            assert (word in accepted) == bool(compiled.fullmatch(word)), word


@settings(deadline=None, max_examples=150)
@given(st.recursive(st.sampled_from(LEAVES), all_pieces, max_leaves=8))
def test_an_expression_means_the_set_of_words_its_parts_make(piece: Piece) -> None:
    assert words_of(piece.text) == piece.words


@pytest.mark.parametrize(
    ("text", "grouped", "otherwise"),
    [
        ("~a*", "~(a*)", "(~a)*"),
        ("~ab", "(~a)b", "~(ab)"),
        ("a~b", "a(~b)", "~(ab)"),
        ("~a&b", "(~a)&b", "~(a&b)"),
        ("~a|b", "(~a)|b", "~(a|b)"),
        ("a|b&c", "a|(b&c)", "(a|b)&c"),
        ("a&b|c", "(a&b)|c", "a&(b|c)"),
        ("ab&.b", "(ab)&(.b)", "a(b&.)b"),
        ("ab|c", "(ab)|c", "a(b|c)"),
        ("ab*", "a(b*)", "(ab)*"),
        ("ab{2}", "abb", "abab"),
        ("~~a", "a", "~a"),
        ("~a+?", "~((a+)?)", "~(a+)"),
        ("a{2}{3}", "a{6}", "a{2}a{3}"),
        ("a|", "a?", "a"),
        ("()", "a{0}", "a&b"),
    ],
)
def test_operators_bind_as_stated(text: str, grouped: str, otherwise: str) -> None:
    made, same, other = (
        Language.from_expression(each, alphabet="abc") for each in (text, grouped, otherwise)
    )
    assert made.counterexample_to_equivalence(same) is None
    assert made.counterexample_to_equivalence(other) is not None


def test_complement_of_a_star_has_the_words_with_another_symbol() -> None:
    made = Language.from_expression("~a*", alphabet="ab")
    assert not made.accepts("")
    assert not made.accepts("aa")
    assert made.accepts("b")
    assert made.accepts("aba")


@pytest.mark.parametrize("symbol", "|&~*+?{}().<>\\")
def test_a_backslash_makes_an_operator_a_symbol(symbol: str) -> None:
    made = Language.from_expression(f"a\\{symbol}*")
    assert set(made.alphabet) == {"a", symbol}
    pattern = re.compile(rf"a\{symbol}*")
    for word in map("".join, itertools.product(["a", symbol], repeat=3)):
        assert made.accepts(word) == bool(pattern.fullmatch(word))


def test_a_name_in_angle_brackets_is_one_symbol() -> None:
    made = Language.from_expression("(<up><down>|<turn left>)+")
    assert made.alphabet == ("down", "turn left", "up")
    assert made.accepts(("up", "down", "turn left"))
    assert not made.accepts(("up", "turn left"))


@pytest.mark.parametrize(("text", "word"), [("<a>b", "ab"), ("<(>x<*>", "(x*"), ("a b", "a b")])
def test_names_of_one_character_and_blanks_are_plain_symbols(text: str, word: str) -> None:
    made = Language.from_expression(text)
    assert list(made.words(4)) == [word]


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("(a", 0, "this parenthesis is never closed"),
        ("a(b(c)", 1, "this parenthesis is never closed"),
        ("ab)", 2, "this closing parenthesis was never opened"),
        (")", 0, "this closing parenthesis was never opened"),
        ("*a", 0, "'*' has nothing to repeat"),
        ("a|+", 2, "'+' has nothing to repeat"),
        ("a&?b", 2, "'?' has nothing to repeat"),
        ("(*)", 1, "'*' has nothing to repeat"),
        ("~*", 1, "'*' has nothing to repeat"),
        ("{2}", 0, "'{' has nothing to repeat"),
        ("a~", 2, "something is missing here"),
        ("a~|b", 2, "a symbol is missing before '|'"),
        ("(~)", 2, "a symbol is missing before ')'"),
        ("a{2", 1, "this brace is never closed"),
        ("a{}", 1, "a repetition is"),
        ("a{,}", 1, "a repetition is"),
        ("a{x}", 1, "a repetition is"),
        ("a{-1}", 1, "a repetition is"),
        ("a{1,2,3}", 1, "a repetition is"),
        ("a{3,2}", 1, "m ≤ n, got 3 and 2"),
        ("a{10001}", 1, "at most 10000"),
        ("a}", 1, "closes nothing"),
        ("a>", 1, "closes nothing"),
        ("a<b", 1, "this '<' is never closed"),
        ("a<>", 1, "is empty"),
        ("ab\\", 2, "a backslash needs a character after it"),
        ("(" * 61 + "a" + ")" * 61, 60, "nested more than 60 deep"),
        ("a" + "*" * 99, None, "more than 60 repetitions"),
    ],
)
def test_what_does_not_parse_is_pointed_at(text: str, position: int | None, message: str) -> None:
    with pytest.raises(ExpressionError, match=re.escape(message)) as caught:
        Language.from_expression(text, alphabet="abc")
    assert caught.value.text == text
    if position is not None:
        assert caught.value.position == position
    assert f"at position {caught.value.position}:" in str(caught.value)
    assert str(caught.value).splitlines()[-1] == "  " + " " * caught.value.position + "^"


@settings(deadline=None, max_examples=300)
@given(st.text("ab|&~*+?{}(),2.<>\\", max_size=12))
def test_any_text_is_an_expression_or_an_input_error(text: str) -> None:
    with contextlib.suppress(InputError):
        assert Language.from_expression(text).alphabet


@pytest.mark.parametrize(
    "text", ["(" * 60 + "a" + ")" * 60, "~" * 1_001 + "a", "|".join("a" * 999)]
)
def test_what_is_within_the_limits_parses(text: str) -> None:
    assert Language.from_expression(text).alphabet == ("a",)


DEEP = """
from statespan import Language
from statespan.errors import ExpressionError
texts = ["(" * 60 + "a" + (")" + "*" * 30) * 60, "~(" * 60 + "a" + ")" * 60, "a" + "+" * 60]
for text in texts:
    try:
        Language.from_expression(text).accepts("aaa")
    except ExpressionError as error:
        assert "nested" in str(error)
"""


def test_nesting_within_the_limits_fits_the_interpreter_s_stack() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", DEEP],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stderr[-400:]


def test_an_unused_symbol_of_the_alphabet_counts_for_dot_and_complement() -> None:
    assert not Language.from_expression("~a|aa", alphabet="abc").accepts("a")
    assert Language.from_expression("~a", alphabet="abc").accepts("cb")
    assert Language.from_expression(".", alphabet="abc").count(1) == 3
    assert Language.from_expression("a.", alphabet="ba").alphabet == ("b", "a")


def test_the_alphabet_is_the_sorted_symbols_used() -> None:
    assert Language.from_expression("z<aa>y.").alphabet == ("aa", "y", "z")


def test_a_symbol_outside_the_alphabet_is_named() -> None:
    with pytest.raises(SymbolError, match=r"'c', which is not in the given alphabet \(a b\)"):
        Language.from_expression("abc", alphabet="ab")


@pytest.mark.parametrize("text", ["", ".*", "~()"])
def test_an_expression_without_symbols_needs_an_alphabet(text: str) -> None:
    with pytest.raises(SymbolError, match="uses no symbol: give `alphabet` too"):
        Language.from_expression(text)
    assert Language.from_expression(text, alphabet="a").alphabet == ("a",)


@pytest.mark.slow
def test_an_expression_whose_automaton_is_too_large_is_refused() -> None:
    with pytest.raises(LimitError, match="more than 200,000 states"):
        Language.from_expression("(a|b)*a(a|b){18}")
