"""Labels of tiles that classes of images share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import final

__all__ = ["SharedLabels"]


@final
class SharedLabels:
    """Numbers of tiles that are to be the same across classes: a union-find with undo.

    A place is (class, tile). No two tiles of a class may get the same label.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        """Begin with a label for each of the `counts[c]` tiles of class c."""
        self.counts = counts
        self.first = [0]
        for count in counts:
            self.first.append(self.first[-1] + count)
        self.parent = list(range(self.first[-1]))
        self.classes: list[frozenset[int]] = [
            frozenset([owner]) for owner, count in enumerate(counts) for _ in range(count)
        ]

    def root(self, place: int) -> int:
        """Return the place that stands for all with the label of `place`."""
        while self.parent[place] != place:
            place = self.parent[place]
        return place

    def unite(self, pairs: Iterable[tuple[int, int]]) -> bool:
        """Give each pair of places one label; change nothing and return False if that fails."""
        undo: list[tuple[int, int, frozenset[int]]] = []
        for left, right in pairs:
            a, b = self.root(left), self.root(right)
            if a == b:
                continue
            if self.classes[a] & self.classes[b]:
                for child, parent, classes in reversed(undo):
                    self.parent[child] = child
                    self.classes[parent] = classes
                return False
            if len(self.classes[a]) < len(self.classes[b]):
                a, b = b, a
            undo.append((b, a, self.classes[a]))
            self.parent[b] = a
            self.classes[a] |= self.classes[b]
        return True

    def colors(self) -> list[int]:
        """Return a small number for each place; tiles of a class get different ones."""
        roots = [self.root(place) for place in range(len(self.parent))]
        taken: list[set[int]] = [set() for _ in self.counts]
        color: dict[int, int] = {}
        order = sorted(set(roots), key=lambda root: (-len(self.classes[root]), root))
        for root in order:
            used = set().union(*(taken[owner] for owner in self.classes[root]))
            color[root] = next(c for c in range(len(used) + 1) if c not in used)
            for owner in self.classes[root]:
                taken[owner].add(color[root])
        return [color[root] for root in roots]
