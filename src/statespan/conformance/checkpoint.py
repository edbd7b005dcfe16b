"""What a checkpoint is to the kit: a folder whose right answers are known at every position."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import TypeAlias

from statespan.conformance.losses import Lost
from statespan.conformance.protocol import Scores, Tokens
from statespan.training import EOS, PAD

__all__ = ["Answer", "Checkpoint"]

Answer: TypeAlias = frozenset[int]
"""The token ids that may follow, EOS among them where the word may end."""


class Checkpoint(ABC):
    """A folder that engines load, and what is right, by an exact oracle and not by a model.

    Attributes:
        name: what it is called in reports; no two of a set have one name.
        folder: where config, weights and tokenizer are.
        dtype: the precision of the weights, "float32" or "bfloat16".
        family: the architecture, as `transformers` calls it (`model_type`).
        certificate: what proves that it is right, in a sentence.
        promise: where it is right, in a sentence.
        explanation: what its parts remember, in words.
        symbols: how each token is spelled, in the order of the ids.
        starts_blank: whether something is promised of a row that does not begin with BOS.
        restarts: whether BOS begins anew wherever it stands, whatever an engine does.
        ignores_filler: whether PAD, read as a token like any other, changes nothing anywhere.
    """

    name: str
    folder: Path
    dtype: str
    family: str
    certificate: str
    promise: str
    explanation: str
    symbols: tuple[str, ...]
    starts_blank: bool = False
    restarts: bool = True
    ignores_filler: bool = False

    @abstractmethod
    def expected(self, tokens: Tokens) -> list[Answer | None]:
        """Return the answer after each token; None where nothing is promised."""

    @abstractmethod
    def said(self, scores: Scores) -> list[Answer]:
        """Return the answers that an engine's scores stand for, one a position."""

    @abstractmethod
    def margin(self, scores: Scores, answers: list[Answer | None]) -> float:
        """Return how far the scores are from another answer, at the least; negative if wrong.

        Infinite where nothing is promised.
        """

    @abstractmethod
    def draw(self, length: int, *, rng: Random) -> Tokens:
        """Return so many tokens, BOS the first, with something promised after as many as can be."""

    def go_on(self, tokens: Tokens, length: int, *, rng: Random) -> Tokens:
        """Return `length` tokens that begin with `tokens`, or with its first ones.

        Each of the others may follow where it stands, if there is such a symbol.
        """
        made = tokens[:length]
        while len(made) < length:
            may_follow = sorted((self.expected(made)[-1] or frozenset()) - {EOS})
            made += (rng.choice(may_follow or range(PAD + 1, len(self.symbols))),)
        return made

    @property
    @abstractmethod
    def widest(self) -> int:
        """The largest number of tokens in an answer: so many an engine's top scores must show."""

    def answers_after_loss(self, tokens: Tokens, place: int, lost: Lost) -> list[Answer] | None:
        """Return what its weights say if a part of the state is lost before `place`.

        None if that cannot be told.
        """
        del tokens, place, lost
        return None

    def facts(self, tokens: Tokens) -> Mapping[str, str]:
        """Return what is remembered after `tokens`, in words: fact to value, both as clauses."""
        del tokens
        return {}

    def confusions(self, tokens: Tokens, answer: Answer) -> list[Mapping[str, str]]:
        """Return the facts that differ by one value from those after `tokens`, and say `answer`.

        Each is the whole of the facts as they would be.
        """
        del tokens, answer
        return []
