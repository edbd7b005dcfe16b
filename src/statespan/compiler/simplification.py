"""Simpler encodings of the same automaton, found by trying.

Each trial changes an encoding a little and lets `realize` find out whether components can still
compute it: a component is left out (nobody needs it, or others hold the same), or two of its
values become one (nobody tells them apart).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from statespan.compiler.actions import Moves
from statespan.compiler.cascade import Component, Conditions
from statespan.compiler.encoding import Encoding
from statespan.compiler.realization import Realization, realize
from statespan.compiler.work import Work
from statespan.errors import LimitError

__all__ = ["order_by_level", "simplify"]

SIMPLIFICATION_BUDGET = 200_000


def simplify(realization: Realization, *, moves: Moves, limit: int, work: Work) -> Realization:
    """Return a realization that costs no more; the search ends where `work` does."""
    best = realization
    budget = SIMPLIFICATION_BUDGET
    improved = True
    while improved:
        improved = False
        for encoding in _simpler(best.encoding):
            budget -= len(encoding.targets) * (1 + len(encoding.sizes)) * encoding.num_letters
            if budget < 0:
                return best
            try:
                trial = realize(encoding, moves=moves, limit=limit, work=work, bound=best.cost)
            except LimitError:
                if work.left < 0:
                    return best
                continue
            if trial is not None:
                best = trial
                improved = True
                break
    return best


def _simpler(encoding: Encoding) -> Iterator[Encoding]:
    for component in reversed(range(len(encoding.sizes))):
        yield encoding.without(component)
    for component, size in enumerate(encoding.sizes):
        if size > 2:
            for high in range(1, size):
                for low in range(high):
                    yield encoding.merged(component, low, high)


def order_by_level(realization: Realization) -> Realization:
    """Return the same components, those of low levels first, without those that nobody reads."""
    components = realization.components
    levels: list[int] = []
    for component in components:
        levels.append(1 + max((levels[read] for read in component.reads), default=0))
    read = {name for term in realization.readout for name, _ in term.conditions}
    for number in reversed(range(len(components))):
        if number in read:
            read |= components[number].reads
    order = sorted(read, key=lambda number: (levels[number], number))
    place = {number: index for index, number in enumerate(order)}
    renamed = tuple(_renamed(components[number], place) for number in order)
    readout = tuple(
        replace(term, conditions=_rename(term.conditions, place)) for term in realization.readout
    )
    rows = [tuple([row[number] for number in order]) for row in realization.encoding.coordinates]
    encoding = replace(realization.encoding, coordinates=rows)
    return Realization(encoding, renamed, realization.default, readout)


def _renamed(component: Component, place: dict[int, int]) -> Component:
    terms = tuple(
        replace(term, conditions=_rename(term.conditions, place)) for term in component.terms
    )
    return replace(component, terms=terms)


def _rename(conditions: Conditions, place: dict[int, int]) -> Conditions:
    return tuple(sorted(((place[name], values) for name, values in conditions), key=lambda c: c[0]))
