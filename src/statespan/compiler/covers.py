"""Disjoint covers: few conjunctions, no two of which overlap, that say what a table says.

A table gives, for some points of a finite product of small sets, the answers that would do there.
A cover is a list of cubes (products of subsets), each with an answer; a point in no cube gets the
`free` answer, which costs nothing. Points that the table does not name may get any answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from math import log2
from operator import and_
from typing import TypeAlias, final

from statespan.compiler.cubes import Cube, Point, Table
from statespan.compiler.merging import merge_cubes
from statespan.compiler.work import Work

__all__ = ["cover_table", "without_needless"]

FULL_SEARCH = 24
NARROW_SEARCH = 120
NARROW = 3
SEARCH_BUDGET = 1_000


def cover_table(sizes: Sequence[int], table: Table, free: int, work: Work) -> list[Cube]:
    """Return a small disjoint cover of `table` over variables of `sizes` values.

    Every point of the table is in a cube whose answer does there, or in none and `free` does.
    Not always a smallest one: a decision tree, then cubes that are merged and widened.

    Raises:
        LimitError: that takes more than is left of `work`.
    """
    domains = tuple((1 << size) - 1 for size in sizes)
    if len(table) > NARROW_SEARCH:
        table = without_needless(table)
    leaves = _Tree(domains, free, work).solve(dict(sorted(table.items())))
    cubes = [Cube(sets, answer) for sets, answer in leaves]
    return merge_cubes(domains, table, cubes, free, work)


def without_needless(table: Table) -> Table:
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

    def __init__(self, domains: tuple[int, ...], free: int, work: Work) -> None:
        self.domains = domains
        self.free = free
        self.work = work
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
        self.work.spend(len(table) * len(self.domains))
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
