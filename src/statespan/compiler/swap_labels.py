"""Labels for the members of blocks, so that maps between blocks keep labels or swap two of them.

Maps that keep labels are found by joining what must be alike. Where words permute the members of a
block, that fails; then labels are searched for, block by block, so that each map swaps at most two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations
from typing import TypeAlias, final

__all__ = ["Bijection", "fixed_labels", "swapped_labels"]

Bijection: TypeAlias = tuple[Sequence[int], Sequence[int]]
"""The members of a block, and where a map takes each: members of one block, all different."""

MOST_SEARCHED = 5
"""Blocks of more members are not given labels that swap: there are too many ways."""

SEARCH_BUDGET = 20_000


def fixed_labels(
    blocks: Sequence[Sequence[int]], maps: Iterable[Bijection]
) -> dict[int, int] | None:
    """Return a label for each member of `blocks` so that `maps` keep it; None if none do so."""
    parent = {member: member for block in blocks for member in block}

    def root(member: int) -> int:
        while parent[member] != member:
            parent[member] = parent[parent[member]]
            member = parent[member]
        return member

    for members, images in maps:
        for member, image in zip(members, images, strict=True):
            a, b = root(member), root(image)
            parent[max(a, b)] = min(a, b)
    together: dict[int, set[int]] = {}
    for block in blocks:
        roots = [root(member) for member in block]
        if len(set(roots)) < len(roots):
            return None
        for one in roots:
            together.setdefault(one, set()).update(other for other in roots if other != one)
    colors: dict[int, int] = {}
    for one in sorted(together, key=lambda one: (-len(together[one]), one)):
        taken = {colors[other] for other in together[one] if other in colors}
        colors[one] = next(color for color in range(len(taken) + 1) if color not in taken)
    return {member: colors[root(member)] for block in blocks for member in block}


def swapped_labels(
    blocks: Sequence[Sequence[int]], maps: Sequence[Bijection]
) -> dict[int, int] | None:
    """Return labels so that each map keeps them or swaps two; None if none were found.

    Blocks that no map joins are independent of each other. Labels that all maps keep are preferred.
    """
    labels: dict[int, int] = {}
    for part, inside in _parts(blocks, maps):
        found = fixed_labels(part, inside)
        if found is None:
            found = _Search(part, inside).labels()
        if found is None:
            return None
        labels |= found
    return labels


def _parts(
    blocks: Sequence[Sequence[int]], maps: Sequence[Bijection]
) -> Iterator[tuple[list[Sequence[int]], list[Bijection]]]:
    """Yield the blocks that maps join, and those maps."""
    block_of = {member: number for number, block in enumerate(blocks) for member in block}
    near: list[list[int]] = [[] for _ in blocks]
    inside: list[list[Bijection]] = [[] for _ in blocks]
    for members, images in maps:
        source, sink = block_of[members[0]], block_of[images[0]]
        near[source].append(sink)
        near[sink].append(source)
        inside[source].append((members, images))
    seen: set[int] = set()
    for first, block in enumerate(blocks):
        if first in seen or not block:
            continue
        seen.add(first)
        part = [first]
        for number in part:
            fresh = dict.fromkeys(other for other in near[number] if other not in seen)
            seen.update(fresh)
            part += fresh
        yield [blocks[n] for n in part], [m for n in part for m in inside[n]]


@final
class _Search:
    """A search for labels of blocks, the largest block first, then those most tied to others."""

    def __init__(self, blocks: Sequence[Sequence[int]], maps: Sequence[Bijection]) -> None:
        self.blocks = blocks
        self.size = max(map(len, blocks))
        self.budget = SEARCH_BUDGET
        self.found: dict[int, int] = {}
        self.order = self._order(maps)

    def _order(self, maps: Sequence[Bijection]) -> list[tuple[int, list[Bijection]]]:
        """Return the blocks in order, each with the maps that join it to those up to it."""
        block_of = {member: number for number, block in enumerate(self.blocks) for member in block}
        tied: list[list[tuple[int, Bijection]]] = [[] for _ in self.blocks]
        for members, images in dict.fromkeys((tuple(m), tuple(i)) for m, i in maps):
            source, sink = block_of[members[0]], block_of[images[0]]
            tied[source].append((sink, (members, images)))
            if source != sink:
                tied[sink].append((source, (members, images)))
        left = dict.fromkeys(range(len(self.blocks)))
        ties = [0] * len(self.blocks)
        order: list[tuple[int, list[Bijection]]] = []
        while left:
            number = max(left, key=lambda n: (bool(order) * ties[n], len(self.blocks[n]), -n))
            del left[number]
            for other, _ in tied[number]:
                ties[other] += 1
            order.append((number, [m for other, m in tied[number] if other not in left]))
        return order

    def labels(self) -> dict[int, int] | None:
        """Return labels of all members, None if there are none or too many ways to try."""
        if self.size > MOST_SEARCHED:
            return None
        stack = [self._choices(0)]
        while stack:
            choice = next(stack[-1], None)
            if choice is None:
                stack.pop()
                continue
            self.found |= choice
            if len(stack) == len(self.order):
                return self.found
            stack.append(self._choices(len(stack)))
        return None

    def _choices(self, place: int) -> Iterator[dict[int, int]]:
        """Yield labels of a block that fit those before it, those that swap least first."""
        number, maps = self.order[place]
        block = self.blocks[number]
        ways = permutations(range(self.size), len(block)) if place else [tuple(range(len(block)))]
        ranked = []
        for way in ways:
            self.budget -= 1 + len(maps)
            if self.budget < 0:
                return
            self.found.update(zip(block, way, strict=True))
            moved = [_num_moved(self.found, bijection) for bijection in maps]
            if all(count is not None for count in moved):
                ranked.append((sum(count or 0 for count in moved), way))
        for _, way in sorted(ranked):
            yield dict(zip(block, way, strict=True))


def _num_moved(labels: dict[int, int], bijection: Bijection) -> int | None:
    """Return 0 if a map keeps the labels, 1 if it swaps two, else None."""
    pairs = [(labels[member], labels[image]) for member, image in zip(*bijection, strict=True)]
    low, high = next(((a, b) for a, b in pairs if a != b), (0, 0))
    swap = {low: high, high: low}
    if any(swap.get(before, before) != after for before, after in pairs):
        return None
    return int(low != high)
