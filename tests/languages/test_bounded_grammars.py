"""Bounded grammars beside their productions, by the algorithm of Cocke, Younger and Kasami."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest

from statespan.errors import InputError
from statespan.languages import language

Grammar = Mapping[str, list[tuple[str, ...]]]
"""In Chomsky's normal form, with the start S: a variable -> two variables, or a symbol, each."""


def palindromes(letters: str, depth: int) -> Grammar:
    rules: dict[str, list[tuple[str, ...]]] = {f"X{x}": [(x,)] for x in letters}
    inside: list[tuple[str, ...]] = [("#",)]
    for level in range(1, depth + 1):
        block = [(f"X{x}", f"T{level}{x}") for x in letters]
        rules[f"C{level}"] = [*inside]
        rules |= {f"T{level}{x}": [(f"C{level}", f"X{x}")] for x in letters}
        inside = [("#",), *block]
    return {**rules, "B": block, "S": [("B", "S"), *block]}


def matched_runs(depth: int) -> Grammar:
    rules: dict[str, list[tuple[str, ...]]] = {"Xa": [("a",)], "Xb": [("b",)]}
    block: list[tuple[str, ...]] = []
    for level in range(1, depth + 1):
        rules |= {f"B{level - 1}": block, f"T{level}": [(f"B{level - 1}", "Xb")]}
        block = [("Xa", "Xb"), ("Xa", f"T{level}")]
    return {**rules, "B": block, "S": [("B", "S"), *block]}


def derives(grammar: Grammar, word: str) -> bool:
    spans: dict[tuple[int, int], set[str]] = {}
    for size in range(1, len(word) + 1):
        for begin in range(len(word) - size + 1):
            end = begin + size
            found: set[tuple[str, ...]] = {(word[begin],)} if size == 1 else set()
            for middle in range(begin + 1, end):
                found.update(itertools.product(spans[begin, middle], spans[middle, end]))
            spans[begin, end] = {v for v, rules in grammar.items() if found & set(rules)}
    return not word or "S" in spans[0, len(word)]


@pytest.mark.parametrize(
    ("name", "grammar", "longest"),
    [
        ("bounded-palindromes:depth=2", palindromes("ab", 2), 7),
        ("bounded-palindromes:symbols=1,depth=3", palindromes("a", 3), 9),
        ("bounded-anbn:depth=2", matched_runs(2), 9),
        ("bounded-anbn:depth=3", matched_runs(3), 9),
    ],
)
def test_words_are_what_the_grammar_derives(name: str, grammar: Grammar, longest: int) -> None:
    text, _, listed = name.partition(":")
    made = language(text, **dict(item.split("=") for item in listed.split(",")))
    members = 0
    for length in range(longest + 1):
        for word in map("".join, itertools.product(made.alphabet, repeat=length)):
            assert made.accepts(word) == derives(grammar, word), word
            members += made.accepts(word)
    assert members > 5


@pytest.mark.parametrize("parameters", [{"depth": 0}, {"symbols": 0}, {"symbols": 27}])
def test_numbers_out_of_range_are_told(parameters: dict[str, int]) -> None:
    with pytest.raises(InputError, match="symbols must be from 1 to 26 and depth at least 1"):
        language("bounded-palindromes", **parameters)
