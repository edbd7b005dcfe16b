"""Mixture of block attention (MoBA, arXiv 2502.13189)."""

from __future__ import annotations

from statespan.memory.sizes import check_whole
from statespan.memory.span import SpanAttention

__all__ = ["mixture_of_blocks"]


def mixture_of_blocks(block: int, top_k: int) -> SpanAttention:
    """Return the attention of each token to its own block and to `top_k - 1` blocks before.

    Each query of each head chooses by itself, by the mean keys of the blocks.

    Raises:
        ConfigError: a size out of its range.

    Example:
        >>> mixture_of_blocks(block=512, top_k=3).selection
        'token'
    """
    check_whole("top_k", top_k, least=1)
    return SpanAttention(
        chunk=block, block=block, top_k=top_k - 1, selection="token", summary="key"
    )
