"""One step of a `transformers` model from explicit caches, many caches at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

__all__ = ["CacheShape", "cache_of", "join_states", "states_of"]


@final
@dataclass(frozen=True, slots=True)
class CacheShape:
    """How the recurrent caches of a model lie in one row of numbers.

    `pieces` has, for each cached tensor, the layer, whether it is the convolution's, and its
    shape. Attention layers have none: what they remember is left out.
    """

    pieces: tuple[tuple[int, bool, tuple[int, ...], torch.dtype], ...]

    @classmethod
    def of(cls, cache: DynamicCache, layers: Sequence[int]) -> CacheShape:
        """Return the shape of a cache that has seen a token."""
        pieces = []
        for number in layers:
            layer: Any = cache.layers[number]
            for is_convolution in (True, False):
                value = (layer.conv_states if is_convolution else layer.recurrent_states)[0]
                pieces.append((number, is_convolution, tuple(value.shape[1:]), value.dtype))
        return cls(tuple(pieces))


def states_of(cache: DynamicCache, shape: CacheShape) -> Tensor:
    """Return the recurrent states as float32 rows: [batch, number].

    The oldest column of a convolution's state is never read again, so it is set to zero; -0
    becomes 0. Two equal rows answer every continuation equally.
    """
    rows = []
    for number, is_convolution, size, _ in shape.pieces:
        layer: Any = cache.layers[number]
        value = (layer.conv_states if is_convolution else layer.recurrent_states)[0]
        value = value.float().clone()
        if is_convolution:
            value[..., 0] = 0
        rows.append(value.reshape(value.shape[0], -1))
        assert value.shape[1:] == size
    return torch.cat(rows, dim=1) + 0.0


def cache_of(model: PreTrainedModel, rows: Tensor, shape: CacheShape) -> DynamicCache:
    """Return a cache with the recurrent states `rows`, as if it had seen earlier tokens."""
    cache = DynamicCache(config=model.config)
    start = 0
    for number, is_convolution, size, dtype in shape.pieces:
        length = int(torch.Size(size).numel())
        value = rows[:, start : start + length].reshape(-1, *size).to(dtype)
        layer: Any = cache.layers[number]
        if is_convolution:
            layer.update_conv_state(value)
        else:
            layer.update_recurrent_state(value)
        start += length
    return cache


def join_states(rows: Tensor) -> list[bytes]:
    """Return each row as bytes, to be compared and hashed."""
    array = rows.contiguous().numpy()
    return [row.tobytes() for row in array]
