"""Maps of the states of an automaton to itself, composed fast.

A word acts on states from left to right: the image of q under uv is the image under v of its
image under u. A map is `bytes` for up to 256 states and a tuple of ints beyond; both are indexed
by state. Composition of bytes is `bytes.translate`, which runs in C.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import lcm
from typing import Any, TypeAlias

from statespan.languages.automaton import DFA

__all__ = [
    "Transformation",
    "compose",
    "composer",
    "cycle_length",
    "identity_transformation",
    "letter_transformations",
    "list_images",
    "period",
    "to_table",
    "to_transformation",
]

Transformation: TypeAlias = bytes | tuple[int, ...]
"""Entry q is the image of state q."""

BYTE = 256


def to_transformation(images: Sequence[int]) -> Transformation:
    """Return the map that sends state q to `images[q]`."""
    return bytes(images) if len(images) <= BYTE else tuple(images)


def identity_transformation(num_states: int) -> Transformation:
    """Return the map that moves no state."""
    return to_transformation(range(num_states))


def letter_transformations(dfa: DFA) -> list[Transformation]:
    """Return the map of each symbol, in alphabet order."""
    return [to_transformation(column) for column in zip(*dfa.transitions, strict=True)]


def to_table(transformation: Transformation) -> Transformation:
    """Return the form in which `composer` wants its second argument."""
    if isinstance(transformation, bytes):
        return transformation.ljust(BYTE, b"\0")
    return transformation


def composer(num_states: int) -> Callable[[Any, Any], Any]:
    """Return the function (first, table of the second) -> first, then second.

    The first argument may also list states in another order, or only some of them.
    """
    return bytes.translate if num_states <= BYTE else _compose_tuples


def _compose_tuples(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([second[image] for image in first])


def compose(first: Transformation, second: Transformation) -> Transformation:
    """Return the map that acts as `first`, then as `second`.

    >>> tuple(compose(bytes([1, 2, 0]), bytes([0, 0, 1])))
    (0, 1, 0)
    """
    product: Transformation = composer(len(second))(first, to_table(second))
    return product


def list_images(mask: int, num_states: int) -> Transformation:
    """Return the states of the set `mask` (bit q for state q), ascending, as `composer` wants."""
    states = [q for q in range(num_states) if mask >> q & 1]
    return bytes(states) if num_states <= BYTE else tuple(states)


def cycle_length(transformation: Sequence[int], state: int) -> int:
    """Return how many steps bring `state` back to itself, 0 if it never comes back.

    >>> [cycle_length((1, 2, 1), state) for state in range(3)]
    [0, 2, 2]
    """
    image = state
    for steps in range(1, len(transformation) + 1):
        image = transformation[image]
        if image == state:
            return steps
    return 0


def period(transformation: Sequence[int]) -> int:
    """Return the least p ≥ 1 with x^(m+p) = x^m for a large m.

    It is the least common multiple of the lengths of the cycles. 1 means that x has no part in
    a group but the trivial one.

    >>> period((1, 0, 3, 4, 2)), period((1, 1, 0))
    (6, 1)
    """
    seen: dict[int, int] = {}
    result = 1
    for start in range(len(transformation)):
        state, path = start, 0
        first = len(seen)
        while state not in seen:
            seen[state] = first + path
            path += 1
            state = transformation[state]
        if seen[state] >= first:
            result = lcm(result, first + path - seen[state])
    return result
