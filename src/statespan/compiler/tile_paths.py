"""Paths to tiles: the numbers that name a tile of an image, which words keep, swap or turn over.

Words that turn an image into itself may permute its tiles. In a 2-group, tiles are halves of halves
of their orbit, and a permutation turns halves over. Else blocks of tiles get labels, image by
image, so that a symbol swaps at most two labels: first those of large blocks, then those of the
blocks inside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from statespan.compiler.swap_labels import MOST_SEARCHED, Bijection, swapped_labels

__all__ = ["Passage", "Path", "halving_paths", "plain_paths", "swapping_paths"]

Path: TypeAlias = tuple[tuple[int | None, ...], ...]
"""How to find a tile in a few steps. Each has the number of an orbit, then halves or labels that
symbols may permute; None where needless."""

Permutation: TypeAlias = tuple[int, ...]

Partition: TypeAlias = tuple[int, ...]
"""The least member of the block of each tile."""

JOIN_BUDGET = 2_000_000
"""Images of tiles that are looked at in the search for invariant partitions of an orbit."""


@final
@dataclass(frozen=True, slots=True)
class Passage:
    """A symbol that turns an image of a class into one: places in the class, and where tiles go."""

    source: int
    sink: int
    permutation: Permutation


def plain_paths(count: int) -> tuple[Path, ...]:
    """Return the paths of tiles that no word permutes."""
    return tuple(((tile, None),) for tile in range(count))


def halving_paths(count: int, permutations: Sequence[Permutation]) -> tuple[Path, ...] | None:
    """Return a path for each of `count` tiles; None if the permutations make no 2-group.

    A path names the orbit of the tile, then halves of the orbit, halves of the half, and so on,
    so that each permutation takes halves to halves. There are such halves exactly in a 2-group.
    """
    orbits = _closure(count, permutations, [])
    systems = [list(range(count))]
    while any(len({systems[-1][t] for t in orbit}) > 1 for orbit in _classes(orbits)):
        coarser = _pair_up(count, permutations, systems[-1], orbits)
        if coarser is None:
            return None
        systems.append(coarser)
    numbers = _orbit_numbers(orbits)
    halves: list[list[int | None]] = [[] for _ in range(count)]
    for coarse, fine in zip(systems[:0:-1], systems[-2::-1], strict=True):
        for block in _classes(coarse):
            inner = sorted({fine[piece] for piece in block})
            for piece in block:
                halves[piece].append(inner.index(fine[piece]) if len(inner) > 1 else None)
    return tuple(map(_path, numbers, halves))


def _orbit_numbers(orbits: Sequence[int]) -> list[int | None]:
    if len(set(orbits)) == 1:
        return [None] * len(orbits)
    return [sorted(set(orbits)).index(orbit) for orbit in orbits]


def _path(number: int | None, halves: list[int | None]) -> Path:
    steps: list[tuple[int | None, ...]] = [(None, half) for half in halves]
    return tuple(steps if number is None else [(number, None), *steps])


def _classes(blocks: Sequence[int]) -> list[list[int]]:
    members: dict[int, list[int]] = {}
    for piece, block in enumerate(blocks):
        members.setdefault(block, []).append(piece)
    return list(members.values())


def _closure(
    count: int, permutations: Sequence[Permutation], pairs: list[tuple[int, int]]
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
    permutations: Sequence[Permutation],
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


def swapping_paths(
    count: int, permutations: Sequence[Permutation], passages: Sequence[Passage]
) -> list[tuple[Path, ...]] | None:
    """Return a path for each of `count` tiles of each image of a class; None if none are found.

    `passages` are all symbols that stay in the class, and `permutations` those that come back.
    """
    orbits = _closure(count, permutations, [])
    numbers = _orbit_numbers(orbits)
    num_images = 1 + max(passage.sink for passage in passages)
    labels: list[list[list[int]]] = [[[] for _ in range(count)] for _ in range(num_images)]
    for orbit in _classes(orbits):
        columns = _columns(orbit, count, permutations, passages)
        if columns is None:
            return None
        for column in columns:
            for image, row in enumerate(labels):
                for piece in orbit:
                    row[piece].append(column[image * count + piece])
    return [
        tuple(((number, *values),) for number, values in zip(numbers, row, strict=True))
        for row in labels
    ]


def _columns(
    orbit: Sequence[int],
    count: int,
    permutations: Sequence[Permutation],
    passages: Sequence[Passage],
) -> list[dict[int, int]] | None:
    """Return labels of (image, tile) that tell the tiles of an orbit apart; None if none do."""
    systems = _systems(orbit, count, permutations)
    current = tuple([orbit[0] if piece in orbit else piece for piece in range(count)])
    columns: list[dict[int, int]] = []
    while len({current[piece] for piece in orbit}) < len(orbit):
        options = []
        for system in systems:
            if _splits(orbit, current, system):
                column = _column(orbit, current, system, passages)
                if column is not None:
                    options.append((system, column))
        if not options:
            return None
        options.sort(key=lambda option: -len(set(option[0])))
        for system, column in options:
            finer = _meet(current, system)
            if finer != current:
                current = finer
                columns.append(column)
    return columns


def _systems(
    orbit: Sequence[int], count: int, permutations: Sequence[Permutation]
) -> list[Partition]:
    """Return partitions of an orbit that the permutations keep, each tile elsewhere by itself."""
    finest = tuple(range(count))
    principal = {
        tuple(_closure(count, permutations, [(orbit[0], other)])): None for other in orbit[1:]
    }
    found = dict.fromkeys([finest, *principal])
    order = list(found)
    joins = JOIN_BUDGET // (count * len(permutations))
    for system in order:
        for other in principal:
            joins -= 1
            if joins < 0:
                return order
            pairs = [(piece, block) for piece, block in enumerate(other) if piece != block]
            within = [(piece, block) for piece, block in enumerate(system) if piece != block]
            joined = tuple(_closure(count, permutations, [*within, *pairs]))
            if joined not in found:
                found[joined] = None
                order.append(joined)
    return order


def _splits(orbit: Sequence[int], coarse: Partition, fine: Partition) -> bool:
    """Return whether `fine` splits each block of `coarse` into a few."""
    inner: dict[int, set[int]] = {}
    outer: dict[int, set[int]] = {}
    for piece in orbit:
        inner.setdefault(coarse[piece], set()).add(fine[piece])
        outer.setdefault(fine[piece], set()).add(coarse[piece])
    refines = all(len(blocks) == 1 for blocks in outer.values())
    return refines and 1 < len(inner[coarse[orbit[0]]]) <= MOST_SEARCHED


def _meet(left: Partition, right: Partition) -> Partition:
    least: dict[tuple[int, int], int] = {}
    pairs = zip(left, right, strict=True)
    return tuple([least.setdefault(pair, piece) for piece, pair in enumerate(pairs)])


def _column(
    orbit: Sequence[int], coarse: Partition, fine: Partition, passages: Sequence[Passage]
) -> dict[int, int] | None:
    """Return labels that tell blocks of `fine` apart inside those of `coarse`, image by image."""
    count = len(coarse)
    inner: dict[int, list[int]] = {}
    for piece in orbit:
        if fine[piece] == piece:
            inner.setdefault(coarse[piece], []).append(piece)
    images = dict.fromkeys(p.source for p in passages) | dict.fromkeys(p.sink for p in passages)
    blocks = [
        [image * count + b for b in members] for image in images for members in inner.values()
    ]
    maps: list[Bijection] = [
        (
            [p.source * count + piece for piece in members],
            [p.sink * count + fine[p.permutation[piece]] for piece in members],
        )
        for p in passages
        for members in inner.values()
    ]
    labels = swapped_labels(blocks, maps)
    if labels is None:
        return None
    return {
        image * count + piece: labels[image * count + fine[piece]]
        for image in images
        for piece in orbit
    }
