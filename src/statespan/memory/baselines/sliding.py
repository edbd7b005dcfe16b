"""Sliding-window attention, with or without sinks."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from statespan.memory.sizes import check_whole
from statespan.memory.span import SpanAttention

__all__ = ["SlidingAttention"]


@dataclass(frozen=True, slots=True)
class SlidingAttention:
    """Causal attention to the last `window` tokens and to the first `sinks` of the document.

    Raises:
        ConfigError: a size out of its range.

    Example:
        >>> SlidingAttention(4096).causal
        True
    """

    window: int
    sinks: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        check_whole("window", self.window, least=1)
        check_whole("sinks", self.sinks, least=0)

    @property
    def causal(self) -> bool:
        """Whether no output depends on a later token: it is."""
        return True

    @property
    def span(self) -> SpanAttention:
        """The same attention as chunks, a local window and blocks of one token that are kept.

        Of a chunk as long as the window, no token sees more than its window.
        """
        return SpanAttention(
            chunk=self.window, block=1, top_k=0, local=self.window, keep_first=self.sinks
        )

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
        return self.span.attend(query, key, value, scaling=scaling, step=step, layer=layer)

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
        at = torch.arange(length, device=query.device)
        queries, keys = at[:, None], at
        near = (keys > queries - self.window) | (keys < self.sinks)
        return (near & (keys <= queries)).expand(heads, -1, -1)
