"""Rows of unequal lengths as one tensor, with filler, and back again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from statespan.conformance.protocol import Scores, Tokens
from statespan.training import PAD

__all__ = ["padded", "unpadded"]


def padded(rows: Sequence[Tokens], side: str, filler: int = PAD) -> tuple[Tensor, Tensor]:
    """Return token ids and which of them are no filler, both [row, time]."""
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), filler)
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for number, row in enumerate(rows):
        place = slice(length - len(row), length) if side == "left" else slice(len(row))
        ids[number, place] = torch.tensor(row, dtype=torch.long)
        mask[number, place] = True
    return ids, mask


def unpadded(logits: Tensor, mask: Tensor) -> list[Scores]:
    """Return the scores of each row, [row, time, token], without those of the filler."""
    return [Scores(row[real].float()) for row, real in zip(logits, mask, strict=True)]
