"""Documents and padding: what each token does to a state."""

from __future__ import annotations

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

__all__ = ["CONTINUES", "PADDING", "STARTS", "token_kinds"]

CONTINUES, STARTS, PADDING = 0, 1, 2
"""As in kernels/tokens.h."""


def token_kinds(documents: Int[Tensor, "batch length"]) -> UInt8[Tensor, "batch length"]:
    """Return whether each token continues its document, starts it, or is padding.

    A negative number marks padding. A token starts a document where its number differs from that
    of the last token before it that is not padding; the first such token of a row continues what
    came before the call.

    Example:
        >>> token_kinds(torch.tensor([[-1, 0, 0, -1, 0, 1]])).tolist()
        [[2, 0, 0, 2, 0, 1]]
    """
    real = documents >= 0
    places = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    last = torch.where(real, places, -1).cummax(dim=1).values
    before = last.roll(1, dims=1)
    before[:, :1] = -1
    differs = documents != documents.gather(1, before.clamp_min(0))
    starts = real & (before >= 0) & differs
    return torch.where(real, starts.to(torch.uint8), PADDING).to(torch.uint8)
