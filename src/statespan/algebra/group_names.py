"""Names of small groups, and whether A_5 divides a group.

A name is given only where it is proven: by a description that fixes the group up to isomorphism,
or by the group's natural action.
"""

from __future__ import annotations

from collections import Counter
from math import factorial

from statespan.algebra.groups import (
    Permutation,
    PermutationGroup,
    is_identity,
    multiply,
    permutation_group,
    permutation_order,
    power,
)

__all__ = ["contains_alternating_5", "name_group"]

NAMING_LIMIT = 5_000
PAIR_LIMIT = 2_000_000


def name_group(group: PermutationGroup) -> str:
    """Return the usual name: Z_n, a product of such, S_n, A_n, D_n (order 2n), Dic_n, Q_8.

    A group that is none of them, or cannot be told with little work, is `order n`; a group of
    order 1 is `trivial`.

    Example:
        >>> name_group(permutation_group(4, [(1, 0, 2, 3), (0, 1, 3, 2)]))
        'Z_2×Z_2'
        >>> name_group(permutation_group(4, [(1, 2, 3, 0), (0, 3, 2, 1)]))
        'D_4'
    """
    if group.is_trivial:
        return "trivial"
    if group.is_abelian and group.order <= NAMING_LIMIT:
        return _name_abelian(group)
    named = _name_natural(group) or _name_by_derived_series(group)
    if named is None and group.order <= NAMING_LIMIT:
        named = _name_half_cyclic(group)
    return named or f"order {group.order}"


def _name_abelian(group: PermutationGroup) -> str:
    """Name the group by its invariant factors, largest last.

    The number of elements whose order divides p^e fixes the number of cyclic factors of order
    at least p^e.
    """
    orders = Counter(permutation_order(element) for element in group.elements())
    factors: list[int] = []
    for prime in _prime_divisors(group.order):
        exponent, previous = 1, 1
        while True:
            dividing = sum(n for order, n in orders.items() if prime**exponent % order == 0)
            rank, ratio = 0, dividing // previous
            while ratio > 1:
                ratio //= prime
                rank += 1
            if not rank:
                break
            factors += [1] * (rank - len(factors))
            for index in range(rank):
                factors[index] *= prime
            exponent, previous = exponent + 1, dividing
    return "×".join(f"Z_{factor}" for factor in reversed(factors))


def _prime_divisors(number: int) -> list[int]:
    primes = []
    candidate = 2
    while number > 1:
        if number % candidate == 0:
            primes.append(candidate)
            while number % candidate == 0:
                number //= candidate
        candidate += 1
    return primes


def _orbits(group: PermutationGroup) -> list[list[int]]:
    seen: set[int] = set()
    orbits = []
    for start in range(group.degree):
        if start in seen:
            continue
        orbit = [start]
        seen.add(start)
        for point in orbit:
            for generator in group.generators:
                if generator[point] not in seen:
                    seen.add(generator[point])
                    orbit.append(generator[point])
        orbits.append(orbit)
    return orbits


def _constituent(group: PermutationGroup, orbit: list[int]) -> PermutationGroup:
    """Return the action on one orbit, a quotient of the group."""
    position = {point: index for index, point in enumerate(orbit)}
    restricted = [tuple(position[g[point]] for point in orbit) for g in group.generators]
    return permutation_group(len(orbit), restricted)


def _name_natural(group: PermutationGroup) -> str | None:
    """Name S_n or A_n when it acts faithfully on an orbit of n points."""
    for orbit in _orbits(group):
        size = len(orbit)
        if size < 3 or group.order not in {factorial(size), factorial(size) // 2}:
            continue
        if _constituent(group, orbit).order == group.order:
            return f"S_{size}" if group.order == factorial(size) else f"A_{size}"
    return None


def _name_by_derived_series(group: PermutationGroup) -> str | None:
    """Name the S_n and A_n that their order and derived subgroup fix.

    A_4 is the only group of order 12 with a derived subgroup of order 4, S_4 of order 24 with one
    of order 12; A_5, A_6 and A_7 are the only perfect groups of their orders; S_5 is the only
    group of order 120 with a derived subgroup of order 60 and trivial center.
    """
    alternating = {12: (4, "A_4"), 60: (60, "A_5"), 360: (360, "A_6"), 2520: (2520, "A_7")}
    symmetric = {6: (3, "S_3"), 24: (12, "S_4"), 120: (60, "S_5")}
    derived_order, name = (alternating | symmetric).get(group.order, (0, ""))
    if not name or group.derived_subgroup().order != derived_order:
        return None
    if name == "S_5" and any(True for _ in _center(group)):
        return None
    return name


def _center(group: PermutationGroup) -> list[Permutation]:
    """Return the elements but the identity that commute with all others."""
    return [
        element
        for element in group.elements()
        if not is_identity(element)
        and all(multiply(element, g) == multiply(g, element) for g in group.generators)
    ]


def _name_half_cyclic(group: PermutationGroup) -> str | None:
    """Name a group with a cyclic half: dihedral if all else are involutions, or dicyclic.

    The dicyclic ones have elements of order 4 outside, with one and the same square.
    """
    half = group.order // 2
    elements = list(group.elements())
    rotation = next((e for e in elements if permutation_order(e) == half), None)
    if group.order % 2 or rotation is None:
        return None
    rotations = {power(rotation, exponent) for exponent in range(half)}
    squares = {multiply(e, e) for e in elements if e not in rotations}
    if squares == {tuple(range(group.degree))}:
        return f"D_{half}"
    if half % 2 == 0 and squares == {power(rotation, half // 2)}:
        return "Q_8" if group.order == 8 else f"Dic_{half // 2}"
    return None


def contains_alternating_5(group: PermutationGroup) -> bool | None:
    """Return whether A_5 divides the group: is a quotient of a subgroup. None if not decided.

    A perfect subgroup lies in the last group P of the derived series. Proofs used: P trivial, or
    of an order that 60 does not divide (no); an orbit of n ≥ 5 points on which S_n or A_n acts
    (yes); elements a, b with a² = b³ = (ab)⁵ = 1, not all trivial, which generate A_5 as it is
    simple (yes); P modulo its center of order 60, so perfect, so A_5 (yes). A perfect group that
    none of these settles is not decided.

    Example:
        >>> contains_alternating_5(permutation_group(5, [(1, 2, 3, 4, 0), (1, 0, 2, 3, 4)]))
        True
    """
    core = group.derived_series()[-1]
    if core.is_trivial or core.order % 60:
        return False
    for orbit in _orbits(core):
        size = len(orbit)
        if size >= 5 and _constituent(core, orbit).order >= factorial(size) // 2:
            return True
    if core.order > NAMING_LIMIT * 10:
        return None
    if core.order // (len(_center(core)) + 1) == 60 or _has_icosahedral_pair(core):
        return True
    return None


def _has_icosahedral_pair(group: PermutationGroup) -> bool:
    orders: dict[int, list[Permutation]] = {}
    for element in group.elements():
        orders.setdefault(permutation_order(element), []).append(element)
    involutions, triples = orders.get(2, []), orders.get(3, [])
    if len(involutions) * len(triples) > PAIR_LIMIT:
        return False
    return any(permutation_order(multiply(a, b)) == 5 for a in involutions for b in triples)
