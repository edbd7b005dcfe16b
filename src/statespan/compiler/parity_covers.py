"""Automata with a bit beside them that counts some letters modulo 2.

A symbol that turns three things around is no swap. But with the bit, the things can have one order
at even places and the opposite order at odd ones, and to turn them is then to swap two names. This
is the construction of Grazzi et al. (2024, arXiv:2411.12537) for cyclic groups, at every group that
it fits. Which letters the bit must count is found by trying.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import chain, combinations, islice

from statespan.languages.automaton import DFA

__all__ = ["parity_covers"]

MOST_COVERS = 64

COVER_BUDGET = 10_000
"""The states times the letters of all that is tried together."""


def parity_covers(dfa: DFA) -> Iterator[tuple[DFA, list[int]]]:
    """Yield automata that count letters of `dfa` modulo 2 beside it, and the state that each has.

    First those letters are counted of which some power moves three states around, then others.
    """
    letters = range(len(dfa.alphabet))
    size = dfa.num_states * len(letters)
    most = min(MOST_COVERS, COVER_BUDGET // size)
    if most == 0:
        return
    every = chain.from_iterable(combinations(letters, count) for count in letters)
    turning = tuple(letter for letter in letters if _turns(dfa, letter))
    for counted in dict.fromkeys([turning, *islice(every, most), tuple(letters)]):
        if counted:
            yield _cover(dfa, counted)


def _turns(dfa: DFA, letter: int) -> bool:
    """Return whether the letter moves states around a cycle whose length is a multiple of three."""
    for state in range(dfa.num_states):
        image, steps = dfa.transitions[state][letter], 1
        while image != state and steps <= dfa.num_states:
            image, steps = dfa.transitions[image][letter], steps + 1
        if image == state and steps % 3 == 0:
            return True
    return False


def _cover(dfa: DFA, letters: Collection[int]) -> tuple[DFA, list[int]]:
    order = [(dfa.start, 0)]
    numbers = {order[0]: 0}
    rows: list[tuple[int, ...]] = []
    for state, bit in order:
        row: list[int] = []
        for letter, target in enumerate(dfa.transitions[state]):
            pair = (target, bit ^ (letter in letters))
            if pair not in numbers:
                numbers[pair] = len(order)
                order.append(pair)
            row.append(numbers[pair])
        rows.append(tuple(row))
    origin = [state for state, _ in order]
    accepting = frozenset(n for n, state in enumerate(origin) if state in dfa.accepting)
    return replace(dfa, start=0, accepting=accepting, transitions=tuple(rows)), origin
