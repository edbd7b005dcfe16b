"""Automata that turn a triangle, by mirrors: two reflections make a turn.

A letter that turns the corners of a triangle is no reflection. But every letter that turns can
reflect, if it takes one mirror at even places (among the letters that turn) and another at odd
ones: the triangle is then turned over at odd places, and its corner is still known. This is the
construction of Grazzi et al. (2024, arXiv:2411.12537) for cyclic groups, with exact mirrors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from statespan.compiler.reflections import ReflectionSystem, reflection_system
from statespan.languages.automaton import DFA, minimize
from statespan.languages.symbols import Alphabet

__all__ = ["RotationSystem", "rotation_system"]

CORNERS = 3

MIRRORS = (1, -1)
"""The mirror m takes corner e to m - e."""


@final
@dataclass(frozen=True, slots=True)
class RotationSystem:
    """A language whose letters turn a triangle: by `turns[letter]` corners, 0, 1 or 2.

    `mirrors` recognizes the language of the words over two mirrors, called 0 and 1.
    """

    alphabet: Alphabet
    turns: tuple[int, ...]
    mirrors: ReflectionSystem

    @staticmethod
    def mirror(turn: int, *, is_odd: bool) -> int:
        """Return the mirror that a letter takes that turns by 1 or 2.

        At an even place the corner e is that of the triangle, at an odd place its negative:
        -(e + turn) = -turn - e, and -e + turn = turn - e.
        """
        return MIRRORS.index(1 if (turn == 1) == is_odd else -1)


def rotation_system(dfa: DFA) -> RotationSystem | None:
    """Return how the letters of `dfa` turn the states of its minimal automaton.

    None if there are not three states, or a letter neither turns nor keeps all of them.
    """
    dfa = minimize(dfa)
    if dfa.num_states != CORNERS:
        return None
    special = min((dfa.accepting, frozenset(range(CORNERS)) - dfa.accepting), key=len)
    (zero,) = special
    actions = [tuple(row[letter] for row in dfa.transitions) for letter in range(len(dfa.alphabet))]
    cycles = [a for a in actions if all(image != state for state, image in enumerate(a))]
    if not cycles or len(set(cycles[0])) != CORNERS:
        return None
    corners = [zero, cycles[0][zero], cycles[0][cycles[0][zero]]]
    turns = []
    for action in actions:
        turn = corners.index(action[zero])
        if any(action[corners[e]] != corners[(e + turn) % CORNERS] for e in range(CORNERS)):
            return None
        turns.append(turn)
    flipped = DFA(
        ("0", "1"),
        corners.index(dfa.start),
        frozenset({0}) if dfa.accepting == special else frozenset({1, 2}),
        tuple(tuple((mirror - e) % CORNERS for mirror in MIRRORS) for e in range(CORNERS)),
    )
    mirrors = reflection_system(flipped)
    assert mirrors is not None, "two mirrors of a triangle are always found"
    return RotationSystem(dfa.alphabet, tuple(turns), mirrors)
