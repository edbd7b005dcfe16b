"""Chunks of time for recurrences with one decay a head, in torch's own functions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import pad

from statespan.models.ops.tokens import STARTS

__all__ = ["Bounds", "chunk_length", "in_chunks", "sum_between"]

CHUNK = 32
"""Tokens of a chunk: as many as make its matrix products fast."""


def chunk_length(length: int, *tensors: Tensor) -> int:
    """Return the tokens of a chunk: 1 where a number is not finite, or it would go back in time.

    Within a chunk, a token reaches those before it with the weight 0, and 0 · ∞ is no 0.
    """
    finite = all(bool(tensor.detach().isfinite().all()) for tensor in tensors)
    return min(CHUNK, length) if finite else 1


def in_chunks(tensor: Tensor, chunk: int) -> Tensor:
    """Return [row, length, ...] as [row, chunk, time, ...], padded with zeros at the end."""
    missing = -tensor.shape[1] % chunk
    padded = pad(tensor, (0, 0) * (tensor.ndim - 2) + (0, missing))
    return rearrange(padded, "r (c t) ... -> r c t ...", t=chunk)


def sum_between(exponent: Tensor) -> Tensor:
    """Return the exponents [..., time] summed over (s, t] at row t and column s, -∞ at s > t.

    Summed anew for each s: a difference of two running sums would lose the small exponents that
    come after a large one, and with them what a state kept since it was last reset.
    """
    length = exponent.shape[-1]
    pairs = torch.ones(length, length, dtype=torch.bool, device=exponent.device)
    terms = exponent[..., None].expand(*exponent.shape, length)
    sums = terms.masked_fill(pairs.triu(), 0).cumsum(dim=-2)
    return sums.masked_fill(pairs.triu(1), -torch.inf)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which times of a chunk are of one document: `number` counts documents, [row, chunk, time].

    `before` is that count just before each chunk, [row, chunk]. Both None: all are of one.
    """

    number: Tensor | None = None
    before: Tensor | None = None

    @classmethod
    def of(cls, tokens: Tensor | None, like: Tensor, chunk: int) -> Bounds:
        """Return the bounds of the tokens of `like` [row, length, ...] in chunks of `chunk`."""
        if tokens is None:
            return cls()
        number = (tokens == STARTS).cumsum(dim=1)
        # What pads the last chunk is of the last document, so that its state is the last one.
        missing = -like.shape[1] % chunk
        number = torch.cat((number, number[:, -1:].expand(-1, missing)), dim=1)
        number = rearrange(number, "r (c t) -> r c t", t=chunk)
        return cls(number, pad(number[:, :-1, -1], (1, 0)))

    def mask(self, between: Tensor) -> Tensor:
        """Return the exponents [row, chunk, ..., t, s] with -∞ from one document to another."""
        if self.number is None:
            return between
        apart = self.number[..., :, None] != self.number[..., None, :]
        return between.masked_fill(_insert(apart, 2, between.ndim - 4), -torch.inf)

    def from_start(self, carried: Tensor) -> Tensor:
        """Return [row, chunk, time, ...] with 0 where the state before the chunk does not reach."""
        if self.number is None or self.before is None:
            return carried
        apart = self.number != self.before[..., None]
        return carried.masked_fill(_insert(apart, 3, carried.ndim - 3), 0)

    def in_chunk(self, chunk: int, carried: Tensor) -> Tensor:
        """Return [row, ..., time, any] of one chunk, as `from_start` does."""
        if self.number is None or self.before is None:
            return carried
        apart = self.number[:, chunk] != self.before[:, chunk, None]
        return carried.masked_fill(_insert(apart, 1, carried.ndim - 3)[..., None], 0)

    def through(self, chunk: int, state: Tensor) -> Tensor:
        """Return the state [row, ...] before a chunk, or 0 where it does not reach its end."""
        if self.number is None or self.before is None:
            return state
        apart = self.number[:, chunk, -1] != self.before[:, chunk]
        return state.masked_fill(_insert(apart, 1, state.ndim - 1), 0)


def _insert(tensor: Tensor, place: int, count: int) -> Tensor:
    """Return `tensor` with `count` axes of one at `place`."""
    return tensor.reshape(*tensor.shape[:place], *[1] * count, *tensor.shape[place:])
