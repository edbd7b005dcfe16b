"""The definition of every attention: a dense mask and a softmax, in float64.

Axes: `batch`; `head`, the heads of the queries; `kv_head`, those of keys and values; `length`,
time; `dim`, `value_dim`, the widths of keys and values.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from statespan.memory.checks import check_scaling
from statespan.memory.documents import list_documents
from statespan.memory.protocol import Attention
from statespan.memory.span_attention import check_config

__all__ = ["reference_attention", "visible_mask"]


def reference_attention(
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch kv_head length dim"],
    value: Float[Tensor, "batch kv_head length value_dim"],
    config: Attention,
    *,
    scaling: float | None = None,
    documents: Int[Tensor, "batch length"] | None = None,
    step: int = 0,
    layer: int = 0,
) -> Float[Tensor, "batch head length value_dim"]:
    """Return the masked softmax attention in float64; memory and time grow with the length squared.

    What stands at padding must be finite here.

    Raises:
        InputError: as `span_attention` does, if blocks cannot be scored at these widths.
    """
    query, key, value = (tensor.double() for tensor in (query, key, value))
    factor = check_scaling(scaling, query.shape[3])
    mask = visible_mask(
        query, key, value, config, scaling=scaling, documents=documents, step=step, layer=layer
    )
    members = query.shape[1] // max(key.shape[1], 1)
    keys, values = (tensor.repeat_interleave(members, dim=1) for tensor in (key, value))
    products = torch.einsum("bhqd,bhkd->bhqk", query, keys) * factor
    weights = products.masked_fill(~mask, -torch.inf).softmax(dim=-1)
    sees = mask.any(dim=-1, keepdim=True)
    return torch.einsum("bhqk,bhkd->bhqd", weights.masked_fill(~sees, 0.0), values)


def visible_mask(
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch kv_head length dim"],
    value: Float[Tensor, "batch kv_head length value_dim"],
    config: Attention,
    *,
    scaling: float | None = None,
    documents: Int[Tensor, "batch length"] | None = None,
    step: int = 0,
    layer: int = 0,
) -> Bool[Tensor, "batch head length length"]:
    """Return which query sees which key: inside each document, as `config` says.

    Raises:
        InputError: the summary is a mean of values, which are not as wide as the queries.
    """
    check_config(config, key.shape[3], value.shape[3])
    batch, heads, length, dim = query.shape
    factor = check_scaling(scaling, dim)
    if documents is None:
        documents = torch.zeros(batch, length, dtype=torch.int64, device=query.device)
    mask = torch.zeros(batch, heads, length, length, dtype=torch.bool, device=query.device)
    for document in list_documents(documents):
        at = document.places
        parts = (tensor[document.row][:, at] for tensor in (query, key, value))
        seen = config.visible(*parts, scaling=factor, step=step, layer=layer)
        mask[document.row][:, at[:, None], at] = seen
    return mask
