"""Cubes, products of subsets, and which points of a list they hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

__all__ = ["Cube", "Point", "PointIndex", "Table", "answers_at", "are_disjoint", "bits_of"]

Point: TypeAlias = tuple[int, ...]
"""A value for each variable."""

Table: TypeAlias = Mapping[Point, int]
"""For each point, the bit mask of the answers that would do."""


@final
@dataclass(frozen=True, slots=True)
class Cube:
    """The points whose i-th value is in the bit mask `sets[i]`; `answer` is the answer there."""

    sets: tuple[int, ...]
    answer: int

    def contains(self, point: Sequence[int]) -> bool:
        """Return whether `point` is in the cube."""
        return all(mask >> value & 1 for mask, value in zip(self.sets, point, strict=True))


def are_disjoint(left: Cube, right: Cube) -> bool:
    """Return whether no point is in both cubes."""
    return any(not a & b for a, b in zip(left.sets, right.sets, strict=True))


@final
class PointIndex:
    """The points of a list that are in a cube, as a bit mask over the list, in few operations."""

    def __init__(self, domains: tuple[int, ...], points: Sequence[Point]) -> None:
        self.domains = domains
        self.everything = (1 << len(points)) - 1
        self.columns = list(zip(*points, strict=True))
        self.slices: dict[tuple[int, int], int] = {}

    def hit(self, sets: Sequence[int], among: int = -1) -> int:
        """Return those points of `among` that are in the product of `sets`."""
        hit = self.everything & among
        for variable, (domain, mask) in enumerate(zip(self.domains, sets, strict=True)):
            if mask != domain and hit:
                hit &= self._slice(variable, mask)
        return hit

    def hull(self, points: int) -> tuple[int, ...]:
        """Return the sets of the least cube that holds `points`."""
        return tuple(
            [
                sum(
                    1 << value
                    for value in range(domain.bit_length())
                    if points & self._slice(variable, 1 << value)
                )
                for variable, domain in enumerate(self.domains)
            ]
        )

    def _slice(self, variable: int, mask: int) -> int:
        key = (variable, mask)
        if key not in self.slices:
            self.slices[key] = bits_of([mask >> value & 1 for value in self.columns[variable]])
        return self.slices[key]


def bits_of(flags: Iterable[object]) -> int:
    """Return the bit mask of the places of `flags` that are true."""
    digits = "".join(["1" if flag else "0" for flag in flags])
    return int(digits[::-1] or "0", 2)


def answers_at(
    cubes: Sequence[Cube], sizes: Sequence[int], points: Sequence[Point], free: int
) -> list[int]:
    """Return the answer of a disjoint cover at each of `points`.

    >>> answers_at([Cube((0b10, 0b11), 5)], [2, 2], [(0, 0), (1, 0)], free=7)
    [7, 5]
    """
    index = PointIndex(tuple((1 << size) - 1 for size in sizes), points)
    answers = [free] * len(points)
    for cube in cubes:
        digits = bin(index.hit(cube.sets))[:1:-1]
        place = digits.find("1")
        while place >= 0:
            answers[place] = cube.answer
            place = digits.find("1", place + 1)
    return answers
