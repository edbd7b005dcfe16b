"""The search for reflection heads: a vector to begin with, and one whose sign tells a set apart.

Vectors are held doubled, as ints. Both vectors of a head are nonnegative, because that is what a
model can write, and the squared length of the start is a power of 4, so that it can be normalized
without rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import gcd, isqrt
from random import Random
from typing import final

from statespan.compiler.mirrors import (
    MirrorGroup,
    Permutation,
    Vector,
    compose,
    reflect,
    roots_of_e8,
)

__all__ = ["HeadSearch", "ReflectionHead"]

LARGEST_QUERY = 255
"""Whole numbers up to here are exact in bfloat16."""

LONGEST_START = 16

NUM_STARTS = {8: 20_000}
"""Starts tried for a single head that tells one element, by dimension; elsewhere `FEW_STARTS`."""

FEW_STARTS = 1_000

NUM_SEVERAL_STARTS = 500
"""Starts tried where several heads must share the work."""

MOST_SHARED = {8: 4}
"""The most elements of a group for which several heads are tried, by dimension. For
larger ones it takes minutes and mostly fails, and a cascade is found at once."""

NUM_CORRECTIONS = 200

GOOD_MARGIN = Fraction(1, 64)
"""An inner product of unit vectors that needs no better one."""

LEAST_MARGIN = Fraction(1, 1024)
"""Far above the rounding of a float32 sum of a few hundred numbers."""


@final
@dataclass(frozen=True, slots=True)
class ReflectionHead:
    """A start and a query, both of whole numbers from 0.

    The squared length of `start` is a power of 4. No product of reflections makes the inner
    product with `query` smaller, in absolute value, than `LEAST_MARGIN` times both lengths.
    """

    start: Vector
    query: Vector


@final
class HeadSearch:
    """A search among the ways to draw a group."""

    def __init__(self, group: MirrorGroup, drawings: list[tuple[Vector, ...]]) -> None:
        self.group = group
        self.drawings = drawings
        self.dimension = len(drawings[0][0]) if drawings[0] else 1
        self._mirrors: dict[int, list[tuple[Vector, Permutation]]] = {}

    def find(
        self, target: frozenset[int], *, max_heads: int
    ) -> tuple[tuple[Vector, ...], tuple[ReflectionHead, ...]] | None:
        """Return normals, and heads that are all positive at the elements `target` only."""
        if max_heads == 1:
            return self._single(target)
        if len(self.group.elements) > MOST_SHARED.get(self.dimension, len(self.group.elements)):
            return None
        for number, drawing in enumerate(self.drawings[:10]):
            heads = self._several(number, target, max_heads)
            if heads is not None:
                return drawing, heads
        return None

    def _single(
        self, target: frozenset[int]
    ) -> tuple[tuple[Vector, ...], tuple[ReflectionHead, ...]] | None:
        best: tuple[Fraction, int, ReflectionHead] | None = None
        count = NUM_STARTS.get(self.dimension, FEW_STARTS * len(target))
        for number, start in self._starts(count // len(target) ** 2):
            rows = self._border(number, start, target)
            query = None if rows is None else _separate(rows)
            if query is None:
                continue
            head = ReflectionHead(start, query)
            products = self._products(number, head)
            if any((product > 0) != (i in target) for i, product in enumerate(products)):
                continue
            margin = _margin(head, products)
            if best is None or margin > best[0]:
                best = (margin, number, head)
            if margin >= GOOD_MARGIN**2:
                break
        if best is None or best[0] < LEAST_MARGIN**2:
            return None
        return self.drawings[best[1]], (best[2],)

    def _several(
        self, number: int, target: frozenset[int], max_heads: int
    ) -> tuple[ReflectionHead, ...] | None:
        """Return heads of one drawing that share the work, found greedily."""
        useful: dict[frozenset[int], ReflectionHead] = {}
        for _, start in self._starts(NUM_SEVERAL_STARTS):
            for query in roots_of_e8(self.dimension):
                head = ReflectionHead(start, query)
                products = self._products(number, head)
                positive = frozenset(i for i, product in enumerate(products) if product > 0)
                if target <= positive and _margin(head, products) >= LEAST_MARGIN**2:
                    useful.setdefault(positive, head)
        heads: list[ReflectionHead] = []
        left = frozenset(range(len(self.group.elements)))
        while left != target and len(heads) < max_heads and useful:
            positive = min(useful, key=lambda positive: len(left & positive))
            heads.append(useful[positive])
            left &= positive
        return tuple(heads) if left == target else None

    def _starts(self, count: int) -> Iterator[tuple[int, Vector]]:
        """Yield numbers of drawings and starts, at random but always the same."""
        rng = Random(0)
        lengths = _lengths(self.dimension)
        seen = set()
        for _ in range(count):
            number = rng.randrange(len(self.drawings))
            start = list(rng.choice(lengths))
            rng.shuffle(start)
            key = (number, tuple(start))
            if key not in seen:
                seen.add(key)
                yield key

    def _border(self, number: int, start: Vector, target: frozenset[int]) -> list[Vector] | None:
        """Return vectors that the query must have positive products with; None if it cannot.

        These are the images of the start in the target, and minus those across one mirror.
        """
        if number not in self._mirrors:
            self._mirrors[number] = self.group.mirrors(self.drawings[number])
        doubled = tuple(2 * entry for entry in start)
        rows: list[Vector] = []
        for element in target:
            image = self._image(number, doubled, element)
            rows.append(image)
            for normal, permutation in self._mirrors[number]:
                across = self.group.numbers[compose(self.group.elements[element], permutation)]
                if across not in target:
                    row = reflect(normal, image)
                    if min(row) >= 0:
                        return None
                    rows.append(tuple([-entry for entry in row]))
        return rows

    def _image(self, number: int, vector: Vector, element: int) -> Vector:
        if element == 0:
            return vector
        parent, index = self.group.steps[element]
        return reflect(self.drawings[number][index], self._image(number, vector, parent))

    def _products(self, number: int, head: ReflectionHead) -> list[int]:
        """Return twice the inner product at each element."""
        doubled = tuple(2 * entry for entry in head.start)
        images = self.group.images(self.drawings[number], doubled)
        return [sum(q * v for q, v in zip(head.query, image, strict=True)) for image in images]


def _margin(head: ReflectionHead, products: Iterable[int]) -> Fraction:
    """Return the square of the least inner product, had both vectors length 1."""
    least = min(map(abs, products))
    lengths = sum(x * x for x in head.start) * sum(x * x for x in head.query)
    return Fraction(least * least, 4 * lengths)


def _separate(rows: list[Vector]) -> Vector | None:
    """Return a small nonnegative vector with positive products with all of `rows`, if it is found.

    Rosenblatt's perceptron, on whole numbers, that corrects the worst row first.
    """
    query = [0] * len(rows[0])
    for _ in range(NUM_CORRECTIONS):
        products = [sum(q * v for q, v in zip(query, row, strict=True)) for row in rows]
        worst = min(range(len(rows)), key=products.__getitem__)
        if products[worst] > 0:
            divisor = gcd(*query)
            small = tuple(q // divisor for q in query)
            return small if max(small) <= LARGEST_QUERY else None
        query = [max(0, q + v) for q, v in zip(query, rows[worst], strict=True)]
    return None


@cache
def _lengths(dimension: int) -> list[Vector]:
    """Return the vectors of whole numbers, descending, whose squared length is a power of 4."""

    def split(total: int, places: int, largest: int) -> Iterator[Vector]:
        if places == 0:
            if total == 0:
                yield ()
            return
        for first in range(min(largest, isqrt(total)), -1, -1):
            for rest in split(total - first * first, places - 1, first):
                yield (first, *rest)

    totals = [4**power for power in range(1, LONGEST_START.bit_length())]
    return [vector for total in totals for vector in split(total, dimension, isqrt(total))]
