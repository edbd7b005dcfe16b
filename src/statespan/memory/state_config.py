"""Which kinds of attention can be decoded, and as what."""

from __future__ import annotations

from typing import Final

from statespan.errors import ConfigError
from statespan.memory.baselines import FullAttention, SlidingAttention
from statespan.memory.protocol import Attention
from statespan.memory.span import SpanAttention

__all__ = ["decoded_as"]

LONGEST: Final = 2**40
"""Tokens of a chunk that no document fills."""


def decoded_as(config: Attention) -> SpanAttention:
    """Return the span-expanded attention by which a token sees what it sees by `config`.

    Raises:
        ConfigError: there is none.
    """
    match config:
        case SpanAttention():
            return config
        case SlidingAttention():
            return config.span
        case FullAttention():
            return SpanAttention(chunk=LONGEST, block=1, top_k=0)
    raise ConfigError(
        f"{config} cannot be decoded: config must be a SpanAttention, FullAttention or "
        "SlidingAttention."
    )
