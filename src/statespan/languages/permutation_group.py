"""Finite groups of permutations, by name: Z_n, S_n, A_n, and products of them.

An element is a permutation of the points 1 … m; its name is its cycle notation (`(1 2)(3 4 5)`,
the identity `()`). A product acts from left to right: its first factor acts first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise, permutations
from math import factorial, prod
from typing import TypeAlias, final

from statespan.errors import InputError

__all__ = ["Permutation", "PermutationGroup", "multiply", "permutation_group"]

MAX_ORDER = 1_000

Permutation: TypeAlias = tuple[int, ...]
"""The images of the points 0 … m-1."""


@final
@dataclass(frozen=True, slots=True)
class PermutationGroup:
    """A group, and some of its elements that generate it.

    Attributes:
        elements: all of it by name, the identity among them.
        letters: the generators by name.
    """

    elements: dict[str, Permutation]
    letters: dict[str, Permutation]

    @property
    def identity(self) -> Permutation:
        """The element that moves no point."""
        return self.elements["()"]


def permutation_group(group: str, generators: str) -> PermutationGroup:
    """Return Z_n, S_n or A_n, or a product of them such as A_4xZ_5.

    `generators` is `all` elements, or `adjacent`: the transpositions (i i+1) of S_n, the 3-cycles
    (i i+1 i+2) of A_n, the rotation by one of Z_n.

    Raises:
        InputError: no such group or generators, or a group of more than 1,000 elements.

    Example:
        >>> group = permutation_group("S_3", "adjacent")
        >>> list(group.letters), len(group.elements)
        (['(1 2)', '(2 3)'], 6)
    """
    if generators not in {"all", "adjacent"}:
        raise InputError(f"generators must be 'all' or 'adjacent', got {generators!r}.")
    factors = [_parse_factor(part, group) for part in re.split("[x×]", group)]
    if any(size > MAX_ORDER for _, size in factors):
        raise InputError(f"the group {group} has more than {MAX_ORDER:,} elements.")
    order = _order(factors)
    if order > MAX_ORDER:
        shown = f"{order:,}" if order < 10**9 else "over 10^9"
        raise InputError(f"the group {group} has {shown} elements; at most {MAX_ORDER:,} here.")
    elements = _all_elements(factors)
    letters = elements if generators == "all" else _adjacent(factors)
    return PermutationGroup(_by_name(elements), _by_name(letters))


def multiply(first: Permutation, second: Permutation) -> Permutation:
    """Return the permutation that acts as `first`, then as `second`."""
    return tuple(second[image] for image in first)


def _by_name(elements: list[Permutation]) -> dict[str, Permutation]:
    return {_cycles(element): element for element in elements}


def _parse_factor(text: str, group: str) -> tuple[str, int]:
    match = re.fullmatch(r"([ZSA])_(\d{1,3})", text.strip())
    if match is None or int(match[2]) < (3 if match[1] == "A" else 2):
        raise InputError(
            f"group must be Z_n, S_n (n ≥ 2), A_n (n ≥ 3) or a product like A_4xZ_5, got {group!r}."
        )
    return match[1], int(match[2])


def _order(factors: list[tuple[str, int]]) -> int:
    orders = ({"Z": size, "S": factorial(size), "A": factorial(size) // 2} for _, size in factors)
    return prod(order[kind] for order, (kind, _) in zip(orders, factors, strict=True))


def _cycles(permutation: Permutation) -> str:
    seen: set[int] = set()
    text = ""
    for first in range(len(permutation)):
        cycle = []
        point = first
        while point not in seen:
            seen.add(point)
            cycle.append(str(point + 1))
            point = permutation[point]
        text += f"({' '.join(cycle)})" if len(cycle) > 1 else ""
    return text or "()"


def _is_even(permutation: Permutation) -> bool:
    pairs = permutations(range(len(permutation)), 2)
    return sum(i < j and permutation[i] > permutation[j] for i, j in pairs) % 2 == 0


def _elements(kind: str, size: int) -> list[Permutation]:
    if kind == "Z":
        return [tuple((i + k) % size for i in range(size)) for k in range(size)]
    return [p for p in permutations(range(size)) if kind == "S" or _is_even(p)]


def _all_elements(factors: list[tuple[str, int]]) -> list[Permutation]:
    elements: list[Permutation] = [()]
    for kind, size in factors:
        elements = [_append(e, p) for e in elements for p in _elements(kind, size)]
    return elements


def _append(element: Permutation, permutation: Permutation) -> Permutation:
    return element + tuple(len(element) + image for image in permutation)


def _adjacent(factors: list[tuple[str, int]]) -> list[Permutation]:
    letters = []
    offset = 0
    num_points = sum(size for _, size in factors)
    for kind, size in factors:
        width = {"Z": size, "S": 2, "A": 3}[kind]
        for first in range(offset, offset + size - width + 1):
            cycle = range(first, first + width)
            image = list(range(num_points))
            for source, target in pairwise((*cycle, first)):
                image[source] = target
            letters.append(tuple(image))
        offset += size
    return letters
