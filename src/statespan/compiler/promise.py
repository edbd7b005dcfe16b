"""What a compiled model promises: the answer after every token, and where that ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, final

from statespan.errors import LimitError
from statespan.languages import Language, Machine, NextSymbols
from statespan.languages.automaton import DFAMachine
from statespan.languages.machine import State
from statespan.training import BOS, EOS, PAD, Vocabulary

__all__ = ["FIRST_SYMBOL", "Promise", "largest_count"]

FIRST_SYMBOL = PAD + 1
DFA_LIMIT = 20_000


@final
@dataclass(eq=False)
class Promise:
    """What a compiled model must say after every token, by the language's own machine.

    Attributes:
        language: the language.
        valid_prefixes_only: whether nothing is promised once no word can follow.
        max_count: the largest count for which something is promised; None if nothing counts.
        labels: the answers met so far; `follow` gives their numbers.
    """

    language: Language
    valid_prefixes_only: bool = False
    max_count: int | None = None
    labels: list[NextSymbols] = field(default_factory=list)
    _numbers: dict[NextSymbols, int] = field(default_factory=dict)
    _label_of: dict[State, int] = field(default_factory=dict)
    _moves_of: dict[State, list[tuple[int, State]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.machine: Machine = self.language.machine
        if self.language.is_regular:
            try:
                self.machine = DFAMachine(self.language.dfa(limit=DFA_LIMIT))
            except LimitError:
                self.machine = self.language.machine
        self.symbol_ids = range(FIRST_SYMBOL, Vocabulary(self.machine.alphabet).size)

    @property
    def ignored(self) -> tuple[int, ...]:
        """The tokens that may stand anywhere in a word; none if only valid prefixes count."""
        return () if self.valid_prefixes_only else (EOS, PAD)

    def follow(self, tokens: Sequence[int]) -> list[int]:
        """Return the number of the answer after each token, up to where the promise ends."""
        state, alphabet = self.machine.start, self.machine.alphabet
        count, change = 0, 1
        answers: list[int] = []
        for token in tokens:
            if token == BOS:
                state, count = self.machine.start, 0
            elif token >= FIRST_SYMBOL:
                if state is not None:
                    state = self.machine.step(state, alphabet[token - FIRST_SYMBOL])
                if self.max_count is not None:
                    # Past a violation a model may count on, so the worst is assumed.
                    now = count + change if state is None else largest_count(state)
                    count, change = now, max(change, abs(now - count))
            broken = state is None and self.valid_prefixes_only
            if broken or (self.max_count is not None and count > self.max_count):
                break
            answers.append(self._label(state))
        return answers

    def _label(self, state: State) -> int:
        if not self.machine.is_finite:
            return self._number(state)
        if state not in self._label_of:
            self._label_of[state] = self._number(state)
        return self._label_of[state]

    def _number(self, state: State) -> int:
        label: NextSymbols = frozenset() if state is None else self.machine.allowed(state)
        if label not in self._numbers:
            self._numbers[label] = len(self.labels)
            self.labels.append(label)
        return self._numbers[label]

    def moves(self, state: State) -> list[tuple[int, State]]:
        """Return the symbols that can follow and keep the promise, with the states they lead to."""
        if not self.machine.is_finite:
            return self._moves(state)
        if state not in self._moves_of:
            self._moves_of[state] = self._moves(state)
        return self._moves_of[state]

    def _moves(self, state: State) -> list[tuple[int, State]]:
        if state is None:
            return []
        steps = (
            (i, self.machine.step(state, self.machine.alphabet[i - FIRST_SYMBOL]))
            for i in self.symbol_ids
        )
        bound = self.max_count
        return [
            (token, after)
            for token, after in steps
            if after is not None and (bound is None or largest_count(after) <= bound)
        ]


def largest_count(state: Any) -> int:
    """Return the largest absolute value of the numbers in a state of a machine that counts."""
    if isinstance(state, tuple):
        return max(map(largest_count, state), default=0)
    return abs(state) if isinstance(state, int) else 0
