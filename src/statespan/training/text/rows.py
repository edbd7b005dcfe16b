"""Rows of one length out of documents, and rows as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["NO_LABEL", "Row", "RowBatch", "batch_rows"]

NO_LABEL = -100
"""The label of a token that is not predicted, as `transformers` has it."""


@final
@dataclass(frozen=True, slots=True)
class Row:
    """Pieces of documents, one after the other, none of which is to see another.

    Attributes:
        pieces: the tokens of each, with those that the tokenizer puts before a text.
        leading: how many tokens of a piece those are; they are not predicted.
        predicted: which tokens of a piece are predicted; none: all but those, and the first.
    """

    pieces: tuple[tuple[int, ...], ...]
    leading: int = 0
    predicted: tuple[tuple[bool, ...], ...] | None = None

    @property
    def num_tokens(self) -> int:
        """The number of tokens, without padding."""
        return sum(map(len, self.pieces))

    @property
    def num_labels(self) -> int:
        """The number of tokens that are predicted."""
        return sum(map(sum, self.predictions()))

    def predictions(self) -> tuple[tuple[bool, ...], ...]:
        """Return which tokens of each piece are predicted."""
        if self.predicted is not None:
            return self.predicted
        first = max(1, self.leading)
        return tuple((False,) * first + (True,) * (len(piece) - first) for piece in self.pieces)


@final
@dataclass(frozen=True, slots=True)
class RowBatch:
    """Rows as a model of `transformers` takes them, padded on the right.

    Attributes:
        tokens: their ids.
        labels: the same, with -100 for what is not predicted.
        mask: 1 for a token, 0 for padding; none if there is no padding, or if positions tell it.
        positions: the place of each token in its document, where a row has several; padding is a
            document of its own then.
    """

    tokens: Int[Tensor, "row length"]
    labels: Int[Tensor, "row length"]
    mask: Int[Tensor, "row length"] | None
    positions: Int[Tensor, "row length"] | None


def batch_rows(rows: Sequence[Row], length: int, *, padding: int = 0) -> RowBatch:
    """Return rows of at most `length` tokens as one batch.

    >>> batch = batch_rows([Row(((5, 6, 7), (8, 9)))], 6)
    >>> batch.tokens.tolist(), batch.labels.tolist()
    ([[5, 6, 7, 8, 9, 0]], [[-100, 6, 7, -100, 9, -100]])
    >>> batch.positions.tolist()
    [[0, 1, 2, 0, 1, 0]]
    """
    shape = (len(rows), length)
    tokens = torch.full(shape, padding)
    labels = torch.full(shape, NO_LABEL)
    positions = torch.arange(length).repeat(len(rows), 1)
    for number, row in enumerate(rows):
        begin = 0
        for piece, predicted in zip(row.pieces, row.predictions(), strict=True):
            end = begin + len(piece)
            ids = torch.tensor(piece)
            tokens[number, begin:end] = ids
            labels[number, begin:end] = torch.where(torch.tensor(predicted), ids, NO_LABEL)
            positions[number, begin:] = torch.arange(length - begin)
            begin = end
        positions[number, begin:] = torch.arange(length - begin)
    several = any(len(row.pieces) > 1 for row in rows)
    lengths = torch.tensor([row.num_tokens for row in rows])
    mask = (torch.arange(length)[None] < lengths[:, None]).long()
    return RowBatch(
        tokens,
        labels,
        mask=None if several or bool(mask.all()) else mask,
        positions=positions if several else None,
    )
