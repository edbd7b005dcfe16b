"""Smaller covers: cubes merged and widened while they stay right and disjoint.

A cube is one int here: the sets of its variables side by side, with an unused bit above each.
Most pairs of cubes that are looked at come to nothing, and such ints are quick to compare.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeAlias, final

from statespan.compiler.cubes import Cube, PointIndex, Table, bits_of
from statespan.compiler.work import Work

__all__ = ["merge_cubes"]

WITNESSES = 32

Packed: TypeAlias = tuple[int, int]
"""The sets of a cube side by side, and its answer."""


def merge_cubes(
    domains: Sequence[int], table: Table, cubes: Sequence[Cube], free: int, work: Work
) -> list[Cube]:
    """Return a cover of `table` with no more cubes, and no condition that can be left out.

    Raises:
        LimitError: that takes more than is left of `work`.
    """
    return _Merging(domains, table, free, work).improve(cubes)


@final
class _Merging:
    """Local changes that keep a cover right and disjoint, and never add a cube.

    Sets of points are bit masks over the points of the table.
    """

    def __init__(self, domains: Sequence[int], table: Table, free: int, work: Work) -> None:
        self.domains = tuple(domains)
        self.work = work
        self.offsets: list[int] = []
        width = 0
        for domain in domains:
            self.offsets.append(width)
            width += domain.bit_length() + 1
        self.lows = sum(1 << offset for offset in self.offsets)
        self.guards = sum((d + 1) << o for d, o in zip(domains, self.offsets, strict=True))
        points = sorted(table.items())
        self.points = [point for point, _ in points]
        self.index = PointIndex(self.domains, self.points)
        self.hit_steps = 8 + len(points) // 64
        masks = [mask for _, mask in points]
        self.needed = bits_of([not mask >> free & 1 for mask in masks])
        num_answers = max((mask.bit_length() for mask in masks), default=0)
        self.wrong = [
            bits_of([not mask >> answer & 1 for mask in masks]) for answer in range(num_answers)
        ]
        self.witnesses = [deque[int](maxlen=WITNESSES) for _ in self.wrong]

    def improve(self, cubes: Sequence[Cube]) -> list[Cube]:
        """Return a cover with no more cubes, and no condition that can be left out."""
        current = [(self._pack(cube.sets), cube.answer) for cube in cubes]
        while True:
            shrunk = [cube for packed in current if (cube := self._shrink(packed)) is not None]
            widened = self._widen(self._merge(shrunk))
            if len(widened) == len(current):
                return [Cube(self._sets(packed), answer) for packed, answer in widened]
            current = widened

    def _pack(self, sets: Sequence[int]) -> int:
        return sum(mask << offset for mask, offset in zip(sets, self.offsets, strict=True))

    def _sets(self, packed: int) -> tuple[int, ...]:
        return tuple(
            [packed >> o & domain for o, domain in zip(self.offsets, self.domains, strict=True)]
        )

    def _is_wrong(self, packed: int, answer: int) -> bool:
        """Return whether some point of the cube does not allow its answer."""
        witnesses = self.witnesses[answer]
        for witness in witnesses:
            if witness & packed == witness:
                return True
        self.work.spend(self.hit_steps)
        wrong = self.index.hit(self._sets(packed), self.wrong[answer])
        if wrong:
            point = self.points[wrong.bit_length() - 1]
            witnesses.appendleft(self._pack([1 << value for value in point]))
        return bool(wrong)

    def _shrink(self, cube: Packed) -> Packed | None:
        """Return the least cube around the points that need `cube`; None if no point does."""
        needing = self.index.hit(self._sets(cube[0]), self.needed)
        if not needing:
            return None
        return self._pack(self.index.hull(needing)), cube[1]

    def _merge(self, cubes: list[Packed]) -> list[Packed]:
        """Return the cubes with pairs of the same answer joined where that fits."""
        merged: list[Packed] = []
        waiting = list(reversed(cubes))
        while waiting:
            packed, answer = cube = waiting.pop()
            self.work.spend(len(merged))
            for other, same in merged:
                if same != answer or self._is_wrong(joined := packed | other, answer):
                    continue
                if self._is_free(joined, answer, (*merged, *waiting)):
                    merged = [c for c in merged if c[1] != answer or c[0] & ~joined]
                    waiting = [c for c in waiting if c[1] != answer or c[0] & ~joined]
                    waiting.append((joined, answer))
                    break
            else:
                merged.append(cube)
        return merged

    def _is_free(self, joined: int, answer: int, others: Sequence[Packed]) -> bool:
        """Return whether each of `others` is disjoint from a cube, or can be swallowed by it."""
        guards, lows = self.guards, self.lows
        for packed, same in others:
            # A guard is borrowed from where the sets of a variable have nothing in common.
            if ((packed & joined | guards) - lows) & guards == guards and (
                same != answer or packed & ~joined
            ):
                return False
        return True

    def _widen(self, cubes: list[Packed]) -> list[Packed]:
        """Return the cubes with each condition dropped that is not needed."""
        cubes = list(cubes)
        for index, (_, answer) in enumerate(cubes):
            others = [(packed, -1) for packed, _ in (*cubes[:index], *cubes[index + 1 :])]
            self.work.spend(len(others))
            for variable in reversed(range(len(self.domains))):
                packed = cubes[index][0]
                wider = packed | self.domains[variable] << self.offsets[variable]
                if wider == packed or self._is_wrong(wider, answer):
                    continue
                if self._is_free(wider, answer, others):
                    cubes[index] = (wider, answer)
        return cubes
