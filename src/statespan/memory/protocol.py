"""What every kind of attention is: a value that says what a token may look back at.

Axes: `batch`; `head`, the heads of the queries; `kv_head`, those of keys and values, which divide
them; `length`, time; `dim`, `value_dim`, the widths of keys and values.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["Attention"]


@runtime_checkable
class Attention(Protocol):
    """A kind of attention, of which each row is a document without padding."""

    @property
    def causal(self) -> bool:
        """Whether no output depends on a later token."""
        ...

    def attend(
        self,
        query: Float[Tensor, "batch head length dim"],
        key: Float[Tensor, "batch kv_head length dim"],
        value: Float[Tensor, "batch kv_head length value_dim"],
        *,
        scaling: float,
        step: int,
        layer: int,
    ) -> Float[Tensor, "batch head length value_dim"]:
        """Return the attention; no size is 0."""
        ...

    def visible(
        self,
        query: Float[Tensor, "head length dim"],
        key: Float[Tensor, "kv_head length dim"],
        value: Float[Tensor, "kv_head length value_dim"],
        *,
        scaling: float,
        step: int,
        layer: int,
    ) -> Bool[Tensor, "head length length"]:
        """Return which query of one document sees which key: the definition, slow and obvious."""
        ...
