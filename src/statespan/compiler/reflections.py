"""Reflection groups: automata whose letters can be mirrors in a space of few dimensions.

A letter that swaps states, and undoes itself when read twice, is drawn as the reflection in a
hyperplane. Two letters commute when their normals are orthogonal, and generate the group of order
six when the normals are at 60 degrees. Normals are nonnegative roots of E8: unit vectors, and
half-sums of the codewords of weight 4 of the extended Hamming code (Conway and Sloane, *Sphere
Packings, Lattices and Groups*, chapter 4). Reflections in them take halves of integer vectors to
such halves, so a model that reflects a vector at each symbol never rounds; what it has read shows
in the signs of inner products. Everything here is exact: ints and Fractions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, islice
from typing import TypeAlias, final

from statespan.compiler.mirrors import MirrorGroup, Vector, dot, roots_of_e8
from statespan.compiler.reflection_heads import HeadSearch, ReflectionHead
from statespan.languages.automaton import DFA, minimize
from statespan.languages.symbols import Alphabet

__all__ = ["Normal", "ReflectionSystem", "check_reflection_system", "reflection_system"]

Normal: TypeAlias = tuple[Fraction, ...]
"""A unit vector with entries 0, 1/2 and 1."""

MAX_ELEMENTS = 1_000

MAX_DRAWINGS = 5_000

SEARCHES = ((1, 4), (2, 4), (1, 8), (4, 8))
"""What is tried, in turn: how many heads, in how many dimensions at most."""

DIMENSIONS = (1, 4, 5, 8)
"""Where mirrors are looked for; in dimension 5 one coordinate can stay as it is."""


@final
@dataclass(frozen=True, slots=True)
class ReflectionSystem:
    """A language whose letters reflect vectors, and whose words are told by signs.

    Every head begins at its `start`; a symbol reflects it in the hyperplane orthogonal to the
    symbol's normal, or leaves it where the normal is None. A word is in the language if the inner
    product of each head with its `query` is positive; with `complement`, if that is not so. Every
    symbol may follow every prefix. `num_elements` is the order of the group.
    """

    alphabet: Alphabet
    normals: tuple[Normal | None, ...]
    heads: tuple[ReflectionHead, ...]
    complement: bool
    num_elements: int

    @property
    def dimension(self) -> int:
        """The dimension of the vectors."""
        return len(self.heads[0].start)


def reflection_system(dfa: DFA) -> ReflectionSystem | None:
    """Return the reflections that recognize the language of `dfa`, None if none are found.

    Each letter must act on the states of the minimal automaton as the identity or as an
    involution, two letters must commute or generate the group of order six, and what is accepted
    (or what is not) must be an intersection of half-spaces. That covers parity, (aa)* and the word
    problems of S_3, S_4 and S_5 over adjacent transpositions. The search is deterministic.
    """
    dfa = minimize(dfa)
    actions = [tuple(row[letter] for row in dfa.transitions) for letter in range(len(dfa.alphabet))]
    identity = tuple(range(dfa.num_states))
    generators = [action for action in dict.fromkeys(actions) if action != identity]
    angles = _angles(generators)
    if angles is None or not dfa.accepting:
        return None
    group = MirrorGroup.generate(generators, identity, limit=MAX_ELEMENTS)
    if group is None:
        return None
    accepted = frozenset(
        index for index, element in enumerate(group.elements) if element[dfa.start] in dfa.accepting
    )
    found = _search(group, angles, accepted)
    if found is None:
        return None
    drawing, heads, complement = found
    normals = {
        action: tuple(Fraction(entry, 2) for entry in normal)
        for action, normal in zip(generators, drawing, strict=True)
    }
    return ReflectionSystem(
        alphabet=dfa.alphabet,
        normals=tuple(normals.get(action) for action in actions),
        heads=heads,
        complement=complement,
        num_elements=len(group.elements),
    )


def _angles(generators: list[tuple[int, ...]]) -> list[list[int]] | None:
    """Return four times the inner products of unit normals: 0 or 2; None if there are none.

    None as well when a letter is no permutation, or not its own inverse.
    """
    angles = [[4 if i == j else 0 for j in range(len(generators))] for i in range(len(generators))]
    for generator in generators:
        if any(generator[image] != state for state, image in enumerate(generator)):
            return None
    for i, j in combinations(range(len(generators)), 2):
        first, second = generators[i], generators[j]
        once = [second[image] for image in first]
        back = [first[image] for image in second]
        if once != back:
            if any(once[once[once[state]]] != state for state in range(len(once))):
                return None
            angles[i][j] = angles[j][i] = 2
    return angles


def _search(
    group: MirrorGroup, angles: list[list[int]], accepted: frozenset[int]
) -> tuple[tuple[Vector, ...], tuple[ReflectionHead, ...], bool] | None:
    """Return normals, heads and whether the heads tell what is *not* accepted."""
    rejected = frozenset(range(len(group.elements))) - accepted
    searches = []
    for dimension in DIMENSIONS:
        drawings = _drawings(angles, dimension)
        if drawings and group.is_drawn_by(drawings[0]):
            searches.append(HeadSearch(group, drawings))
    for max_heads, largest in SEARCHES:
        for search in (search for search in searches if search.dimension <= largest):
            for complement, target in ((False, accepted), (True, rejected)):
                found = search.find(target, max_heads=max_heads)
                if found is not None:
                    return *found, complement
    return None


def _drawings(angles: list[list[int]], dimension: int) -> list[tuple[Vector, ...]]:
    """Return choices of normals (doubled) with the given inner products."""
    return list(islice(_extensions((), angles, roots_of_e8(dimension)), MAX_DRAWINGS))


def _extensions(
    chosen: tuple[Vector, ...], angles: list[list[int]], roots: Sequence[Vector]
) -> Iterator[tuple[Vector, ...]]:
    if len(chosen) == len(angles):
        yield chosen
        return
    wanted = angles[len(chosen)]
    for root in roots:
        if all(dot(root, other) == wanted[i] for i, other in enumerate(chosen)):
            yield from _extensions((*chosen, root), angles, roots)


def check_reflection_system(system: ReflectionSystem, dfa: DFA) -> int:
    """Check the signs at all that the system and `dfa` reach together, and return how much that is.

    Raises:
        AssertionError: a sign is wrong or zero (a fault of the search, never of the input).
    """
    starts = tuple(tuple(map(Fraction, head.start)) for head in system.heads)
    seen = {(starts, dfa.start)}
    queue = deque(seen)
    while queue:
        vectors, state = queue.popleft()
        products = [dot(h.query, vector) for h, vector in zip(system.heads, vectors, strict=True)]
        assert all(products), f"the sign of {vectors} is zero"
        accepted = all(product > 0 for product in products) != system.complement
        assert accepted == (state in dfa.accepting), f"the signs of {vectors} are wrong"
        for normal, target in zip(system.normals, dfa.transitions[state], strict=True):
            moved = vectors if normal is None else tuple(_mirror(normal, v) for v in vectors)
            if (moved, target) not in seen:
                seen.add((moved, target))
                queue.append((moved, target))
    return len(seen)


def _mirror(normal: Normal, vector: Normal) -> Normal:
    product = 2 * sum((n * v for n, v in zip(normal, vector, strict=True)), Fraction(0))
    return tuple(v - product * n for n, v in zip(normal, vector, strict=True))
