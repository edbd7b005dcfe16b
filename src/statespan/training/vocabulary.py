"""Token ids: BOS 0, EOS 1, PAD 2, then the symbols in alphabet order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, final

from statespan.languages import END, Alphabet, End, NextSymbols, Word

__all__ = ["BOS", "EOS", "PAD", "Vocabulary"]

BOS: Final = 0
EOS: Final = 1
PAD: Final = 2
NUM_SPECIAL: Final = 3


@final
@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The tokens of an alphabet, and the order of a model's answers.

    A model is asked, after each prefix, about every symbol in alphabet order and, last, about the
    end of the word; or about `choices`, where a task has answers of its own.

    Example:
        >>> vocabulary = Vocabulary(("a", "b"))
        >>> vocabulary.encode("ab"), vocabulary.answer_ids
        ([0, 3, 4], [3, 4, 1])
    """

    alphabet: Alphabet
    choices: Alphabet | None = field(default=None, kw_only=True)

    @property
    def size(self) -> int:
        """The number of token ids."""
        return NUM_SPECIAL + len(self.alphabet)

    @property
    def answer_ids(self) -> list[int]:
        """The token ids of the answers: the symbols in alphabet order, then EOS."""
        return [*range(NUM_SPECIAL, self.size), EOS]

    def encode(self, word: Word) -> list[int]:
        """Return BOS and the ids of the symbols of `word`."""
        ids = {symbol: NUM_SPECIAL + index for index, symbol in enumerate(self.alphabet)}
        return [BOS, *(ids[symbol] for symbol in word)]

    def answers(self, symbols: NextSymbols) -> list[bool]:
        """Return which answers a set of next symbols, or of choices, has."""
        return [mark in symbols for mark in self._marks]

    def symbols(self, answers: Iterable[bool]) -> NextSymbols:
        """Return the set of next symbols of an answer; the inverse of `answers`."""
        return frozenset(s for s, given in zip(self._marks, answers, strict=True) if given)

    @property
    def _marks(self) -> tuple[str | End, ...]:
        """What the answers are about, in order."""
        return (*self.alphabet, END) if self.choices is None else self.choices
