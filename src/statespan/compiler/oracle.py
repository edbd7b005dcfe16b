"""What a compiled model must say, state by state: the meaning that searches compare with."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, final

from statespan.languages import Language
from statespan.languages.machine import Machine
from statespan.training import BOS, EOS, PAD, Vocabulary

__all__ = ["Oracle"]


@final
@dataclass(frozen=True, eq=False)
class Oracle:
    """A machine that reads tokens: BOS begins anew, EOS and PAD are ignored.

    A state is a state of the machine, None when no word can follow.
    """

    machine: Machine

    @classmethod
    def of(cls, language: Language) -> Oracle:
        """Return the oracle of `language`."""
        return cls(language.machine)

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokens."""
        return Vocabulary(self.machine.alphabet)

    @property
    def start(self) -> Hashable:
        """The state after BOS."""
        return self.machine.start

    def step(self, state: Any, token: int) -> Hashable:
        """Return the state after `token`."""
        if token == BOS:
            return self.machine.start
        if token in {EOS, PAD}:
            return state  # type: ignore[no-any-return]
        symbol = self.machine.alphabet[token - self.first_symbol]
        return None if state is None else self.machine.step(state, symbol)

    @property
    def first_symbol(self) -> int:
        """The token id of the first symbol."""
        return self.vocabulary.size - len(self.machine.alphabet)

    def answers(self, state: Any) -> list[bool]:
        """Return which tokens of `vocabulary.answer_ids` may follow."""
        allowed = frozenset() if state is None else self.machine.allowed(state)
        return self.vocabulary.answers(allowed)
