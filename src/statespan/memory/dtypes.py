"""The dtype that scores and sums of queries are computed in."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["computing_dtype"]


def computing_dtype(tensor: Tensor) -> torch.dtype:
    """Return float64 for a tensor of float64, and float32 for all others."""
    return torch.float64 if tensor.dtype is torch.float64 else torch.float32
