"""Green's relations of a transition monoid, and the egg-box picture of each J-class.

x R y if each is the other times something on the right, L the same on the left, H both, J on both
sides (Green 1951, "On the structure of semigroups", Annals of Math. 54; Pin, "Mathematical
Foundations of Automata Theory", ch. V).
R- and L-classes are the strong components of the Cayley graphs; in a finite monoid J is the join
of R and L.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

from statespan.algebra.graphs import strong_components
from statespan.algebra.groups import PermutationGroup, permutation_group
from statespan.algebra.monoid import TransitionMonoid
from statespan.algebra.transformations import Transformation

__all__ = ["EggBox", "GreenClasses", "green_classes", "maximal_subgroup"]


@final
@dataclass(frozen=True, slots=True)
class EggBox:
    """A J-class: a row for each R-class, a column for each L-class, an H-class in each cell.

    `cells[i][j]` are the elements of row i and column j, ascending, all cells of one size; rows
    and columns are in the order of their smallest elements. `idempotents` are those of the class:
    it is regular if there are any, and then every row and column has one. A cell with an
    idempotent is a maximal subgroup.
    """

    number: int
    cells: tuple[tuple[tuple[int, ...], ...], ...]
    idempotents: tuple[int, ...]

    @property
    def is_regular(self) -> bool:
        """Whether there is an idempotent."""
        return bool(self.idempotents)

    @property
    def size(self) -> int:
        """The number of elements."""
        return len(self.cells) * len(self.cells[0]) * len(self.cells[0][0])

    @property
    def cell_size(self) -> int:
        """The number of elements of each H-class: the order of its group, if regular."""
        return len(self.cells[0][0])


@final
@dataclass(frozen=True, eq=False)
class GreenClasses:
    """The classes of each element, by number.

    J-classes are numbered from the bottom: x ≤ y in the J-order implies that the number of the
    class of x is at most that of y, so class 0 is the minimal ideal.
    """

    monoid: TransitionMonoid
    r_class_of: list[int]
    l_class_of: list[int]
    j_class_of: list[int]

    @cached_property
    def num_j_classes(self) -> int:
        """The number of J-classes."""
        return max(self.j_class_of) + 1

    @cached_property
    def num_r_classes(self) -> int:
        """The number of R-classes."""
        return max(self.r_class_of) + 1

    @cached_property
    def num_l_classes(self) -> int:
        """The number of L-classes."""
        return max(self.l_class_of) + 1

    @cached_property
    def num_h_classes(self) -> int:
        """The number of H-classes."""
        return len(set(zip(self.r_class_of, self.l_class_of, strict=True)))

    @cached_property
    def egg_boxes(self) -> tuple[EggBox, ...]:
        """The J-classes in the order of their numbers."""
        members: list[list[int]] = [[] for _ in range(self.num_j_classes)]
        idempotents: list[list[int]] = [[] for _ in range(self.num_j_classes)]
        for x, number in enumerate(self.j_class_of):
            members[number].append(x)
        for e in self.monoid.idempotents:
            idempotents[self.j_class_of[e]].append(e)
        return tuple(
            EggBox(number, self._cells(members[number]), tuple(idempotents[number]))
            for number in range(self.num_j_classes)
        )

    def _cells(self, members: Sequence[int]) -> tuple[tuple[tuple[int, ...], ...], ...]:
        rows: dict[int, dict[int, list[int]]] = {}
        columns: dict[int, None] = {}
        for x in members:
            column = self.l_class_of[x]
            columns[column] = None
            rows.setdefault(self.r_class_of[x], {}).setdefault(column, []).append(x)
        return tuple(tuple(tuple(row[column]) for column in columns) for row in rows.values())

    @cached_property
    def order(self) -> tuple[frozenset[int], ...]:
        """For each J-class, the classes below it that one more symbol, on either side, leads to."""
        k = self.monoid.num_letters
        below: list[set[int]] = [set() for _ in range(self.num_j_classes)]
        for graph in (self.monoid.right, self.monoid.left):
            for edge, target in enumerate(graph):
                below[self.j_class_of[edge // k]].add(self.j_class_of[target])
        return tuple(frozenset(found - {number}) for number, found in enumerate(below))

    def h_class(self, x: int) -> list[int]:
        """Return the elements H-equivalent to `x`, ascending. Linear time."""
        key = (self.r_class_of[x], self.l_class_of[x])
        pairs = zip(self.r_class_of, self.l_class_of, strict=True)
        return [y for y, pair in enumerate(pairs) if pair == key]

    def right_inverse(self, s: int) -> int:
        """Return an element t such that s·t is idempotent and R-equivalent to `s`, a regular one.

        t is read off a shortest path from s to the idempotent in the right Cayley graph.
        """
        monoid, k = self.monoid, self.monoid.num_letters
        idempotents = {e for e in monoid.idempotents if self.r_class_of[e] == self.r_class_of[s]}
        assert idempotents, "the element must be regular"
        words = {s: 0}
        queue = deque([s])
        while queue:
            x = queue.popleft()
            if x in idempotents:
                return words[x]
            for letter in range(k):
                target = monoid.right[x * k + letter]
                if target not in words:
                    words[target] = monoid.right[words[x] * k + letter]
                    queue.append(target)
        raise AssertionError("an R-class is strongly connected")


def green_classes(monoid: TransitionMonoid) -> GreenClasses:
    """Return the Green classes of all elements, in time linear in the Cayley graphs.

    Example:
        >>> from statespan.algebra.monoid import syntactic_monoid
        >>> from statespan.languages import language
        >>> green = green_classes(syntactic_monoid(language("tomita-2").dfa()))
        >>> green.num_j_classes, green.num_r_classes, green.num_h_classes
        (3, 4, 6)
    """
    k = monoid.num_letters
    both = [
        target
        for x in range(len(monoid))
        for graph in (monoid.right, monoid.left)
        for target in graph[x * k : (x + 1) * k]
    ]
    return GreenClasses(
        monoid,
        strong_components(monoid.right, k),
        strong_components(monoid.left, k),
        strong_components(both, 2 * k),
    )


def maximal_subgroup(green: GreenClasses, idempotent: int) -> PermutationGroup:
    """Return the H-class of an idempotent, as the group it is: permutations of its image.

    Point i is the i-th state, ascending, of the image of `idempotent`.
    """
    elements = green.monoid.elements
    states = sorted(set(elements[idempotent]))
    position = {state: index for index, state in enumerate(states)}

    def restrict(transformation: Transformation) -> tuple[int, ...]:
        return tuple(position[transformation[state]] for state in states)

    members = green.h_class(idempotent)
    return permutation_group(len(states), (restrict(elements[x]) for x in members))
