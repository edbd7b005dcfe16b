"""The last step to a cascade: all letters, the answers by name, and the check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from statespan.compiler.cascade import Cascade, Readout, check_cascade, next_symbols_of_states
from statespan.compiler.realization import Realization
from statespan.compiler.simplification import order_by_level
from statespan.languages.automaton import DFA
from statespan.languages.symbols import NextSymbols, sort_next_symbols

__all__ = ["assemble", "labels_of_states"]


def labels_of_states(dfa: DFA) -> tuple[list[NextSymbols], list[int]]:
    """Return the distinct sets of next symbols, in a fixed order, and the number of each state's.

    >>> from statespan.languages import language
    >>> labels_of_states(language("tomita-1").dfa())[1]
    [1, 0]
    """
    allowed = next_symbols_of_states(dfa)
    labels = sorted(set(allowed), key=lambda label: sort_next_symbols(label, dfa.alphabet))
    return labels, [labels.index(label) for label in allowed]


def assemble(dfa: DFA, realization: Realization, classes: Sequence[Sequence[int]]) -> Cascade:
    """Return the cascade of `dfa`, checked on all values that it can reach.

    `classes[letter]` are the symbols of `dfa` that a letter of the realization stands for.

    Raises:
        LimitError: it reaches too many values to check.
    """
    ordered = order_by_level(realization)
    letters = [*classes, [len(dfa.alphabet)]]
    components = []
    for component in ordered.components:
        terms = tuple(
            replace(term, letters=frozenset(a for c in term.letters for a in letters[c]))
            for term in component.terms
        )
        components.append(replace(component, terms=terms))
    labels, _ = labels_of_states(dfa)
    readout = Readout(tuple(labels), ordered.default, ordered.readout)
    cascade = Cascade(dfa.alphabet, tuple(components), readout)
    check_cascade(cascade, dfa)
    return cascade
