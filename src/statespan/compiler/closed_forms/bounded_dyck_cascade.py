"""Bounded Dyck languages as a cascade, without their automaton: a stack that leaves holes.

Component i holds a kind of bracket, or nothing (0); the top of the stack is the first that is not
empty. An opening bracket goes into component 0, whose content moves on to the next, and so on up
to the first hole, which takes up the last. A closing bracket empties the top. So a stack of depth
h needs h components of K + 1 values, each of which looks at those before it, and one more that
remembers a closing bracket that did not match. The automaton would have a state for each stack.
"""

from __future__ import annotations

from collections.abc import Iterator

from statespan.compiler.cascade import (
    Cascade,
    Component,
    Conditions,
    Readout,
    ReadoutTerm,
    Term,
)
from statespan.compiler.closed_forms.closed_form import BoundedDyck
from statespan.languages import END, NextSymbols

__all__ = ["bounded_dyck_cascade"]

EMPTY = frozenset({0})
ALIVE = frozenset({0})


def bounded_dyck_cascade(form: BoundedDyck) -> Cascade:
    """Return a cascade of depth + 1 levels, which is right on every string.

    Example:
        >>> cascade = bounded_dyck_cascade(BoundedDyck(("(", "["), (")", "]"), 3))
        >>> [component.num_values for component in cascade.components]
        [3, 3, 3, 2]
    """
    places = tuple(_place(form, place) for place in range(form.depth))
    dead = Component(2, 0, (*_violations(form), _restart(form)))
    return Cascade(form.alphabet, (*places, dead), _readout(form))


def _restart(form: BoundedDyck) -> Term:
    return Term(frozenset({2 * form.num_brackets}), (), 0)


def _full(form: BoundedDyck, places: range) -> Conditions:
    kinds = frozenset(range(1, form.num_brackets + 1))
    return tuple((place, kinds) for place in places)


def _empty(places: range) -> Conditions:
    return tuple((place, EMPTY) for place in places)


def _place(form: BoundedDyck, place: int) -> Component:
    """Return the component that holds one bracket."""
    opening = frozenset(range(form.num_brackets))
    closing = frozenset(range(form.num_brackets, 2 * form.num_brackets))
    terms = [Term(closing, _empty(range(place)), 0), _restart(form)]
    for kind in range(1, form.num_brackets + 1):
        if place == 0:
            terms.append(Term(frozenset({kind - 1}), (), kind))
        else:
            moved: Conditions = ((place - 1, frozenset({kind})),)
            terms.append(Term(opening, _full(form, range(place - 1)) + moved, kind))
    return Component(form.num_brackets + 1, 0, tuple(terms))


def _violations(form: BoundedDyck) -> Iterator[Term]:
    """Yield what kills a word: one bracket too many, or a closing one that does not match."""
    opening = frozenset(range(form.num_brackets))
    closing = frozenset(range(form.num_brackets, 2 * form.num_brackets))
    yield Term(opening, _full(form, range(form.depth)), 1)
    yield Term(closing, _empty(range(form.depth)), 1)
    if form.num_brackets == 1:
        return
    for top in range(form.depth):
        for kind in range(1, form.num_brackets + 1):
            others = frozenset(range(1, form.num_brackets + 1)) - {kind}
            letter = frozenset({form.num_brackets + kind - 1})
            yield Term(letter, (*_empty(range(top)), (top, others)), 1)


def _readout(form: BoundedDyck) -> Readout:
    alive: Conditions = ((form.depth, ALIVE),)
    labels: list[NextSymbols] = [frozenset(), frozenset((*form.opening, END))]
    terms = [ReadoutTerm(_empty(range(form.depth)) + alive, 1)]
    for kind, closing in enumerate(form.closing, start=1):
        room, none = len(labels), len(labels) + 1
        labels += [frozenset((*form.opening, closing)), frozenset({closing})]
        own = frozenset({kind})
        full = ((0, own), *_full(form, range(1, form.depth)))
        terms.append(ReadoutTerm(full + alive, none))
        for place in range(1, form.depth):
            holes = ((0, own), *_full(form, range(1, place)), (place, EMPTY))
            below = (*_empty(range(place)), (place, own))
            terms += [ReadoutTerm(where + alive, room) for where in (holes, below)]
    return Readout(tuple(labels), 0, tuple(terms))
