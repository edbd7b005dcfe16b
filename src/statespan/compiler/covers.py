"""Disjoint covers: few conjunctions, no two of which overlap, that say what a table says.

A table gives, for some points of a finite product of small sets, the answers that would do there.
A cover is a list of cubes (products of subsets), each with an answer; a point in no cube gets the
`free` answer, which costs nothing. Points that the table does not name may get any answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from math import log2
from operator import and_
from typing import TypeAlias, final

from statespan.compiler.cubes import Cube, Point, PointIndex, are_disjoint, bits_of

__all__ = ["Table", "cover_table"]

Table: TypeAlias = Mapping[Point, int]
"""For each point, the bit mask of the answers that would do."""

FULL_SEARCH = 24
NARROW_SEARCH = 120
NARROW = 3
SEARCH_BUDGET = 1_000


def cover_table(sizes: Sequence[int], table: Table, free: int) -> list[Cube]:
    """Return a small disjoint cover of `table` over variables of `sizes` values.

    Every point of the table is in a cube whose answer does there, or in none and `free` does.
    Not always a smallest one: a decision tree, then cubes that are merged and widened.
    """
    domains = tuple((1 << size) - 1 for size in sizes)
    if len(table) > NARROW_SEARCH:
        table = _without_needless(table)
    leaves = _Tree(domains, free).solve(dict(sorted(table.items())))
    improver = _Improver(domains, table, free)
    return improver.improve([Cube(sets, answer) for sets, answer in leaves])


def _without_needless(table: Table) -> Table:
    """Return the table with variables set to 0 everywhere that no answer depends on, last first."""
    for variable in reversed(range(len(next(iter(table))))):
        projected: dict[Point, int] = {}
        for point, mask in table.items():
            rest = (*point[:variable], 0, *point[variable + 1 :])
            projected[rest] = both = projected.get(rest, -1) & mask
            if not both:
                break
        else:
            table = projected
    return table


Leaf: TypeAlias = tuple[tuple[int, ...], int]

_GONE = -1
"""What stands for a variable that a branch has settled."""


@final
class _Tree:
    """The search for a decision tree with few leaves that are not free."""

    def __init__(self, domains: tuple[int, ...], free: int) -> None:
        self.domains = domains
        self.free = free
        self.budget = SEARCH_BUDGET
        self.memo: dict[tuple[tuple[Point, int], ...], list[Leaf]] = {}

    def solve(self, table: dict[Point, int]) -> list[Leaf]:
        """Return the leaves of a small tree for `table`, without the free ones."""
        common = reduce(and_, table.values(), -1)
        if common >> self.free & 1:
            return []
        if common:
            return [(self.domains, (common & -common).bit_length() - 1)]
        key = tuple(sorted(table.items()))
        if key not in self.memo:
            self.budget -= 1
            bound = self._bound(table)
            best: list[Leaf] | None = None
            for leaves in self._splits(table):
                if best is None or len(leaves) < len(best):
                    best = leaves
                if len(best) <= bound or self.budget < 0:
                    break
            assert best is not None, "two points differ in no variable"
            self.memo[key] = best
        return self.memo[key]

    def _bound(self, table: dict[Point, int]) -> int:
        """Return a number of leaves below which no tree can come."""
        single = {mask for mask in table.values() if not mask & (mask - 1)}
        return max(1, len(single - {1 << self.free}))

    def _splits(self, table: dict[Point, int]) -> Iterator[list[Leaf]]:
        """Yield the leaves under each variable worth a try."""
        columns = list(zip(*table, strict=True))
        variables = [v for v, column in enumerate(columns) if len(set(column)) > 1]
        if len(table) > NARROW_SEARCH:
            masks = list(table.values())
            variables.sort(key=lambda v: _conditional_entropy(columns[v], masks))
            variables = variables[:1]
        options = []
        for variable in variables:
            groups = _group(_branches(table, variable))
            score = sum(_entropy(Counter(group.values()).values()) for _, group in groups)
            options.append((score, len(groups), variable, groups))
        options.sort(key=lambda option: option[:3])
        for _, _, variable, groups in options if len(table) <= FULL_SEARCH else options[:NARROW]:
            yield [
                ((*sets[:variable], mask, *sets[variable + 1 :]), answer)
                for mask, group in groups
                for sets, answer in self.solve(group)
            ]


def _branches(table: dict[Point, int], variable: int) -> dict[int, dict[Point, int]]:
    """Return the table under each value of `variable`, which is then gone from its points."""
    branches: dict[int, dict[Point, int]] = {}
    for point, mask in table.items():
        rest = (*point[:variable], _GONE, *point[variable + 1 :])
        branches.setdefault(point[variable], {})[rest] = mask
    return branches


def _group(branches: dict[int, dict[Point, int]]) -> list[tuple[int, dict[Point, int]]]:
    """Return bit masks of values, each with the table that does for all of its values."""
    groups: list[tuple[int, dict[Point, int]]] = []
    for value, branch in sorted(branches.items(), key=lambda item: (-len(item[1]), item[0])):
        for index, (mask, group) in enumerate(groups):
            if all(group.get(point, -1) & allowed for point, allowed in branch.items()):
                union = dict(group)
                for point, allowed in branch.items():
                    union[point] = union.get(point, -1) & allowed
                groups[index] = (mask | 1 << value, union)
                break
        else:
            groups.append((1 << value, branch))
    return groups


def _entropy(counts: Iterable[int]) -> float:
    """Return the bits that a list holds whose members come as often as `counts` say."""
    listed = list(counts)
    total = sum(listed)
    return sum(count * log2(total / count) for count in listed)


def _conditional_entropy(column: Sequence[int], masks: Sequence[int]) -> float:
    """Return the bits that `masks` hold once the values of `column` are known."""
    joint = Counter(zip(column, masks, strict=True))
    return _entropy(joint.values()) - _entropy(Counter(column).values())


def _swallows(whole: Cube, cube: Cube) -> bool:
    """Return whether `whole` can stand for `cube`."""
    if whole.answer != cube.answer:
        return False
    return not any(mask & ~wide for mask, wide in zip(cube.sets, whole.sets, strict=True))


@final
class _Improver:
    """Local changes that keep a cover right and disjoint, and never add a cube.

    Sets of points are bit masks over the points of the table.
    """

    def __init__(self, domains: tuple[int, ...], table: Table, free: int) -> None:
        self.domains = domains
        points = sorted(table.items())
        self.points = [point for point, _ in points]
        self.index = PointIndex(domains, self.points)
        masks = [mask for _, mask in points]
        self.needed = bits_of([not mask >> free & 1 for mask in masks])
        num_answers = max((mask.bit_length() for mask in masks), default=0)
        self.wrong = [
            bits_of([not mask >> answer & 1 for mask in masks]) for answer in range(num_answers)
        ]

    def improve(self, cubes: list[Cube]) -> list[Cube]:
        """Return a cover with no more cubes, and no condition that can be left out."""
        while True:
            shrunk = [self._shrink(cube) for cube in cubes if self.index.hit(cube) & self.needed]
            merged = self._merge(shrunk)
            widened = self._widen(merged)
            if len(widened) == len(cubes):
                return widened
            cubes = widened

    def _fits(self, cube: Cube, others: list[Cube]) -> bool:
        if self.index.hit(cube) & self.wrong[cube.answer]:
            return False
        return all(are_disjoint(cube, other) for other in others)

    def _shrink(self, cube: Cube) -> Cube:
        """Return the least cube around the points that need `cube`."""
        needing = self.index.hit(cube) & self.needed
        sets = [0] * len(self.domains)
        while needing:
            point = self.points[(needing & -needing).bit_length() - 1]
            needing &= needing - 1
            sets = [mask | 1 << value for mask, value in zip(sets, point, strict=True)]
        return replace(cube, sets=tuple(sets))

    def _merge(self, cubes: list[Cube]) -> list[Cube]:
        """Return the cubes with pairs of the same answer joined where that fits."""
        merged: list[Cube] = []
        waiting = list(reversed(cubes))
        while waiting:
            cube = waiting.pop()
            for other in merged:
                joined = self._join(cube, other)
                if joined is None:
                    continue
                rest = [c for c in (*merged, *waiting) if not _swallows(joined, c)]
                if all(are_disjoint(joined, c) for c in rest):
                    merged = [c for c in merged if not _swallows(joined, c)]
                    waiting = [c for c in waiting if not _swallows(joined, c)]
                    waiting.append(joined)
                    break
            else:
                merged.append(cube)
        return merged

    def _join(self, left: Cube, right: Cube) -> Cube | None:
        """Return the least cube around two if its answer does in it; their neighbors may not."""
        if left.answer != right.answer:
            return None
        sets = tuple([a | b for a, b in zip(left.sets, right.sets, strict=True)])
        joined = Cube(sets, left.answer)
        return None if self.index.hit(joined) & self.wrong[joined.answer] else joined

    def _widen(self, cubes: list[Cube]) -> list[Cube]:
        """Return the cubes with each condition dropped that is not needed."""
        cubes = list(cubes)
        for index in range(len(cubes)):
            others = cubes[:index] + cubes[index + 1 :]
            for variable in reversed(range(len(self.domains))):
                sets = list(cubes[index].sets)
                sets[variable] = self.domains[variable]
                wider = replace(cubes[index], sets=tuple(sets))
                if self._fits(wider, others):
                    cubes[index] = wider
        return cubes
