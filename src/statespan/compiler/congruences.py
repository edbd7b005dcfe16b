"""Right congruences of an automaton, and chains of them that components can follow.

A right congruence is a partition of the states that every symbol maps block into block, so that
the block after a symbol depends on the block before it (Hartmanis and Stearns 1966, there: a
partition with the substitution property). A finer one adds to a coarser one what a memory beside
it must hold. Here are those refinements for which the memory is a reset component, one of two
values that may be flipped, or one of a few values of which symbols may swap two.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from statespan.compiler.actions import Moves
from statespan.compiler.swap_labels import fixed_labels, swapped_labels
from statespan.languages.automaton import DFA

__all__ = ["Partition", "Refinement", "congruence_chain", "meet", "right_congruences"]

Partition: TypeAlias = tuple[int, ...]
"""The block of each state; blocks are numbered by their first states."""

CONGRUENCE_LIMIT = 3_000
JOIN_BUDGET = 500_000


@final
@dataclass(frozen=True, slots=True)
class Refinement:
    """A component that refines a partition: the value of each state, of `size` values.

    None where the block of the state is not split.
    """

    partition: Partition
    values: tuple[int | None, ...]
    size: int


def right_congruences(dfa: DFA, *, limit: int = CONGRUENCE_LIMIT) -> list[Partition]:
    """Return the right congruences of `dfa`, the finest first; at most about `limit` of them.

    All of them, where they are fewer: each is a join of principal ones.
    """
    finest = tuple(range(dfa.num_states))
    principal: dict[Partition, None] = {}
    for left in range(dfa.num_states):
        for right in range(left):
            principal.setdefault(_principal(dfa, left, right))
    found: dict[Partition, None] = dict.fromkeys([finest, *principal])
    order = list(found)
    joins = JOIN_BUDGET // dfa.num_states
    for partition in order:
        for other in principal:
            joins -= 1
            if len(order) >= limit or joins < 0:
                return order
            joined = _join(partition, other)
            if joined not in found:
                found[joined] = None
                order.append(joined)
    return order


def _principal(dfa: DFA, left: int, right: int) -> Partition:
    """Return the finest right congruence that puts two states together."""
    parent = list(range(dfa.num_states))
    pairs = [(left, right)]
    for first, second in pairs:
        a, b = _root(parent, first), _root(parent, second)
        if a != b:
            parent[max(a, b)] = min(a, b)
            pairs.extend(zip(dfa.transitions[a], dfa.transitions[b], strict=True))
    return _normalize([_root(parent, state) for state in range(dfa.num_states)])


def _root(parent: list[int], state: int) -> int:
    while parent[state] != state:
        parent[state] = parent[parent[state]]
        state = parent[state]
    return state


def _normalize(blocks: Iterable[object]) -> Partition:
    numbers: dict[object, int] = {}
    return tuple(numbers.setdefault(block, len(numbers)) for block in blocks)


def _join(left: Partition, right: Partition) -> Partition:
    """Return the finest partition coarser than both."""
    parent = list(range(len(left)))
    for partition in (left, right):
        first: dict[int, int] = {}
        for state, block in enumerate(partition):
            a, b = _root(parent, first.setdefault(block, state)), _root(parent, state)
            parent[max(a, b)] = min(a, b)
    return _normalize([_root(parent, state) for state in range(len(left))])


def meet(partitions: Sequence[Partition]) -> Partition:
    """Return the coarsest partition finer than each of `partitions`, of which there is one."""
    return _normalize(zip(*partitions, strict=True))


def congruence_chain(dfa: DFA, *, moves: Moves) -> list[list[Refinement]]:
    """Return components level by level; those of a level read the blocks of the levels before.

    Each level splits the blocks as far as any components can. `moves` says how symbols may permute
    values; components with such symbols are used where no reset component splits as far.
    """
    congruences = right_congruences(dfa)
    current: Partition = (0,) * dfa.num_states
    chain: list[list[Refinement]] = []
    while True:
        options = []
        for partition in congruences:
            if partition == current or meet([current, partition]) != partition:
                continue
            refinement = _refine(dfa, current, partition, moves=moves)
            if refinement is not None:
                options.append(refinement)
        if not options:
            return chain
        level = _irredundant(current, options)
        current = meet([current, *(refinement.partition for refinement in level)])
        chain.append(level)


def _irredundant(current: Partition, options: list[Refinement]) -> list[Refinement]:
    """Return few of `options` that together split as far as all of them."""
    target = meet([option.partition for option in options])
    chosen: list[Refinement] = []
    while current != target:
        best = max(
            options, key=lambda o: (max(meet([current, o.partition])), -o.size, -max(o.partition))
        )
        chosen.append(best)
        current = meet([current, best.partition])
    for option in list(chosen):
        rest = [other for other in chosen if other is not option]
        if rest and meet([other.partition for other in rest]) == target:
            chosen = rest
    return chosen


def _refine(dfa: DFA, coarse: Partition, fine: Partition, *, moves: Moves) -> Refinement | None:
    """Return the component that tells the blocks of `fine` apart inside those of `coarse`."""
    blocks: list[list[int]] = [[] for _ in range(max(coarse) + 1)]
    first: dict[int, int] = {}
    for state, block in enumerate(fine):
        if block not in first:
            first[block] = state
            blocks[coarse[state]].append(block)
    kept: list[tuple[list[int], list[int]]] = []
    for inner in blocks:
        for letter in range(len(dfa.alphabet)) if len(inner) > 1 else ():
            images = [fine[dfa.transitions[first[block]][letter]] for block in inner]
            if len(set(images)) == len(images):
                kept.append((inner, images))
            elif len(set(images)) > 1:
                return None
    values = fixed_labels(blocks, kept)
    if values is None and moves != "none" and max(map(len, blocks)) == 2:
        values = _label_with_flips(blocks, kept)
    if values is None and moves == "swaps":
        values = swapped_labels(blocks, kept)
    if values is None:
        return None
    split = [len(blocks[block]) > 1 for block in coarse]
    return Refinement(
        fine,
        tuple(values[b] if split[s] else None for s, b in enumerate(fine)),
        1 + max(values[b] for inner in blocks if len(inner) > 1 for b in inner),
    )


def _label_with_flips(
    blocks: list[list[int]], kept: list[tuple[list[int], list[int]]]
) -> dict[int, int]:
    """Return values 0 and 1 so that many of the `kept` maps keep them; the rest swap them."""
    values = {block: index for inner in blocks for index, block in enumerate(inner)}
    neighbors: dict[int, list[int]] = {}
    for inner, images in kept:
        for block, image in zip(inner, images, strict=True):
            neighbors.setdefault(block, []).append(image)
            neighbors.setdefault(image, []).append(block)
    partner: dict[int, int] = {}
    for inner in blocks:
        if len(inner) == 2:
            partner |= {inner[0]: inner[1], inner[1]: inner[0]}
    done: set[int] = set()
    for inner in blocks:
        if len(inner) < 2 or inner[0] in done:
            continue
        queue = [inner[0]]
        done.update(inner)
        for block in queue:
            for member in (block, partner[block]):
                for other in neighbors.get(member, ()):
                    if other not in done:
                        values[other], values[partner[other]] = values[member], 1 - values[member]
                        done.update((other, partner[other]))
                        queue.append(other)
    return values
