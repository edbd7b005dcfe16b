"""The holonomy decomposition of an automaton, relative to a right congruence.

A state is found by steps: from the block that holds it to a tile of the block, to a tile of the
tile, and so on. A component remembers which tile was taken. A symbol that keeps the image keeps
the number of its tile, or permutes what names the tile where words permute the tiles; a symbol that
shrinks the image says which tile holds the result (Eilenberg 1976; Egri-Nagy and Nehaniv 2015,
arXiv:1508.02800).

Classes of images are on levels. An image that a symbol turns into one of another class without
shrinking it is usually put above its target. That is not needed where the tiles of the two can be
numbered alike, too; both are then on one level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias, final

from statespan.compiler.encoding import Coordinates, Encoding
from statespan.compiler.labels import SharedLabels
from statespan.compiler.tile_paths import Path
from statespan.compiler.tiles import Tiling
from statespan.errors import LimitError

__all__ = ["CHAIN_LIMIT", "TileChoice", "holonomy"]

TileChoice: TypeAlias = Callable[[Sequence[int]], int]
"""Which of the tiles that would do (their numbers of states) is taken."""

CHAIN_LIMIT = 200_000


def holonomy(tiling: Tiling, choose: TileChoice, *, limit: int = CHAIN_LIMIT) -> Encoding:
    """Return the chains of tiles that states are found by; the answer at a chain is its state.

    A step has a few coordinates: the number of a tile, and halves or labels that words permute.

    Raises:
        LimitError: there are more than `limit` chains.
    """
    return _Chains(_Levels(tiling), choose, limit).encoding()


@final
class _Levels:
    """The level of each class, and numbers for tiles that weak edges keep where they can."""

    def __init__(self, tiling: Tiling) -> None:
        self.tiling = tiling
        self.family = tiling.family
        family, paths = self.family, tiling.paths
        self.labels = SharedLabels([len(paths[members[0]]) for members in family.members])
        below = self._strict_edges()
        weak = self._weak_edges()
        self.heights = self._heights(below, weak)
        colors = self.labels.colors()
        self.paths = [
            self._labeled(image, colors[self.labels.first[owner] :])
            for image, owner in enumerate(family.class_of)
        ]
        self.slots = max(
            (len(step) for own in self.paths for path in own for step in path), default=0
        )
        self.depth = max(self.heights[family.class_of[block]] for block in family.blocks)

    def _labeled(self, image: int, colors: list[int]) -> tuple[Path, ...]:
        paths = self.tiling.paths[image]
        if self.tiling.moved[self.family.class_of[image]]:
            return paths
        return tuple(((color, None),) for color, _ in zip(colors, paths, strict=False))

    def level(self, image: int) -> int:
        """Return the number of the first step that names a tile of `image`, from 0."""
        return self.depth - self.heights[self.family.class_of[image]]

    def width(self, image: int) -> int:
        """Return the number of steps that name a tile of `image`."""
        return self.tiling.width(self.family.class_of[image])

    def path(self, image: int, tile: int) -> Path:
        """Return the path of the tile `tile` of `image`."""
        return self.paths[image][self.tiling.tiles[image].index(tile)]

    def _strict_edges(self) -> list[set[int]]:
        family, class_of = self.family, self.family.class_of
        below: list[set[int]] = [set() for _ in family.members]
        for image, tiles in enumerate(self.tiling.tiles):
            below[class_of[image]].update(class_of[piece] for piece in tiles)
            for letter in range(len(family.dfa.alphabet)):
                target = family.target(image, letter)
                if family.size(target) < family.size(image):
                    below[class_of[image]].add(class_of[target])
        return below

    def _weak_edges(self) -> list[dict[int, bool]]:
        """Return the classes that each is turned into for good, and whether that costs a level."""
        family, class_of = self.family, self.family.class_of
        edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for image in range(len(family.images)):
            for letter in range(len(family.dfa.alphabet)):
                target = family.target(image, letter)
                pair = (class_of[image], class_of[target])
                if pair[0] != pair[1] and family.size(image) == family.size(target) > 1:
                    edges.setdefault(pair, []).append((image, letter))
        weak: list[dict[int, bool]] = [{} for _ in family.members]
        for source, sink in sorted(edges, key=lambda pair: (-family.class_size(pair[0]), pair)):
            pairs = self._carried(edges[source, sink])
            weak[source][sink] = pairs is None or not self.labels.unite(pairs)
        return weak

    def _carried(self, edges: list[tuple[int, int]]) -> list[tuple[int, int]] | None:
        """Return the places of tiles and of the tiles that they go into; None if that fails."""
        family, tiles = self.family, self.tiling.tiles
        pairs: dict[tuple[int, int], None] = {}
        for image, letter in edges:
            target = family.target(image, letter)
            source, sink = family.class_of[image], family.class_of[target]
            if self.tiling.moved[source] or self.tiling.moved[sink]:
                return None
            for index, piece in enumerate(tiles[image]):
                mask = family.images[family.target(piece, letter)]
                into = family.holding(mask, tiles[target])
                if not into:
                    return None
                pairs[self.labels.first[source] + index, self.labels.first[sink] + into[0]] = None
        return list(pairs)

    def _heights(self, below: list[set[int]], weak: list[dict[int, bool]]) -> list[int]:
        family = self.family
        heights = [0] * len(family.members)
        for owner in sorted(range(len(heights)), key=lambda c: (family.class_size(c), c)):
            width = self.tiling.width(owner)
            if width:
                under = [width + heights[other] for other in below[owner]]
                beside = [
                    heights[other] + (width if costs else 0) for other, costs in weak[owner].items()
                ]
                heights[owner] = max(under + beside)
        return heights


@final
class _Chains:
    """The chains reached from the start: the images at each step, from a block to a state."""

    def __init__(self, levels: _Levels, choose: TileChoice, limit: int) -> None:
        self.levels = levels
        self.family = levels.family
        self.choose = choose
        self.limit = limit
        self.state_of = {single: state for state, single in enumerate(self.family.singles)}
        self.widths: dict[tuple[int, int], int] = {}
        self.entered: dict[tuple[int, int], int] = {}
        self.named: dict[tuple[int, int], list[int | None]] = {}
        self.kept: dict[tuple[int, int, int], int] = {}

    def encoding(self) -> Encoding:
        """Return the chains as an encoding."""
        dfa = self.family.dfa
        start = self._first(dfa.start)
        ids = {start: 0}
        chains = [start]
        targets: list[list[int]] = []
        for chain in chains:
            row = []
            for letter in range(len(dfa.alphabet)):
                following = self._step(chain, letter)
                if following not in ids:
                    if len(chains) >= self.limit:
                        raise LimitError(
                            f"the decomposition of {dfa.num_states} states reaches more than "
                            f"{self.limit:,} chains of image sets."
                        )
                    ids[following] = len(chains)
                    chains.append(following)
                row.append(ids[following])
            targets.append(row)
        states = [self.state_of[chain[-1]] for chain in chains]
        coordinates = [self._coordinates(chain) for chain in chains]
        return Encoding(targets, states, coordinates).without_constants()

    def _first(self, state: int) -> tuple[int, ...]:
        """Return a chain for the start; any will do."""
        chain: list[int] = []
        image = self.family.blocks[state]
        while len(chain) < self.levels.depth:
            width = self._width_at(len(chain), image)
            chain += [image] * max(width, 1)
            if width:
                image = self._enter(self.family.singles[state], image)
        return (*chain, image)

    def _step(self, chain: tuple[int, ...], letter: int) -> tuple[int, ...]:
        family, depth = self.family, self.levels.depth
        image = family.blocks[self.state_of[family.target(chain[-1], letter)]]
        following: list[int] = []
        while len(following) < depth:
            level = len(following)
            width = self._width_at(level, image)
            following += [image] * max(width, 1)
            if width:
                moved = family.target(chain[level], letter)
                if moved == image:
                    image = self._keep(chain[level], chain[level + width], letter)
                else:
                    image = self._enter(moved, image)
        return (*following, image)

    def _width_at(self, level: int, image: int) -> int:
        """Return the number of steps from `image` if they begin at `level`, else 0."""
        key = (level, image)
        if key not in self.widths:
            starts = self.levels.level(image) == level
            self.widths[key] = self.levels.width(image) if starts else 0
        return self.widths[key]

    def _keep(self, image: int, piece: int, letter: int) -> int:
        """Return the tile after a symbol that keeps the label of `piece` and holds its image."""
        key = (image, piece, letter)
        if key not in self.kept:
            family = self.family
            target, moved = family.target(image, letter), family.target(piece, letter)
            if not self.levels.tiling.moved[family.class_of[image]]:
                tiles = self.levels.tiling.tiles[target]
                label = self.levels.path(image, piece)
                options = family.holding(family.images[moved], tiles)
                labeled = (tiles[i] for i in options)
                moved = next(tile for tile in labeled if self.levels.path(target, tile) == label)
            self.kept[key] = moved
        return self.kept[key]

    def _enter(self, inside: int, image: int) -> int:
        """Return the tile of `image` that is taken when the image `inside` is known to be in it."""
        key = (inside, image)
        if key not in self.entered:
            tiles = self.levels.tiling.tiles[image]
            options = [tiles[i] for i in self.family.holding(self.family.images[inside], tiles)]
            chosen = self.choose([self.family.size(option) for option in options])
            self.entered[key] = options[chosen]
        return self.entered[key]

    def _coordinates(self, chain: tuple[int, ...]) -> Coordinates:
        coordinates: list[int | None] = []
        slots, level = self.levels.slots, 0
        while level < self.levels.depth:
            image = chain[level]
            width = self._width_at(level, image)
            if width:
                key = (image, chain[level + width])
                if key not in self.named:
                    path = self.levels.path(*key)
                    self.named[key] = [v for step in path for v in _padded(step, slots)]
                coordinates += self.named[key]
            else:
                coordinates += [None] * slots
            level += max(width, 1)
        return tuple(coordinates)


def _padded(step: tuple[int | None, ...], slots: int) -> list[int | None]:
    return [*step, *[None] * (slots - len(step))]
