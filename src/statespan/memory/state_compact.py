"""Rows without their padding, and back."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from statespan.memory.state_rows import Count, agreed, largest, pick

__all__ = ["Compact"]


class Compact:
    """Takes the padding out of tokens, wherever it stands, and puts it back as zeros.

    Attributes:
        count: the number of real tokens of each row.
    """

    def __init__(self, real: Bool[Tensor, "row token"] | None, num_tokens: int) -> None:
        self._real = real
        self.count: Count = num_tokens
        if real is not None:
            self.count = agreed(real.sum(dim=1).cpu()) if real.shape[0] else 0

    def take(
        self, tensor: Float[Tensor, "row head token width"]
    ) -> Float[Tensor, "row head real_token width"]:
        """Return the real tokens of each row, moved together, and zeros behind them."""
        if self._real is None:
            return tensor
        width = largest(self.count)
        order = self._real.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :width]
        padding = ~self._real.gather(1, order)
        return pick(tensor, order).masked_fill(padding[:, None, :, None], 0)

    def put_back(
        self, tensor: Float[Tensor, "row head real_token width"]
    ) -> Float[Tensor, "row head token width"]:
        """Return the tokens where they were, and zeros where there was padding."""
        if self._real is None:
            return tensor
        if tensor.shape[2] == 0:
            return tensor.new_zeros(*tensor.shape[:2], self._real.shape[1], tensor.shape[3])
        place = (self._real.cumsum(dim=1) - 1).clamp_min(0)
        return pick(tensor, place).masked_fill(~self._real[:, None, :, None], 0)
