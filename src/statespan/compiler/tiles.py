"""Images of sets of states, in classes, and the tiles that each is made of.

The family here is the images of the blocks of a right congruence under all words, and all single
states. Images that words turn into one another form a class. The tiles of an image are the largest
images properly inside it; a word that turns an image into another of its class turns tiles into
tiles, so the tiles of a whole class are numbered alike. Words that turn an image into itself may
permute its tiles: the holonomy group of the class (Eilenberg 1976).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from statespan.algebra.graphs import strong_components
from statespan.compiler.congruences import Partition
from statespan.errors import LimitError
from statespan.languages.automaton import DFA

__all__ = ["FAMILY_LIMIT", "ImageFamily", "Path", "Tiling", "image_family", "tile"]

FAMILY_LIMIT = 50_000

Path: TypeAlias = tuple[tuple[int | None, ...], tuple[int | None, ...]]
"""How to find a tile in a few steps: the numbers to follow, and the halves; None where needless."""


@final
@dataclass(frozen=True, eq=False)
class ImageFamily:
    """Images as bit masks, closed under the symbols, and their classes.

    `blocks[state]` is the image that is the block of a state, `singles[state]` the state alone.
    `targets[image * k + a]` is the image after symbol a.
    """

    dfa: DFA
    images: list[int]
    blocks: list[int]
    singles: list[int]
    targets: list[int]
    class_of: list[int]
    members: list[list[int]]

    def target(self, image: int, letter: int) -> int:
        """Return the image of `image` under a symbol."""
        return self.targets[image * len(self.dfa.alphabet) + letter]

    def size(self, image: int) -> int:
        """Return the number of states of an image."""
        return self.images[image].bit_count()

    def class_size(self, owner: int) -> int:
        """Return the number of states of each image of a class."""
        return self.size(self.members[owner][0])

    def holding(self, mask: int, images: Sequence[int]) -> list[int]:
        """Return the places in `images` of those that hold all of the states of `mask`."""
        return [i for i, image in enumerate(images) if mask & self.images[image] == mask]


def image_family(dfa: DFA, partition: Partition, *, limit: int = FAMILY_LIMIT) -> ImageFamily:
    """Return the images of the blocks of `partition`, a right congruence of `dfa`.

    Raises:
        LimitError: there are more than `limit`.
    """
    k = len(dfa.alphabet)
    masks = [0] * (max(partition) + 1)
    for state, block in enumerate(partition):
        masks[block] |= 1 << state
    images = list(dict.fromkeys([*masks, *(1 << state for state in range(dfa.num_states))]))
    number = {image: index for index, image in enumerate(images)}
    targets = []
    for image in images:
        for letter in range(k):
            target = _image(dfa, image, letter)
            if target not in number:
                if len(images) >= limit:
                    raise LimitError(
                        f"the decomposition of {dfa.num_states} states needs more than "
                        f"{limit:,} image sets."
                    )
                number[target] = len(images)
                images.append(target)
            targets.append(number[target])
    class_of = strong_components(targets, k)
    members: list[list[int]] = [[] for _ in range(max(class_of) + 1)]
    for image, owner in enumerate(class_of):
        members[owner].append(image)
    blocks = [number[masks[block]] for block in partition]
    singles = [number[1 << state] for state in range(dfa.num_states)]
    return ImageFamily(dfa, images, blocks, singles, targets, class_of, members)


def _image(dfa: DFA, image: int, letter: int) -> int:
    result = 0
    while image:
        state = (image & -image).bit_length() - 1
        image &= image - 1
        result |= 1 << dfa.transitions[state][letter]
    return result


@final
@dataclass(frozen=True, eq=False)
class Tiling:
    """The tiles of each image; `paths[c]` has the path of each tile of the images of class c.

    `moved[c]` says whether words permute the tiles of class c; they keep the numbers on a path and
    may swap its halves.
    """

    family: ImageFamily
    tiles: list[tuple[int, ...]]
    paths: list[tuple[Path, ...]]
    moved: list[bool]

    def width(self, owner: int) -> int:
        """Return the number of steps to a tile of a class."""
        return len(self.paths[owner][0][0]) if self.paths[owner] else 0


def tile(family: ImageFamily) -> Tiling | None:
    """Return the tiles of a family; None if a holonomy group is no 2-group."""
    tiles: list[tuple[int, ...]] = [()] * len(family.images)
    paths: list[tuple[Path, ...]] = []
    moved: list[bool] = []
    for owner, members in enumerate(family.members):
        if family.class_size(owner) == 1:
            paths.append(())
            moved.append(False)
            continue
        permutations = _spread(family, members[0], tiles)
        found = _paths(len(tiles[members[0]]), permutations)
        if found is None:
            return None
        paths.append(found)
        moved.append(bool(permutations))
    return Tiling(family, tiles, paths, moved)


def _spread(family: ImageFamily, first: int, tiles: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """Enter the tiles of a class in `tiles`; return generators of its group, on their numbers."""
    tiles[first] = _maximal(family, first)
    permutations: dict[tuple[int, ...], None] = {}
    queue = [first]
    seen = {first}
    for image in queue:
        for letter in range(len(family.dfa.alphabet)):
            target = family.target(image, letter)
            if family.class_of[target] != family.class_of[first]:
                continue
            arrived = tuple(family.target(piece, letter) for piece in tiles[image])
            if target not in seen:
                seen.add(target)
                tiles[target] = arrived
                queue.append(target)
            elif tiles[target] != arrived:
                place = {piece: index for index, piece in enumerate(tiles[target])}
                permutations.setdefault(tuple(place[piece] for piece in arrived))
    return list(permutations)


def _maximal(family: ImageFamily, image: int) -> tuple[int, ...]:
    """Return the largest images properly inside `image`, large ones first."""
    masks = family.images
    whole = masks[image]
    inside = [i for i, mask in enumerate(masks) if mask & whole == mask and mask != whole]
    inside.sort(key=lambda i: (-masks[i].bit_count(), masks[i]))
    found: list[int] = []
    for candidate in inside:
        if not family.holding(masks[candidate], found):
            found.append(candidate)
    return tuple(found)


def _paths(count: int, permutations: Sequence[tuple[int, ...]]) -> tuple[Path, ...] | None:
    """Return a path for each of `count` tiles; None if the permutations make no 2-group.

    A path names the orbit of the tile, then halves of the orbit, halves of the half, and so on,
    so that each permutation takes halves to halves. There are such halves exactly in a 2-group.
    """
    if not permutations:
        return tuple(((piece,), (None,)) for piece in range(count))
    orbits = _closure(count, permutations, [])
    systems = [list(range(count))]
    while any(len({systems[-1][t] for t in orbit}) > 1 for orbit in _classes(orbits)):
        coarser = _pair_up(count, permutations, systems[-1], orbits)
        if coarser is None:
            return None
        systems.append(coarser)
    numbers: list[int | None] = [None] * count
    if len(set(orbits)) > 1:
        numbers = [sorted(set(orbits)).index(orbit) for orbit in orbits]
    halves: list[list[int | None]] = [[] for _ in range(count)]
    for coarse, fine in zip(systems[:0:-1], systems[-2::-1], strict=True):
        for block in _classes(coarse):
            inner = sorted({fine[piece] for piece in block})
            for piece in block:
                halves[piece].append(inner.index(fine[piece]) if len(inner) > 1 else None)
    return tuple(map(_path, numbers, halves))


def _path(number: int | None, halves: list[int | None]) -> Path:
    if number is None:
        return (None,) * len(halves), tuple(halves)
    return (number, *[None] * len(halves)), (None, *halves)


def _classes(blocks: Sequence[int]) -> list[list[int]]:
    members: dict[int, list[int]] = {}
    for piece, block in enumerate(blocks):
        members.setdefault(block, []).append(piece)
    return list(members.values())


def _closure(
    count: int, permutations: Sequence[tuple[int, ...]], pairs: list[tuple[int, int]]
) -> list[int]:
    """Return the least member of the block of each point.

    Without pairs, blocks are orbits; else the finest invariant partition that joins the pairs.
    """
    parent = list(range(count))

    def root(point: int) -> int:
        while parent[point] != point:
            point = parent[point]
        return point

    agenda = list(pairs)
    if not agenda:
        agenda = [(point, p[point]) for p in permutations for point in range(count)]
    for left, right in agenda:
        a, b = root(left), root(right)
        if a != b:
            parent[max(a, b)] = min(a, b)
            if pairs:
                agenda.extend((p[left], p[right]) for p in permutations)
    return [root(point) for point in range(count)]


def _pair_up(
    count: int,
    permutations: Sequence[tuple[int, ...]],
    blocks: list[int],
    orbits: list[int],
) -> list[int] | None:
    """Return the blocks with those of every orbit of two or more joined in pairs, None if not."""
    coarser = list(blocks)
    within = [(left, right) for left, right in enumerate(blocks) if left != right]
    for orbit in _classes(orbits):
        numbers = sorted({blocks[piece] for piece in orbit})
        for other in numbers[1:]:
            joined = _closure(count, permutations, [*within, (numbers[0], other)])
            size = len({blocks[piece] for piece in orbit if joined[piece] == joined[orbit[0]]})
            if size == 2:
                for piece in orbit:
                    coarser[piece] = joined[piece]
                break
        else:
            if len(numbers) > 1:
                return None
    return coarser
