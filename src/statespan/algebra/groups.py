"""Permutation groups by a base and strong generating set: order, derived series, solvability.

The deterministic Schreier–Sims algorithm (Sims 1970; Seress, "Permutation Group Algorithms",
2003, §4.2), so that S_12 with its 479,001,600 elements is no harder than S_5. A permutation is
the tuple of the images of 0 … m-1, and a product acts from left to right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import lcm
from typing import TypeAlias, final

from statespan.errors import LimitError

__all__ = ["ENUMERATION_LIMIT", "Permutation", "PermutationGroup", "permutation_group"]

Permutation: TypeAlias = tuple[int, ...]

ENUMERATION_LIMIT = 100_000


def multiply(first: Permutation, second: Permutation) -> Permutation:
    """Return the permutation that acts as `first`, then as `second`."""
    return tuple([second[image] for image in first])


def invert(permutation: Permutation) -> Permutation:
    """Return the inverse."""
    inverse = [0] * len(permutation)
    for point, image in enumerate(permutation):
        inverse[image] = point
    return tuple(inverse)


def power(permutation: Permutation, exponent: int) -> Permutation:
    """Return the `exponent`-th power, which may be negative."""
    base = permutation if exponent >= 0 else invert(permutation)
    exponent = abs(exponent)
    result = tuple(range(len(permutation)))
    while exponent:
        if exponent & 1:
            result = multiply(result, base)
        base = multiply(base, base)
        exponent >>= 1
    return result


def permutation_order(permutation: Permutation) -> int:
    """Return the least n ≥ 1 whose power is the identity."""
    seen: set[int] = set()
    order = 1
    for start in range(len(permutation)):
        point, length = start, 0
        while point not in seen:
            seen.add(point)
            point = permutation[point]
            length += 1
        order = lcm(order, length or 1)
    return order


def is_identity(permutation: Permutation) -> bool:
    """Return whether no point moves."""
    return all(point == image for point, image in enumerate(permutation))


def commutator(first: Permutation, second: Permutation) -> Permutation:
    """Return first⁻¹ · second⁻¹ · first · second."""
    return multiply(multiply(invert(first), invert(second)), multiply(first, second))


@dataclass(slots=True)
class _Level:
    """A stabilizer of the chain: `coset[point]` leads `base` to `point` and back is its inverse."""

    base: int
    generators: list[Permutation] = field(default_factory=list)
    coset: dict[int, tuple[Permutation, Permutation]] = field(default_factory=dict)


class _Chain:
    """A growing stabilizer chain: the mutable half of a `PermutationGroup`."""

    def __init__(self, degree: int) -> None:
        self.identity = tuple(range(degree))
        self.levels: list[_Level] = []

    def sift(self, permutation: Permutation, depth: int = 0) -> tuple[Permutation, int]:
        """Return what is left of `permutation` after the cosets, and the level it got stuck at."""
        for level in range(depth, len(self.levels)):
            entry = self.levels[level].coset.get(permutation[self.levels[level].base])
            if entry is None:
                return permutation, level
            permutation = multiply(permutation, entry[1])
        return permutation, len(self.levels)

    def add(self, permutation: Permutation) -> bool:
        """Make `permutation` a member; return whether it was none."""
        pending = [(permutation, 0)]
        added = False
        while pending:
            candidate, depth = pending.pop()
            rest, stuck = self.sift(candidate, depth)
            if stuck == len(self.levels):
                if rest == self.identity:
                    continue
                moved = next(p for p, image in enumerate(rest) if p != image)
                self.levels.append(_Level(moved, [], {moved: (self.identity, self.identity)}))
            added = True
            for level in range(stuck, depth - 1, -1):
                pending.extend((g, level + 1) for g in self._extend(self.levels[level], rest))
        return added

    def _extend(self, level: _Level, generator: Permutation) -> list[Permutation]:
        """Add a generator to `level`; return the Schreier generators that this makes."""
        level.generators.append(generator)
        schreier = []
        old = list(level.coset)
        queue = [(point, generator) for point in old]
        for point, step in queue:
            path = multiply(level.coset[point][0], step)
            image = path[level.base]
            entry = level.coset.get(image)
            if entry is None:
                level.coset[image] = (path, invert(path))
                queue.extend((image, each) for each in level.generators)
            else:
                schreier.append(multiply(path, entry[1]))
        return schreier


@final
@dataclass(frozen=True, eq=False)
class PermutationGroup:
    """The group that `generators` generate on the points 0 … degree-1.

    Make one with `permutation_group`; `generators` are those of its arguments that were no
    products of earlier ones, so at most log2(order).
    """

    degree: int
    generators: tuple[Permutation, ...]
    order: int
    _chain: _Chain = field(repr=False)

    def __contains__(self, permutation: Permutation) -> bool:
        return self._chain.sift(permutation)[0] == self._chain.identity

    @property
    def is_trivial(self) -> bool:
        """Whether the identity is the only element."""
        return self.order == 1

    @property
    def is_abelian(self) -> bool:
        """Whether any two elements commute."""
        return all(
            multiply(g, h) == multiply(h, g) for g in self.generators for h in self.generators
        )

    @property
    def has_exponent_two(self) -> bool:
        """Whether the square of every element is the identity (true of the trivial group)."""
        return self.is_abelian and all(is_identity(multiply(g, g)) for g in self.generators)

    def elements(self, *, limit: int = ENUMERATION_LIMIT) -> Iterator[Permutation]:
        """Yield every element once, the identity first.

        Raises:
            LimitError: there are more than `limit`.
        """
        if self.order > limit:
            raise LimitError(
                f"the group has {self.order:,} elements; at most {limit:,} are listed."
            )
        yield from self._below(0)

    def _below(self, depth: int) -> Iterator[Permutation]:
        if depth == len(self._chain.levels):
            yield self._chain.identity
            return
        cosets = [entry[0] for entry in self._chain.levels[depth].coset.values()]
        for inner in self._below(depth + 1):
            for coset in cosets:
                yield multiply(inner, coset)

    def exponent(self, *, limit: int = ENUMERATION_LIMIT) -> int:
        """Return the least n ≥ 1 with g^n = 1 for all elements g.

        Raises:
            LimitError: the group is not abelian and has more than `limit` elements.
        """
        if self.is_abelian:
            return lcm(1, *map(permutation_order, self.generators))
        return lcm(*map(permutation_order, self.elements(limit=limit)))

    def derived_subgroup(self) -> PermutationGroup:
        """Return the subgroup that the commutators generate.

        It is the normal closure of the commutators of the generators.
        """
        chain = _Chain(self.degree)
        kept: list[Permutation] = []
        pending = [commutator(g, h) for g in self.generators for h in self.generators]
        while pending:
            element = pending.pop()
            if chain.add(element):
                kept.append(element)
                pending.extend(multiply(multiply(invert(g), element), g) for g in self.generators)
        return _finish(self.degree, kept, chain)

    def derived_series(self) -> list[PermutationGroup]:
        """Return the group, its derived subgroup, and so on, until nothing changes."""
        series = [self]
        while not series[-1].is_trivial:
            following = series[-1].derived_subgroup()
            if following.order == series[-1].order:
                break
            series.append(following)
        return series

    @property
    def derived_length(self) -> int | None:
        """The length of the derived series, None if it never reaches the trivial group."""
        series = self.derived_series()
        return len(series) - 1 if series[-1].is_trivial else None

    @property
    def is_solvable(self) -> bool:
        """Whether the derived series reaches the trivial group."""
        return self.derived_length is not None


def permutation_group(degree: int, generators: Iterable[Permutation]) -> PermutationGroup:
    """Return the group on 0 … degree-1 that `generators` generate.

    Example:
        >>> group = permutation_group(5, [(1, 2, 3, 4, 0), (1, 0, 2, 3, 4)])
        >>> group.order, group.is_solvable, group.derived_subgroup().order
        (120, False, 60)
    """
    chain = _Chain(degree)
    kept = [generator for generator in generators if chain.add(generator)]
    return _finish(degree, kept, chain)


def _finish(degree: int, generators: list[Permutation], chain: _Chain) -> PermutationGroup:
    order = 1
    for level in chain.levels:
        order *= len(level.coset)
    return PermutationGroup(degree, tuple(generators), order, chain)
