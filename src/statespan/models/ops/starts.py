"""The states that a backward pass recomputes from: how many the compiled kernels keep."""

from __future__ import annotations

__all__ = ["CHUNK", "num_starts"]

CHUNK = 64
"""Tokens from one kept state to the next, as in kernels/chunks.h."""

FEW = 3
"""As many tokens are worth a step each, with no chunk, as in the kernels."""


def num_starts(length: int) -> int:
    """Return how many states a row of `length` tokens keeps; none where the initial one is all.

    Example:
        >>> num_starts(1), num_starts(64), num_starts(65)
        (0, 1, 2)
    """
    return 0 if length <= FEW else -(-length // CHUNK)
