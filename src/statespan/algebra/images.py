"""The orbit of image sets, and the groups of permutations that live on them.

The sets Q·w, for all words w and the set Q of all states, are far fewer than the elements of the
transition monoid. In a strong component of their graph all sets have the same size, so each
symbol that stays inside is a bijection; the words that lead a set R back to itself form a group
of permutations of R, the Schützenberger group (Schützenberger 1957; Lallement 1979, ch. 2). Every
maximal subgroup of the monoid is one of these groups, and each of these groups is a quotient of
a subgroup of the monoid.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import final

from statespan.algebra.graphs import strong_components
from statespan.algebra.transformations import (
    Transformation,
    composer,
    letter_transformations,
    list_images,
    to_table,
    to_transformation,
)
from statespan.errors import LimitError
from statespan.languages.automaton import DFA

__all__ = ["IMAGE_LIMIT", "ImageComponent", "ImageOrbit", "Walk", "image_orbit"]

IMAGE_LIMIT = 2_000_000
CHUNK = 8
TABLE_LIMIT = 2 * 10**9


@final
@dataclass(frozen=True, eq=False)
class ImageOrbit:
    """The sets Q·w as bit masks, with the graph of their symbols.

    `targets[i * k + a]` is the number of the set after symbol a; set 0 is Q itself.
    """

    dfa: DFA
    images: list[int]
    targets: array[int]

    @cached_property
    def component_of(self) -> list[int]:
        """The strong component of each set, sinks first."""
        return strong_components(self.targets, len(self.dfa.alphabet))

    def components(self) -> Iterator[ImageComponent]:
        """Yield the components of sets with at least two states, those nearest to Q first."""
        first: dict[int, int] = {}
        for number, component in enumerate(self.component_of):
            if component not in first:
                first[component] = number
                if self.images[number].bit_count() > 1:
                    yield ImageComponent(self, number)


def image_orbit(dfa: DFA, *, limit: int = IMAGE_LIMIT) -> ImageOrbit:
    """Return the orbit of the set of all states of `dfa` under its symbols.

    Raises:
        LimitError: there are more than `limit` sets, or so many states that the tables to find
            them take more than 2 GB.
    """
    k = len(dfa.alphabet)
    table_bytes = 4 * k * dfa.num_states**2
    if table_bytes > TABLE_LIMIT:
        raise LimitError(
            f"the image sets of {dfa.num_states:,} states under {k} symbols need tables of "
            f"{table_bytes:,} bytes, more than the {TABLE_LIMIT:,} allowed."
        )
    tables = [_chunk_tables(dfa, letter) for letter in range(k)]
    full = (1 << dfa.num_states) - 1
    images = [full]
    ids = {full: 0}
    targets = array("q")
    for mask in images:
        pieces = mask.to_bytes((dfa.num_states + CHUNK - 1) // CHUNK, "little")
        for chunks in tables:
            image = 0
            for table, piece in zip(chunks, pieces, strict=True):
                image |= table[piece]
            number = ids.get(image)
            if number is None:
                number = len(images)
                if number >= limit:
                    raise LimitError(
                        f"the automaton has more than {limit:,} image sets: {limit:,} were "
                        f"reached from {dfa.num_states} states. Raise `limit` to go on."
                    )
                ids[image] = number
                images.append(image)
            targets.append(number)
    return ImageOrbit(dfa, images, targets)


def _chunk_tables(dfa: DFA, letter: int) -> list[list[int]]:
    """Return, for each eight states, the image set of each of their 256 subsets."""
    tables = []
    for first in range(0, dfa.num_states, CHUNK):
        table = [0]
        for row in dfa.transitions[first : first + CHUNK]:
            bit = 1 << row[letter]
            table += [image | bit for image in table]
        tables.append(table)
    return tables


@final
@dataclass(frozen=True, slots=True)
class Walk:
    """A closed walk of a component's first set R: the permutation of R it makes, and its word.

    `permutation[i]` is the position in R of the image of R's i-th state.
    """

    permutation: tuple[int, ...]
    letters: tuple[int, ...]


@final
@dataclass(frozen=True, eq=False)
class ImageComponent:
    """A strong component of the orbit: sets of equal size with bijections between them.

    `root` is the number of its first set R. A breadth-first tree from R lists every other set in
    the order in which R's states arrive; `listing[i][j]` is where the j-th state of R goes.
    """

    orbit: ImageOrbit
    root: int

    @cached_property
    def states(self) -> tuple[int, ...]:
        """The states of R, ascending."""
        return tuple(list_images(self.orbit.images[self.root], self.orbit.dfa.num_states))

    @cached_property
    def _tree(self) -> tuple[dict[int, Transformation], dict[int, tuple[int, int]]]:
        targets, k = self.orbit.targets, len(self.orbit.dfa.alphabet)
        number_of = self.orbit.component_of
        component = number_of[self.root]
        compose, tables = composer(self.orbit.dfa.num_states), self._tables
        listing = {self.root: list_images(self.orbit.images[self.root], self.orbit.dfa.num_states)}
        came: dict[int, tuple[int, int]] = {}
        queue = deque([self.root])
        while queue:
            node = queue.popleft()
            for letter in range(k):
                target = targets[node * k + letter]
                if number_of[target] == component and target not in listing:
                    listing[target] = compose(listing[node], tables[letter])
                    came[target] = (node, letter)
                    queue.append(target)
        return listing, came

    @cached_property
    def _tables(self) -> list[Transformation]:
        return [to_table(letter) for letter in letter_transformations(self.orbit.dfa)]

    def edges(self) -> Iterator[tuple[int, int, int]]:
        """Yield (set, symbol, set) for the edges inside, in breadth-first order."""
        targets, k = self.orbit.targets, len(self.orbit.dfa.alphabet)
        listing = self._tree[0]
        for node in listing:
            for letter in range(k):
                target = targets[node * k + letter]
                if target in listing:
                    yield node, letter, target

    def twisted_edges(self) -> Iterator[tuple[int, int, int]]:
        """Yield the edges that disagree with the tree: none exactly if the group is trivial."""
        listing = self._tree[0]
        compose, tables = composer(self.orbit.dfa.num_states), self._tables
        for node, letter, target in self.edges():
            if compose(listing[node], tables[letter]) != listing[target]:
                yield node, letter, target

    def closed_walks(self) -> Iterator[tuple[tuple[int, ...], int, int, int]]:
        """Yield a closed walk at R for each edge inside: (permutation, length, set, symbol).

        The walk goes down the tree to the set, along the edge, and back to R by a shortest path.
        These walks generate the Schützenberger group. `walk` spells one.
        """
        listing, came = self._tree
        compose, tables, home = composer(self.orbit.dfa.num_states), self._tables, self._home
        depth = {self.root: 0}
        for node, (parent, _) in came.items():
            depth[node] = depth[parent] + 1
        for node, letter, target in self.edges():
            table, distance = home[target]
            images = compose(compose(listing[node], tables[letter]), table)
            yield tuple(images), depth[node] + 1 + distance, node, letter

    def walk(self, node: int, letter: int | None = None) -> Walk:
        """Return the walk: down the tree to `node`, by `letter` if given, and back to R."""
        targets, k = self.orbit.targets, len(self.orbit.dfa.alphabet)
        came = self._tree[1]
        word: list[int] = []
        at = node
        while at != self.root:
            at, step = came[at]
            word.append(step)
        word.reverse()
        if letter is not None:
            word.append(letter)
            node = targets[node * k + letter]
        while node != self.root:
            step = self._back[node]
            word.append(step)
            node = targets[node * k + step]
        return Walk(self._permutation(word), tuple(word))

    def _permutation(self, letters: list[int]) -> tuple[int, ...]:
        rows = self.orbit.dfa.transitions
        images = self.states
        for letter in letters:
            images = tuple([rows[state][letter] for state in images])
        position = {state: index for index, state in enumerate(self.states)}
        return tuple(position[image] for image in images)

    @cached_property
    def _back(self) -> dict[int, int]:
        """The first symbol of a shortest path to R from each other set, nearest first."""
        sources: dict[int, list[tuple[int, int]]] = {}
        for node, letter, target in self.edges():
            sources.setdefault(target, []).append((node, letter))
        back: dict[int, int] = {}
        queue = deque([self.root])
        while queue:
            for node, letter in sources.get(queue.popleft(), ()):
                if node != self.root and node not in back:
                    back[node] = letter
                    queue.append(node)
        return back

    @cached_property
    def _home(self) -> dict[int, tuple[Transformation, int]]:
        """For each set, the place in R where `_back` takes each of its states, and its length."""
        n, targets, k = self.orbit.dfa.num_states, self.orbit.targets, len(self.orbit.dfa.alphabet)
        compose, letters = composer(n), letter_transformations(self.orbit.dfa)
        places = [0] * n
        for place, state in enumerate(self.states):
            places[state] = place
        home = {self.root: (to_table(to_transformation(places)), 0)}
        for node, letter in self._back.items():
            table, distance = home[targets[node * k + letter]]
            home[node] = (to_table(compose(letters[letter], table)), distance + 1)
        return home
