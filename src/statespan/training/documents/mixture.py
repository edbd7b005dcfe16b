"""What a training is made of: the share of prose, and of each kind of document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Annotated, TypeAlias, final

import msgspec
import torch
from jaxtyping import Float, Int
from torch import Tensor

from statespan.errors import ConfigError
from statespan.training.documents.source import DocumentSource, EncodedDocument
from statespan.training.documents.text_tokenizer import PAD_ID

__all__ = ["Mixture", "Rows", "draw_rows", "pack_rows"]

Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
Weight: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]

SHORTEST = 24
"""Tokens of the shortest document that a row is filled up with."""


class Mixture(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which documents a model is trained on: recall in short documents first.

    Attributes:
        prose: the share of rows that are one passage of prose, once it has grown.
        first_prose: that share at the first step.
        kinds: how many of the other documents are of each kind, relative to one another.
        context_weight: what the prediction of a token counts that is neither prose nor of an
            answer, beside one that is.
        first_limit: documents that are no prose have at most so many tokens at the first step.
        growth: the share of the steps after which the share of prose has grown to `prose`, and the
            limit to the whole context, both as the cube of the steps done.
    """

    prose: Share = 0.5
    first_prose: Share = 0.0
    kinds: dict[str, Weight] = msgspec.field(
        default_factory=lambda: {"needle": 3.0, "key-value": 2.0, "variables": 1.0, "copying": 2.0}
    )
    context_weight: Weight = 0.1
    first_limit: Annotated[int, msgspec.Meta(ge=SHORTEST)] = 64
    growth: Share = 0.3

    def __post_init__(self) -> None:
        if self.prose < 1 and not sum(self.kinds.values()):
            raise ConfigError(
                "mixture.kinds needs a kind of document whose weight is above 0 where "
                f"mixture.prose is below 1, got {self.kinds}."
            )

    def limit(self, step: int, steps: int, context: int) -> int:
        """Return the most tokens that a document other than prose has at a step, from 1 on."""
        first = min(self.first_limit, context)
        return first + int(self._grown(step, steps) * (context - first))

    def prose_share(self, step: int, steps: int) -> float:
        """Return the share of rows that are prose at a step, from 1 on."""
        return self.first_prose + self._grown(step, steps) * (self.prose - self.first_prose)

    def _grown(self, step: int, steps: int) -> float:
        return 1.0 if step >= self.growth * steps else (step / (self.growth * steps)) ** 3


@final
@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of documents.

    Attributes:
        tokens: their ids, padded on the right.
        positions: the place of each token in its document, from 0 on, which is how documents are
            told apart; at padding it goes on.
        targets: the next token of the same document.
        weights: what the prediction of a target counts: 0 where there is none.
        answers: the number of the answer that a target is of, -1 if of none.
    """

    tokens: Int[Tensor, "row length"]
    positions: Int[Tensor, "row length"]
    targets: Int[Tensor, "row length"]
    weights: Float[Tensor, "row length"]
    answers: Int[Tensor, "row length"]


def draw_rows(
    source: DocumentSource,
    mixture: Mixture,
    count: int,
    length: int,
    *,
    step: int,
    steps: int,
    rng: Random,
) -> Rows:
    """Return `count` rows of at most `length` tokens, as `mixture` has them at a step."""
    share, limit = mixture.prose_share(step, steps), mixture.limit(step, steps, length)
    rows = [
        [source.draw_prose(length, rng=rng)]
        if rng.random() < share
        else _fill_row(source, mixture.kinds, length, limit, rng)
        for _ in range(count)
    ]
    return pack_rows(rows, length, mixture.context_weight)


def _fill_row(
    source: DocumentSource, weights: Mapping[str, float], length: int, limit: int, rng: Random
) -> list[EncodedDocument]:
    documents: list[EncodedDocument] = []
    while length >= SHORTEST:
        wanted = min(length, rng.randint(SHORTEST, limit))
        name = _choose(source, weights, wanted, rng)
        document = None if name is None else source.draw(name, wanted, rng=rng)
        documents.append(document or source.draw_prose(wanted, rng=rng))
        length -= len(documents[-1].tokens)
    return documents


def _choose(
    source: DocumentSource, weights: Mapping[str, float], length: int, rng: Random
) -> str | None:
    """Return a kind of which there are documents as short as `length`, None if there is none."""
    kinds = {name: weights[name] for name in weights if source.shortest[name] <= length}
    return rng.choices(list(kinds), list(kinds.values()))[0] if any(kinds.values()) else None


def pack_rows(
    rows: Sequence[Sequence[EncodedDocument]], length: int, context_weight: float
) -> Rows:
    """Return documents as tensors, a list of them a row of `length` tokens.

    The tokens of answers and of prose count 1, all others `context_weight`.
    """
    shape = (len(rows), length)
    packed = Rows(
        tokens=torch.full(shape, PAD_ID),
        positions=torch.arange(length).repeat(len(rows), 1),
        targets=torch.full(shape, PAD_ID),
        weights=torch.zeros(shape),
        answers=torch.full(shape, -1),
    )
    for row, documents in enumerate(rows):
        begin = 0
        for document in documents:
            _place(packed, row, begin, document, context_weight)
            begin += len(document.tokens)
    return packed


def _place(
    rows: Rows, row: int, begin: int, document: EncodedDocument, context_weight: float
) -> None:
    end = begin + len(document.tokens)
    ids, answers = torch.tensor(document.tokens), torch.tensor(document.answers)
    rows.tokens[row, begin:end] = ids
    rows.positions[row, begin:] = torch.arange(rows.tokens.shape[1] - begin)
    rows.targets[row, begin : end - 1] = ids[1:]
    rows.answers[row, begin : end - 1] = answers[1:]
    rows.weights[row, begin : end - 1] = torch.where(answers[1:] < 0, context_weight, 1.0)
