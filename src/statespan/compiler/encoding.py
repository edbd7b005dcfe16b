"""Encodings: the states of an automaton written as the values of components.

An encoding says what each component must hold at each node; how symbols must write, keep or flip
it follows from that. It need not come from a theorem: whether components can compute it is found
out by `realize`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias, final

__all__ = ["Coordinates", "Encoding"]

Coordinates: TypeAlias = tuple[int | None, ...]
"""The value that each component must hold, None where any will do."""


@final
@dataclass(frozen=True, eq=False)
class Encoding:
    """An automaton, from node 0, with a coordinate for each component at each node.

    `targets[node][letter]` is the node after a letter, and `answers[node]` what the readout has to
    say there. The nodes are those that can be reached.
    """

    targets: Sequence[Sequence[int]]
    answers: Sequence[int]
    coordinates: Sequence[Coordinates]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """The number of values of each component."""
        return tuple(
            1 + max((value for value in set(column) if value is not None), default=0)
            for column in zip(*self.coordinates, strict=True)
        )

    @property
    def num_letters(self) -> int:
        """The number of letters."""
        return len(self.targets[0])

    def without(self, component: int) -> Encoding:
        """Return the encoding with one component less."""
        rows = [(*row[:component], *row[component + 1 :]) for row in self.coordinates]
        return replace(self, coordinates=rows)

    def without_constants(self) -> Encoding:
        """Return the encoding without the components that have one value only."""
        kept = [number for number, size in enumerate(self.sizes) if size > 1]
        return replace(self, coordinates=[tuple([r[c] for c in kept]) for r in self.coordinates])

    def merged(self, component: int, low: int, high: int) -> Encoding:
        """Return the encoding in which two values of a component, low < high, are one."""
        size = self.sizes[component]
        number = [v if v < high else low if v == high else v - 1 for v in range(size)]
        rows = [
            row
            if (value := row[component]) is None
            else (*row[:component], number[value], *row[component + 1 :])
            for row in self.coordinates
        ]
        return replace(self, coordinates=rows)
