"""Labels of blocks are found where maps between the blocks keep them or swap two."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from statespan.compiler.swap_labels import Bijection, fixed_labels, swapped_labels


def random_blocks(rng: Random, *, swaps: bool) -> tuple[list[list[int]], list[Bijection]]:
    """Blocks with labels in a random order, and maps that keep the labels or swap two."""
    size, count = rng.randint(2, 5), rng.randint(1, 6)
    blocks = [rng.sample(range(size * n, size * (n + 1)), size) for n in range(count)]
    maps = []
    for _ in range(rng.randint(1, 12)):
        images = list(rng.choice(blocks))
        if swaps and rng.random() < 0.7:
            i, j = rng.sample(range(size), 2)
            images[i], images[j] = images[j], images[i]
        maps.append((rng.choice(blocks), images))
    return blocks, maps


def num_moved(labels: dict[int, int], bijection: Bijection) -> int:
    pairs = zip(*bijection, strict=True)
    return sum(labels[member] != labels[image] for member, image in pairs)


@given(st.integers(0, 10**6))
def test_labels_that_are_there_are_found(seed: int) -> None:
    blocks, maps = random_blocks(Random(seed), swaps=True)
    labels = swapped_labels(blocks, maps)
    assert labels is not None
    for block in blocks:
        assert sorted(labels[member] for member in block) == list(range(len(block)))
    assert all(num_moved(labels, bijection) in {0, 2} for bijection in maps)


@given(st.integers(0, 10**6))
def test_labels_that_can_be_kept_are_kept(seed: int) -> None:
    blocks, maps = random_blocks(Random(seed), swaps=False)
    for labels in (fixed_labels(blocks, maps), swapped_labels(blocks, maps)):
        assert labels is not None
        assert all(num_moved(labels, bijection) == 0 for bijection in maps)


def test_a_block_that_is_turned_has_no_labels() -> None:
    turn: Bijection = ([0, 1, 2], [1, 2, 0])
    swap: Bijection = ([0, 1, 2], [1, 0, 2])
    assert swapped_labels([[0, 1, 2]], [turn]) is None
    assert swapped_labels([[0, 1, 2]], [swap]) is not None
    assert fixed_labels([[0, 1, 2]], [swap]) is None


def test_two_blocks_can_be_turned_there_and_back() -> None:
    """The second block takes the labels in the opposite order."""
    there: Bijection = ([0, 1, 2], [4, 5, 3])
    back: Bijection = ([3, 4, 5], [1, 2, 0])
    labels = swapped_labels([[0, 1, 2], [3, 4, 5]], [there, back])
    assert labels is not None
    assert [num_moved(labels, bijection) for bijection in (there, back)] == [2, 2]


def test_too_large_a_block_is_not_searched() -> None:
    members = list(range(6))
    assert swapped_labels([members], [(members, [1, 0, 2, 3, 4, 5])]) is None
