"""Random streams: one for each purpose, each a function of the run's seed and its name alone."""

from __future__ import annotations

import hashlib
from random import Random

import torch

__all__ = ["python_stream", "torch_stream"]


def _number(seed: int, name: str) -> int:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def python_stream(seed: int, name: str) -> Random:
    """Return the Python generator of the stream `name`.

    >>> python_stream(0, "data").random() == python_stream(0, "data").random()
    True
    >>> python_stream(0, "data").random() == python_stream(0, "order").random()
    False
    """
    return Random(_number(seed, name))


def torch_stream(seed: int, name: str) -> torch.Generator:
    """Return the torch generator (on the CPU) of the stream `name`."""
    return torch.Generator().manual_seed(_number(seed, name))
