"""Covers as the rules of a cascade: terms of components and of the readout."""

from __future__ import annotations

from collections.abc import Sequence

from statespan.compiler.actions import Action, moves_of
from statespan.compiler.cascade import Component, Conditions, ReadoutTerm, Term
from statespan.compiler.cubes import Cube

__all__ = ["action_of", "component_of_cubes", "has_conditions", "readout_of_cubes", "sorted_terms"]


def component_of_cubes(
    num_values: int, initial: int, cubes: Sequence[Cube], sizes: Sequence[int], names: Sequence[int]
) -> Component:
    """Return the component whose actions the cubes say.

    The first variable is the letter, of `sizes[0]`; the others are the components `names`. An
    answer is the number of an action, as `action_of` has it. The restart, the letter `sizes[0]`, is
    added: to the term that always writes `initial` on some letter, or as a term.
    """
    terms = []
    restart = frozenset([sizes[0]])
    for cube in cubes:
        letters = _members(cube.sets[0])
        conditions = _conditions(cube.sets[1:], sizes[1:], names)
        value = action_of(num_values, cube.answer)
        if value == initial and not conditions:
            letters |= restart
            restart = frozenset()
        terms.append(Term(letters, conditions, value))
    if restart:
        terms.append(Term(restart, (), initial))
    return Component(num_values, initial, sorted_terms(terms))


def action_of(num_values: int, number: int) -> Action:
    """Return an action by its number: below `num_values` a write, above it a move.

    `num_values` itself is the number of what keeps the value, which is no action.
    """
    return number if number < num_values else moves_of(num_values)[number - num_values - 1]


def readout_of_cubes(cubes: Sequence[Cube], sizes: Sequence[int]) -> tuple[ReadoutTerm, ...]:
    """Return the terms of a readout over components of `sizes` values."""
    names = range(len(sizes))
    terms = [ReadoutTerm(_conditions(cube.sets, sizes, names), cube.answer) for cube in cubes]
    return tuple(sorted(terms, key=lambda term: (term.label, _order(term.conditions))))


def has_conditions(cube: Cube, sizes: Sequence[int]) -> bool:
    """Return whether a cube over a letter and components asks about a component."""
    return bool(_conditions(cube.sets[1:], sizes[1:], range(len(sizes) - 1)))


def sorted_terms(terms: Sequence[Term]) -> tuple[Term, ...]:
    """Return the terms by what they do (flips, swaps, then writes by value), then by letters."""
    return tuple(
        sorted(
            terms,
            key=lambda term: (
                _rank(term.value),
                sorted(term.letters),
                _order(term.conditions),
            ),
        )
    )


def _rank(action: Action) -> tuple[int, ...]:
    match action:
        case None:
            return (0,)
        case (low, high):
            return (1, low, high)
        case written:
            return (2, written)


def _conditions(sets: Sequence[int], sizes: Sequence[int], names: Sequence[int]) -> Conditions:
    return tuple(
        (name, _members(mask))
        for mask, size, name in zip(sets, sizes, names, strict=True)
        if mask != (1 << size) - 1
    )


def _members(mask: int) -> frozenset[int]:
    return frozenset(value for value in range(mask.bit_length()) if mask >> value & 1)


def _order(conditions: Conditions) -> list[tuple[int, list[int]]]:
    return [(component, sorted(values)) for component, values in conditions]
