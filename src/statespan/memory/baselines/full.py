"""Full attention."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from statespan.memory.attend import causal_attention

__all__ = ["FullAttention"]


@dataclass(frozen=True, slots=True)
class FullAttention:
    """Causal attention to every token before, by PyTorch's own function.

    Example:
        >>> FullAttention().causal
        True
    """

    @property
    def causal(self) -> bool:
        """Whether no output depends on a later token: it is."""
        return True

    def attend(
        self,
        query: Float[Tensor, "batch head length dim"],
        key: Float[Tensor, "batch kv_head length dim"],
        value: Float[Tensor, "batch kv_head length value_dim"],
        *,
        scaling: float,
        step: int = 0,
        layer: int = 0,
    ) -> Float[Tensor, "batch head length value_dim"]:
        """Return the attention; each row is a document without padding."""
        del step, layer
        return causal_attention(query, key, value, scaling=scaling)

    def visible(
        self,
        query: Float[Tensor, "head length dim"],
        key: Float[Tensor, "kv_head length dim"],
        value: Float[Tensor, "kv_head length value_dim"],
        *,
        scaling: float,
        step: int = 0,
        layer: int = 0,
    ) -> Bool[Tensor, "head length length"]:
        """Return which query of one document sees which key."""
        del key, value, scaling, step, layer
        heads, length, _ = query.shape
        return torch.ones(heads, length, length, dtype=torch.bool, device=query.device).tril()
