"""From an encoding to the components that compute it, with few terms and at low levels.

A component that does not matter still holds a value. Components are therefore found in order, and
each is found over the values that the earlier ones were seen to hold, so that what is left free is
free in the finished cascade, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import itemgetter
from typing import TypeAlias, final

from statespan.compiler.actions import MOST_SWAPPED, Moves, moves_of, value_after
from statespan.compiler.cascade import Component, ReadoutTerm
from statespan.compiler.covers import cover_table, without_needless
from statespan.compiler.cubes import Cube, Point, Table, answers_at
from statespan.compiler.encoding import Encoding
from statespan.compiler.rules import (
    action_of,
    component_of_cubes,
    has_conditions,
    readout_of_cubes,
)
from statespan.compiler.work import Work
from statespan.errors import LimitError

__all__ = ["Cost", "Realization", "realize"]

Cost: TypeAlias = tuple[int, int, int, int]
"""The levels, the terms, the components, and the terms of the readout."""

TABLE_LIMIT = 150_000
TERM_LIMIT = 400
READOUT_SEARCH = 2_000
MANY_ANSWERS = 6


@final
@dataclass(frozen=True, eq=False)
class Realization:
    """Components that compute an encoding, and the terms that tell its answers.

    Letters are those of the encoding; the restart is the letter after the last.
    """

    encoding: Encoding
    components: tuple[Component, ...]
    default: int
    readout: tuple[ReadoutTerm, ...]

    @cached_property
    def cost(self) -> Cost:
        """What is to be small, in this order: levels, terms, components, terms of the readout."""
        levels: list[int] = []
        for component in self.components:
            levels.append(1 + max((levels[read] for read in component.reads), default=0))
        terms = sum(len(component.terms) for component in self.components)
        return max(levels, default=0), terms, len(self.components), len(self.readout)


def realize(
    encoding: Encoding,
    *,
    moves: Moves,
    limit: int,
    work: Work,
    bound: Cost | None = None,
) -> Realization | None:
    """Return components that compute `encoding`, None if there are none that cost below `bound`.

    There are none when two nodes agree in the earlier components and need a component to be
    treated differently, or agree in all components and have different answers. `moves` says how
    symbols may permute the values of a component.

    Raises:
        LimitError: the components reach more than `limit` values, or one takes over 150,000 cases
            or 400 terms, or `work` is used up.
    """
    search = _Search(encoding, moves=moves, limit=limit, work=work)
    for component in range(len(encoding.sizes)):
        if not search.add(component):
            return None
        if bound is not None and search.least_cost > bound:
            return None
    found = search.finish()
    return found if found is None or bound is None or found.cost < bound else None


@final
class _Search:
    """Components found so far, and all that they reach: a node and a value for each of them."""

    def __init__(self, encoding: Encoding, *, moves: Moves, limit: int, work: Work) -> None:
        self.encoding = encoding
        self.sizes = encoding.sizes
        self.most_moved = {"none": 0, "flips": 2, "swaps": MOST_SWAPPED}[moves]
        self.limit = limit
        self.work = work
        self.components: list[Component] = []
        self.levels: list[int] = []
        self.nodes: Sequence[int] = range(len(encoding.targets))
        self.values: list[Point] = [()] * len(encoding.targets)
        self.targets: Sequence[Sequence[int]] = encoding.targets

    @property
    def least_cost(self) -> Cost:
        """What the components found so far cost; whatever is added makes it no less."""
        terms = sum(len(component.terms) for component in self.components)
        return max(self.levels, default=0), terms, len(self.components), 0

    def add(self, number: int) -> bool:
        """Find component `number`, at the lowest level; return whether there is one."""
        size = self.sizes[number]
        rows = self._rows(number, size)
        for level in sorted({0, *self.levels}):
            reads = [c for c, other in enumerate(self.levels) if other <= level]
            table = self._table(rows, reads)
            if table is not None:
                break
        else:
            return False
        sizes = [self.encoding.num_letters, *(self.sizes[c] for c in reads)]
        if len(table) > TABLE_LIMIT:
            raise LimitError(
                f"the rules of a component have {len(table):,} cases, more than {TABLE_LIMIT:,}."
            )
        cubes = cover_table(sizes, table, size, self.work)
        if len(cubes) > TERM_LIMIT:
            raise LimitError(f"a component of the cascade needs more than {TERM_LIMIT} terms.")
        initial = self._initial(number, cubes, sizes)
        component = component_of_cubes(size, initial, cubes, sizes, reads)
        self.components.append(component)
        self.levels.append(1 + max((self.levels[c] for c in component.reads), default=0))
        self._extend(cubes, reads, initial, size)
        return True

    def _rows(self, number: int, size: int) -> list[tuple[int, int, int]]:
        """Return (place, letter, bit mask of actions that would do) where not all would.

        Action v < `size` writes v, `size` keeps the value, and those above it permute the values.
        """
        moves = self._moves(size)
        needed = [self.encoding.coordinates[node][number] for node in self.nodes]
        rows = []
        for place, targets in enumerate(self.targets):
            before = needed[place]
            for letter, target in enumerate(targets):
                after = needed[target]
                if after is None:
                    continue
                actions = 1 << after
                if before is not None:
                    actions |= moves[before][after] << size
                rows.append((place, letter, actions))
        return rows

    def _moves(self, size: int) -> list[list[int]]:
        """Return bit masks of what takes a value to another: keeping it, and each move."""
        allowed = moves_of(size) if size <= self.most_moved else []
        masks = [[int(before == after) for after in range(size)] for before in range(size)]
        for number, move in enumerate(allowed, start=1):
            for before in range(size):
                masks[before][value_after(move, before)] |= 1 << number
        return masks

    def _table(
        self, rows: list[tuple[int, int, int]], reads: Sequence[int]
    ) -> dict[Point, int] | None:
        """Return the actions that do at each letter and values of `reads`; None if none do."""
        self.work.spend(len(rows))
        keys: dict[int, Point] = {}
        table: dict[Point, int] = {}
        for place, letter, actions in rows:
            if place not in keys:
                keys[place] = _project(self.values[place], reads)
            point = (letter, *keys[place])
            table[point] = both = table.get(point, -1) & actions
            if not both:
                return None
        return table

    def _initial(self, number: int, cubes: list[Cube], sizes: Sequence[int]) -> int:
        """Return the value at the start; where any will do, one that a letter always writes."""
        needed = self.encoding.coordinates[0][number]
        if needed is not None:
            return needed
        always = (cube.answer for cube in cubes if not has_conditions(cube, sizes))
        return next((answer for answer in always if answer < self.sizes[number]), 0)

    def _extend(self, cubes: list[Cube], reads: Sequence[int], initial: int, size: int) -> None:
        """List all that is reached now that one more component is known."""
        self.work.spend(len(self.nodes) * self.encoding.num_letters)
        actions = self._actions(cubes, reads, free=size)
        ids = {initial: 0}
        order = [initial]
        targets: list[list[int]] = []
        for pair in order:
            place, value = divmod(pair, size)
            row = []
            for action, target in zip(actions[place], self.targets[place], strict=True):
                after = value if action == size else value_after(action_of(size, action), value)
                following = target * size + after
                number = ids.setdefault(following, len(order))
                if number == len(order):
                    if number >= self.limit:
                        raise LimitError(
                            f"the components reach more than {self.limit:,} values together."
                        )
                    order.append(following)
                row.append(number)
            targets.append(row)
        reached = [divmod(pair, size) for pair in order]
        self.nodes = [self.nodes[place] for place, _ in reached]
        self.values = [(*self.values[place], value) for place, value in reached]
        self.targets = targets

    def _actions(self, cubes: list[Cube], reads: Sequence[int], *, free: int) -> list[list[int]]:
        """Return the action on each letter at all that is reached."""
        letters = range(self.encoding.num_letters)
        keys = [_project(values, reads) for values in self.values]
        distinct = list(dict.fromkeys(keys))
        points = [(letter, *key) for key in distinct for letter in letters]
        sizes = [len(letters), *(self.sizes[c] for c in reads)]
        answers = answers_at(cubes, sizes, points, free)
        row = {
            key: answers[place * len(letters) : (place + 1) * len(letters)]
            for place, key in enumerate(distinct)
        }
        return [row[key] for key in keys]

    def finish(self) -> Realization | None:
        """Add the readout, with the default that leaves fewest terms; None if there is none."""
        answers = self.encoding.answers
        needed: dict[Point, int] = {}
        for node, values in zip(self.nodes, self.values, strict=True):
            needed[values] = both = needed.get(values, -1) & 1 << answers[node]
            if not both:
                return None
        table: Table = needed
        counts = Counter(table.values())
        defaults = sorted(counts, key=lambda mask: (-counts[mask], mask))
        if len(table) > READOUT_SEARCH:
            defaults = defaults[:MANY_ANSWERS]
            table = without_needless(table)
        covers = {
            mask.bit_length() - 1: cover_table(self.sizes, table, mask.bit_length() - 1, self.work)
            for mask in defaults
        }
        default = min(covers, key=lambda answer: len(covers[answer]))
        readout = readout_of_cubes(covers[default], self.sizes)
        return Realization(self.encoding, tuple(self.components), default, readout)


def _project(values: Point, reads: Sequence[int]) -> Point:
    if len(reads) == len(values):
        return values
    if len(reads) > 1:
        point: Point = itemgetter(*reads)(values)
        return point
    return tuple([values[c] for c in reads])
