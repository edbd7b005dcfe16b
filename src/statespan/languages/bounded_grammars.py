"""Context-free grammars whose stack is bounded: deterministic pushdown automata that stay finite.

Marked palindromes and matched runs are those of Shi et al. 2021 (arXiv:2112.09174) beside
parentheses, here with any number of blocks.
"""

from __future__ import annotations

from collections.abc import Hashable
from string import ascii_lowercase
from typing import Any, final

from statespan.errors import InputError
from statespan.languages.machine import Machine, Memory, State

__all__ = ["MARK", "BoundedPushdown", "matched_runs", "palindromes"]

MARK = "#"
"""The middle of a palindrome."""


@final
class BoundedPushdown(Machine):
    """Blocks of letters that are pushed, and then popped, each by what `closes` it.

    A state is (whether it pops, the stack); both are empty between two blocks. With a mark, popping
    begins after it; else with the first symbol that closes.
    """

    memory: Memory = "bounded-stack"

    def __init__(self, closes: dict[str, str], depth: int, *, mark: str | None = None) -> None:
        self.closes, self.depth, self.mark = closes, depth, mark
        marks = () if mark is None else (mark,)
        self.alphabet = tuple(dict.fromkeys((*closes, *closes.values(), *marks)))

    @property
    def start(self) -> State:
        return False, ()

    def step(self, state: Any, symbol: str) -> State:
        pops, stack = state
        if symbol == self.mark:
            return None if pops or not stack else (True, stack)
        if not pops and symbol in self.closes:
            return (False, (*stack, symbol)) if len(stack) < self.depth else None
        begins = pops or self.mark is None
        if not begins or not stack or self.closes[stack[-1]] != symbol:
            return None
        return bool(stack[1:]), stack[:-1]

    def is_accepting(self, state: Any) -> bool:
        return not state[1]

    def counting_class(self, state: Any) -> Hashable:
        return state[0], len(state[1])


def palindromes(symbols: int, depth: int) -> BoundedPushdown:
    """Return w#wᴿ, any number of times, w being 1 to `depth` of the letters.

    Raises:
        InputError: a number is below 1, or there are more symbols than letters.

    Example:
        >>> palindromes(2, 3).accepts("ab#bab#b"), palindromes(2, 3).accepts("ab#ab")
        (True, False)
    """
    _check(symbols, depth)
    return BoundedPushdown(
        {letter: letter for letter in ascii_lowercase[:symbols]}, depth, mark=MARK
    )


def matched_runs(depth: int) -> BoundedPushdown:
    """Return aⁿbⁿ, any number of times, n being 1 to `depth`.

    Raises:
        InputError: `depth` is below 1.

    Example:
        >>> matched_runs(3).accepts("aabbab"), matched_runs(3).accepts("aababb")
        (True, False)
    """
    _check(1, depth)
    return BoundedPushdown({"a": "b"}, depth)


def _check(symbols: int, depth: int) -> None:
    if not 1 <= symbols <= len(ascii_lowercase) or depth < 1:
        raise InputError(
            f"symbols must be from 1 to {len(ascii_lowercase)} and depth at least 1, got "
            f"symbols={symbols}, depth={depth}."
        )
