"""The groups in a syntactic monoid, and the classes that they decide.

The groups of the orbit of image sets are used, not those of the monoid: they need no monoid, and
a property that passes to subgroups and quotients (trivial, abelian, of exponent 2, solvable of
some length) holds for all of them exactly if it holds for all maximal subgroups.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import final

from statespan.algebra.group_names import contains_alternating_5, name_group
from statespan.algebra.groups import (
    Permutation,
    PermutationGroup,
    is_identity,
    multiply,
    permutation_group,
    permutation_order,
)
from statespan.algebra.images import IMAGE_LIMIT, ImageComponent, Walk, image_orbit
from statespan.algebra.witnesses import GroupWitness, PumpedPair, make_pair, pumped
from statespan.algebra.words import spell
from statespan.languages.automaton import DFA, minimize

__all__ = [
    "GroupSummary",
    "SchutzenbergerGroup",
    "find_commutative_group_violation",
    "find_exponent_two_violation",
    "find_solvable_violation",
    "schutzenberger_groups",
    "summarize_groups",
]


@final
@dataclass(frozen=True, eq=False)
class SchutzenbergerGroup:
    """The group of the permutations that words make of a set of states of the minimal automaton.

    `walks[i]` is the word of the i-th generator of `group`, whose point j is `states[j]`.
    """

    dfa: DFA
    states: tuple[int, ...]
    walks: tuple[Walk, ...]
    group: PermutationGroup

    @property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """The words of the generators."""
        return tuple(spell(self.dfa, walk.letters) for walk in self.walks)


def schutzenberger_groups(dfa: DFA, *, limit: int = IMAGE_LIMIT) -> Iterator[SchutzenbergerGroup]:
    """Yield the nontrivial groups of the image sets of the minimal automaton, largest sets first.

    One for each strong component of the orbit. Each maximal subgroup of the syntactic monoid is
    isomorphic to one of them or trivial; each of them divides a maximal subgroup.

    Raises:
        LimitError: the minimal automaton has more than `limit` image sets.
    """
    dfa = minimize(dfa)
    orbit = image_orbit(dfa, limit=limit)
    for component in sorted(orbit.components(), key=lambda found: -len(found.states)):
        if any(True for _ in component.twisted_edges()):
            yield _group_of(dfa, component)


def _group_of(dfa: DFA, component: ImageComponent) -> SchutzenbergerGroup:
    shortest: dict[Permutation, tuple[int, int, int]] = {}
    for permutation, length, node, letter in component.closed_walks():
        if permutation not in shortest or length < shortest[permutation][0]:
            shortest[permutation] = (length, node, letter)
    by_length = sorted(shortest, key=lambda permutation: (shortest[permutation][0], permutation))
    group = permutation_group(len(component.states), by_length)
    walks = tuple(component.walk(*shortest[generator][1:]) for generator in group.generators)
    return SchutzenbergerGroup(dfa, component.states, walks, group)


def find_commutative_group_violation(dfa: DFA, *, limit: int = IMAGE_LIMIT) -> PumpedPair | None:
    """Return two words that permute states and do not commute; None if all groups are abelian.

    Raises:
        LimitError: the minimal automaton has more than `limit` image sets.
    """
    for found in schutzenberger_groups(dfa, limit=limit):
        for first, second in combinations(found.walks, 2):
            g, h = first.permutation, second.permutation
            there, back = multiply(g, h), multiply(h, g)
            if there == back:
                continue
            u, v = spell(found.dfa, first.letters), spell(found.dfa, second.letters)
            powers = (
                pumped(u, each=permutation_order(g)),
                pumped(v, each=permutation_order(h)),
            )
            moved = next(i for i, image in enumerate(there) if image != back[i])
            reason = "u and v permute states and do not commute"
            state = found.states[moved]
            return make_pair(found.dfa, state, powers, powers[::-1], reason=reason, u=u, v=v)
    return None


def find_exponent_two_violation(dfa: DFA, *, limit: int = IMAGE_LIMIT) -> PumpedPair | None:
    """Return a word that permutes states and whose square does too; None if no group has such.

    Then the square of every element of every group is the identity: the groups are (Z_2)^m.

    Raises:
        LimitError: the minimal automaton has more than `limit` image sets.
    """
    for found in schutzenberger_groups(dfa, limit=limit):
        pairs = [
            Walk(multiply(a.permutation, b.permutation), a.letters + b.letters)
            for a, b in combinations(found.walks, 2)
        ]
        for walk in (*found.walks, *pairs):
            square = multiply(walk.permutation, walk.permutation)
            if is_identity(square):
                continue
            u = spell(found.dfa, walk.letters)
            order = permutation_order(walk.permutation)
            moved = next(i for i, image in enumerate(square) if image != i)
            left, right = (pumped(u, once=0, each=order),), (pumped(u, once=2, each=order),)
            reason = "u permutes states, and so does u²"
            return make_pair(found.dfa, found.states[moved], left, right, reason=reason, u=u)
    return None


def find_solvable_violation(dfa: DFA, *, limit: int = IMAGE_LIMIT) -> GroupWitness | None:
    """Return words that generate a group that is not solvable; None if all groups are solvable.

    Raises:
        LimitError: the minimal automaton has more than `limit` image sets.

    Example:
        >>> from statespan.languages import language
        >>> find_solvable_violation(language("word-problem", group="A_5").dfa()).order
        60
    """
    for found in schutzenberger_groups(dfa, limit=limit):
        if not found.group.is_solvable:
            reason = "the words permute the states and generate a group that is not solvable"
            return GroupWitness(reason, found.states, found.words, found.group.order, None)
    return None


@final
@dataclass(frozen=True, slots=True)
class GroupSummary:
    """What the groups in a syntactic monoid are.

    `names` has the nontrivial groups of the image sets, one name for each kind, by order: every
    maximal subgroup is among them, and each divides the monoid. `derived_length` is the largest,
    0 if all are trivial and None if one is not solvable. `contains_alternating_5` says whether
    A_5 divides the monoid, None if that is not decided (see `contains_alternating_5`).
    """

    names: tuple[str, ...]
    orders: tuple[int, ...]
    is_abelian: bool
    has_exponent_two: bool
    derived_length: int | None
    contains_alternating_5: bool | None

    @property
    def is_solvable(self) -> bool:
        """Whether all groups are solvable."""
        return self.derived_length is not None


def summarize_groups(dfa: DFA, *, limit: int = IMAGE_LIMIT) -> GroupSummary:
    """Return what is known of the groups in the syntactic monoid of the language of `dfa`.

    Raises:
        LimitError: the minimal automaton has more than `limit` image sets.

    Example:
        >>> from statespan.languages import language
        >>> summarize_groups(language("word-problem", group="S_4").dfa()).names
        ('S_4',)
    """
    groups = [found.group for found in schutzenberger_groups(dfa, limit=limit)]
    named = sorted({(group.order, name_group(group)) for group in groups})
    lengths = [group.derived_length for group in groups]
    solvable = [length for length in lengths if length is not None]
    divided = {contains_alternating_5(group) for group in groups}
    return GroupSummary(
        names=tuple(name for _, name in named),
        orders=tuple(order for order, _ in named),
        is_abelian=all(group.is_abelian for group in groups),
        has_exponent_two=all(group.has_exponent_two for group in groups),
        derived_length=max(solvable, default=0) if len(solvable) == len(lengths) else None,
        contains_alternating_5=True if True in divided else None if None in divided else False,
    )
