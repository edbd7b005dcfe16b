"""Groups of permutations that are groups of reflections, and the normals for them.

Vectors are held doubled, as ints: they are halves of whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import TypeAlias, final

__all__ = ["MirrorGroup", "Permutation", "Vector", "compose", "dot", "reflect", "roots_of_e8"]

Vector: TypeAlias = tuple[int, ...]

Permutation: TypeAlias = tuple[int, ...]
"""The images of 0 … n-1."""

HAMMING_GENERATORS = (0b11110000, 0b11001100, 0b10101010, 0b11111111)


def dot(first: Sequence[int], second: Sequence[int | Fraction]) -> int | Fraction:
    """Return the inner product."""
    return sum(x * y for x, y in zip(first, second, strict=True))


def reflect(normal: Vector, vector: Vector) -> Vector:
    """Return the reflection of `vector`; both are held doubled.

    >>> reflect((1, 1, 1, 1), (2, 0, 0, 0))
    (1, -1, -1, -1)
    """
    product = sum(n * v for n, v in zip(normal, vector, strict=True))
    assert product % 2 == 0, "a reflection left the lattice"
    half = product // 2
    return tuple([v - half * n for n, v in zip(normal, vector, strict=True)])


@cache
def roots_of_e8(dimension: int) -> tuple[Vector, ...]:
    """Return the nonnegative roots of E8, doubled, that lie in the first coordinates."""
    units = [tuple(2 * int(i == j) for j in range(dimension)) for i in range(dimension)]
    words = {0}
    for generator in HAMMING_GENERATORS:
        words |= {word ^ generator for word in words}
    codewords = [tuple(word >> 7 - i & 1 for i in range(8)) for word in sorted(words)]
    halves = [word[:dimension] for word in codewords if sum(word) == sum(word[:dimension]) == 4]
    return (*units, *halves)


@final
@dataclass(frozen=True)
class MirrorGroup:
    """A group of permutations that some involutions generate, listed from the identity on.

    `steps[i]` says how element i was first met: by which generator after which earlier element.
    """

    generators: list[Permutation]
    elements: list[Permutation]
    steps: list[tuple[int, int]]
    numbers: dict[Permutation, int]

    @classmethod
    def generate(
        cls, generators: list[Permutation], identity: Permutation, *, limit: int
    ) -> MirrorGroup | None:
        """Return the group, None if it has more than `limit` elements."""
        elements, steps = [identity], [(0, 0)]
        numbers = {identity: 0}
        for number, element in enumerate(elements):
            for index, generator in enumerate(generators):
                image = compose(element, generator)
                if image not in numbers:
                    if len(elements) == limit:
                        return None
                    numbers[image] = len(elements)
                    elements.append(image)
                    steps.append((number, index))
        return cls(generators, elements, steps, numbers)

    def images(self, normals: Sequence[Vector], start: Vector) -> list[Vector]:
        """Return where each element takes `start`."""
        found = [start]
        for parent, index in self.steps[1:]:
            found.append(reflect(normals[index], found[parent]))
        return found

    def is_drawn_by(self, normals: Sequence[Vector]) -> bool:
        """Return whether the reflections generate this group, each element one motion."""
        dimension = len(normals[0]) if normals else 1
        basis = [tuple(2 * int(i == j) for j in range(dimension)) for i in range(dimension)]
        columns = [self.images(normals, vector) for vector in basis]
        motions = list(zip(*columns, strict=True))
        for motion, element in zip(motions, self.elements, strict=True):
            for normal, generator in zip(normals, self.generators, strict=True):
                image = self.numbers[compose(element, generator)]
                if motions[image] != tuple(reflect(normal, column) for column in motion):
                    return False
        return len(set(motions)) == len(motions)

    def mirrors(self, normals: Sequence[Vector]) -> list[tuple[Vector, Permutation]]:
        """Return all reflections of the group, as a normal and a permutation."""
        found = dict(zip(self.generators, normals, strict=True))
        queue = list(found)
        for permutation in queue:
            for normal, generator in zip(normals, self.generators, strict=True):
                conjugate = compose(compose(generator, permutation), generator)
                if conjugate not in found:
                    found[conjugate] = reflect(normal, found[permutation])
                    queue.append(conjugate)
        return [(normal, permutation) for permutation, normal in found.items()]


def compose(first: Permutation, second: Permutation) -> Permutation:
    """Return the permutation that acts as `first`, then as `second`."""
    return tuple([second[image] for image in first])
