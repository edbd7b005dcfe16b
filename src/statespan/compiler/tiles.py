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
from typing import final

from statespan.algebra.graphs import strong_components
from statespan.compiler.congruences import Partition
from statespan.compiler.tile_paths import (
    Passage,
    Path,
    halving_paths,
    plain_paths,
    swapping_paths,
)
from statespan.errors import LimitError
from statespan.languages.automaton import DFA

__all__ = ["FAMILY_LIMIT", "ImageFamily", "Tiling", "image_family", "tile"]

FAMILY_LIMIT = 50_000


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
    """The tiles of each image, and in `paths[image]` the path of each.

    `moved[c]` says whether words permute the tiles of class c; they keep the numbers on a path and
    may permute what follows them.
    """

    family: ImageFamily
    tiles: list[tuple[int, ...]]
    paths: list[tuple[Path, ...]]
    moved: list[bool]

    def width(self, owner: int) -> int:
        """Return the number of steps to a tile of a class."""
        paths = self.paths[self.family.members[owner][0]]
        return len(paths[0]) if paths else 0


def tile(family: ImageFamily, *, swaps: bool = False) -> Tiling | None:
    """Return the tiles of a family; None if a holonomy group is no 2-group.

    With `swaps`, None if in addition no labels of its tiles are found of which a symbol swaps at
    most two.
    """
    tiles: list[tuple[int, ...]] = [()] * len(family.images)
    paths: list[tuple[Path, ...]] = [()] * len(family.images)
    moved: list[bool] = []
    for owner, members in enumerate(family.members):
        if family.class_size(owner) == 1:
            moved.append(False)
            continue
        passages = _spread(family, members, tiles)
        found = _paths(len(tiles[members[0]]), passages, len(members), swaps=swaps)
        if found is None:
            return None
        for image, own in zip(members, found, strict=True):
            paths[image] = own
        moved.append(any(_is_moving(passage) for passage in passages))
    return Tiling(family, tiles, paths, moved)


def _is_moving(passage: Passage) -> bool:
    return any(image != piece for piece, image in enumerate(passage.permutation))


def _paths(
    count: int, passages: Sequence[Passage], num_images: int, *, swaps: bool
) -> list[tuple[Path, ...]] | None:
    """Return the paths of the tiles of each image of a class, None if there are none."""
    permutations = list(dict.fromkeys(p.permutation for p in passages if _is_moving(p)))
    if not permutations:
        return [plain_paths(count)] * num_images
    halves = halving_paths(count, permutations)
    if halves is not None:
        return [halves] * num_images
    return swapping_paths(count, permutations, passages) if swaps else None


def _spread(
    family: ImageFamily, members: Sequence[int], tiles: list[tuple[int, ...]]
) -> list[Passage]:
    """Enter the tiles of a class in `tiles`; return what the symbols do to them inside it.

    Tiles are numbered alike along some symbol that leads to each image.
    """
    first = members[0]
    place = {image: index for index, image in enumerate(members)}
    tiles[first] = _maximal(family, first)
    passages: dict[Passage, None] = {}
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
            number = {piece: index for index, piece in enumerate(tiles[target])}
            permutation = tuple(number[piece] for piece in arrived)
            passages.setdefault(Passage(place[image], place[target], permutation))
    return list(passages)


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
