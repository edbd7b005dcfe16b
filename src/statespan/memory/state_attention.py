"""Attention of a few queries to keys that lie in several places.

Axes: `batch`; `head`, the heads of the queries; `reader`, the heads that read the same keys: those
of the keys, or those of the queries; `decision`, the groups of queries that read the same keys;
`query`; `token`, the keys; `dim`, `value_dim`, their widths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from statespan.memory.dtypes import computing_dtype

__all__ = ["Part", "attend"]


@dataclass(frozen=True, slots=True)
class Part:
    """Keys and values that lie together, and which query sees which of them.

    Attributes:
        visible: None where every query sees every key.
    """

    keys: Float[Tensor, "batch reader decision token dim"]
    values: Float[Tensor, "batch reader decision token value_dim"]
    visible: Bool[Tensor, "#batch #head #query token"] | None

    def logits(
        self, query: Float[Tensor, "batch head query dim"]
    ) -> Float[Tensor, "batch head query token"]:
        """Return the products with the keys, minus infinity for what is not seen."""
        keys = self.keys.to(query.dtype)
        products = self._apart(query) @ keys.mT
        together = self._together(products, query.shape[1])
        if self.visible is None:
            return together
        return together.masked_fill(~self.visible, -float("inf"))

    def read(
        self, weights: Float[Tensor, "batch head query token"]
    ) -> Float[Tensor, "batch head query value_dim"]:
        """Return the sums of the values, weighted."""
        sums = self._apart(weights) @ self.values.to(weights.dtype)
        return self._together(sums, weights.shape[1])

    def _apart(
        self, tensor: Float[Tensor, "batch head query width"]
    ) -> Float[Tensor, "batch reader decision member width"]:
        """Put the queries that read the same keys side by side."""
        readers, decisions = self.keys.shape[1:3]
        grouped = torch.unflatten(tensor, 1, (readers, -1))
        if decisions == 1:
            return grouped.flatten(2, 3).unsqueeze(2)
        return grouped.transpose(2, 3)

    def _together(
        self, tensor: Float[Tensor, "batch reader decision member width"], heads: int
    ) -> Float[Tensor, "batch head query width"]:
        readers, decisions = self.keys.shape[1:3]
        if decisions == 1:
            return torch.unflatten(tensor.squeeze(2), 2, (heads // readers, -1)).flatten(1, 2)
        return tensor.transpose(2, 3).flatten(1, 2)


def attend(
    query: Float[Tensor, "batch head query dim"], parts: Sequence[Part], *, scaling: float
) -> Float[Tensor, "batch head query value_dim"]:
    """Return attention to all parts as if they were one; each query must see a key."""
    scaled = query.to(computing_dtype(query)) * scaling
    weights = torch.cat([part.logits(scaled) for part in parts], dim=-1).softmax(dim=-1)
    shares = torch.split(weights, [part.keys.shape[3] for part in parts], dim=-1)
    output = parts[0].read(shares[0])
    for part, share in zip(parts[1:], shares[1:], strict=True):
        output = output + part.read(share)
    return output.to(query.dtype)
