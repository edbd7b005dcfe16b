"""One step of a `transformers` model from explicit caches, many caches at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

__all__ = ["CacheShape", "Piece", "cache_of", "join_states", "states_of"]


MIXERS = ("mixer", "linear_attn", "mamba")
"""What `transformers` calls the mixer of a recurrent layer."""


@final
@dataclass(frozen=True, slots=True)
class Piece:
    """One cached tensor: its layer, whether it is the convolution's, its shape and precision.

    `relevant` marks the numbers that some later step can read.
    """

    layer: int
    is_convolution: bool
    size: tuple[int, ...]
    dtype: torch.dtype
    relevant: Tensor


@final
@dataclass(frozen=True, slots=True)
class CacheShape:
    """How the recurrent caches of a model lie in one row of numbers.

    Attention layers have no piece: what they remember is left out.
    """

    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, model: PreTrainedModel, cache: DynamicCache, layers: Sequence[int]) -> CacheShape:
        """Return the shape of a cache that has seen a token."""
        pieces = []
        for number in layers:
            for is_convolution in (True, False):
                value = _tensor(cache, number, is_convolution)
                size = tuple(value.shape[1:])
                relevant = torch.ones(size)
                if is_convolution:
                    relevant = _read_later(_convolution(model, number), size)
                pieces.append(Piece(number, is_convolution, size, value.dtype, relevant))
        return cls(tuple(pieces))


def _tensor(cache: DynamicCache, layer: int, is_convolution: bool) -> Tensor:
    place: Any = cache.layers[layer]
    value: Tensor = (place.conv_states if is_convolution else place.recurrent_states)[0]
    return value


def _convolution(model: PreTrainedModel, number: int) -> Tensor:
    layers: Any = model.base_model.layers
    parts = dict(layers[number].named_children())
    mixer: Any = next(parts[name] for name in MIXERS if name in parts)
    weight: Tensor = mixer.conv1d.weight[:, 0]
    return weight


def _read_later(weight: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return which of the last inputs of a convolution a tap that is not zero will meet.

    The j-th column kept moves to earlier and earlier taps: it meets those before the j-th.
    """
    met = torch.zeros(size)
    for column in range(1, size[-1]):
        met[..., column] = (weight[:, :column] != 0).any(1)
    return met


def states_of(cache: DynamicCache, shape: CacheShape) -> Tensor:
    """Return the recurrent states as float32 rows: [batch, number].

    What no later step reads is set to zero, and -0 becomes 0. Two equal rows answer every
    continuation equally.
    """
    rows = []
    for piece in shape.pieces:
        value = _tensor(cache, piece.layer, piece.is_convolution).float() * piece.relevant
        rows.append(value.reshape(value.shape[0], -1))
    return torch.cat(rows, dim=1) + 0.0


def cache_of(model: PreTrainedModel, rows: Tensor, shape: CacheShape) -> DynamicCache:
    """Return a cache with the recurrent states `rows`, as if it had seen earlier tokens."""
    cache = DynamicCache(config=model.config)
    start = 0
    for piece in shape.pieces:
        length = int(torch.Size(piece.size).numel())
        value = rows[:, start : start + length].reshape(-1, *piece.size).to(piece.dtype)
        layer: Any = cache.layers[piece.layer]
        if piece.is_convolution:
            layer.update_conv_state(value)
        else:
            layer.update_recurrent_state(value)
        start += length
    return cache


def join_states(rows: Tensor) -> list[bytes]:
    """Return each row as bytes, to be compared and hashed."""
    array = rows.contiguous().numpy()
    return [row.tobytes() for row in array]
