"""What a compiled model remembers after some letters, in the words of its explanation."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import final

from statespan.compiler.cascade import Cascade, Values
from statespan.compiler.meanings import ComponentMeaning, component_meanings
from statespan.languages import NextSymbols
from statespan.languages.automaton import DFA

__all__ = ["CascadeFacts"]


@final
class CascadeFacts:
    """The components of a cascade as facts: what each remembers, and what its value means."""

    def __init__(self, cascade: Cascade, dfa: DFA) -> None:
        self.cascade, self.dfa = cascade, dfa

    @cached_property
    def _meanings(self) -> list[ComponentMeaning]:
        return component_meanings(self.cascade, self.dfa)

    def values(self, letters: Iterable[int]) -> Values:
        """Return the values of the components after `letters`, the restart among them."""
        values = self.cascade.start
        for letter in letters:
            values = self.cascade.step(values, letter)
        return values

    def in_words(self, values: Values) -> dict[str, str]:
        """Return fact to value, both as clauses."""
        return {
            f"c{number} (it remembers {meaning.sentence})": meaning.values[value].sentence
            for number, (meaning, value) in enumerate(zip(self._meanings, values, strict=True))
        }

    def confused(self, values: Values, said: NextSymbols) -> list[Values]:
        """Return the values that differ from `values` in one component, and answer `said`.

        Those where the component is as at the start come first.
        """
        found = []
        for number, component in enumerate(self.cascade.components):
            first = sorted(range(component.num_values), key=lambda v: v != component.initial)
            for value in first:
                other = (*values[:number], value, *values[number + 1 :])
                if value != values[number] and self.cascade.next_symbols(other) == said:
                    found.append(other)
        return found
