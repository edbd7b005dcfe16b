"""Attention of some queries to some keys, and what it takes to merge it with attention to others.

Attention to two disjoint sets of keys is the mean of the two outputs, weighted by the exponentials
of their log-sum-exps. The gradient of a part needs the merged output and the merged log-sum-exp
only, in place of its own: `attend_backward` is given those.

Axes: `entry`, independent attentions; `head`, queries of one entry that share its keys; `query`,
`key`; `dim`, `value_dim`, the widths of keys and of values.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from statespan.memory.dtypes import computing_dtype
from statespan.memory.kernels import Logits, kernel_for

__all__ = ["attend", "attend_backward", "causal_attention", "merge_into"]


def attend(
    query: Float[Tensor, "entry head query dim"],
    key: Float[Tensor, "entry 1 key dim"],
    value: Float[Tensor, "entry 1 key value_dim"],
    logits: Logits,
) -> tuple[Float[Tensor, "entry head query value_dim"], Float[Tensor, "entry head query"]]:
    """Return the output and the log-sum-exp of the logits.

    A query that the mask leaves no key has the output 0 and the log-sum-exp minus infinity.
    """
    kernel = kernel_for(query, masked=logits.mask is not None)
    width = kernel.width(max(key.shape[-1], value.shape[-1]))
    query, key, wide = (_widened(tensor, width) for tensor in (query, key, value))
    out, lse = kernel.forward(query, key, wide, logits)
    out = out[..., : value.shape[-1]]
    if logits.mask is not None:
        blind = logits.mask.isneginf().all(dim=-1)
        out = out.masked_fill(blind[..., None], 0.0)
        lse = lse.masked_fill(blind, -torch.inf)
    return out, lse


def attend_backward(
    grad: Float[Tensor, "entry head query value_dim"],
    query: Float[Tensor, "entry head query dim"],
    key: Float[Tensor, "entry 1 key dim"],
    value: Float[Tensor, "entry 1 key value_dim"],
    out: Float[Tensor, "entry head query value_dim"],
    lse: Float[Tensor, "entry head query"],
    logits: Logits,
) -> tuple[
    Float[Tensor, "entry head query dim"],
    Float[Tensor, "entry 1 key dim"],
    Float[Tensor, "entry 1 key value_dim"],
]:
    """Return the gradients of a part, given the output and log-sum-exp of all parts together."""
    kernel = kernel_for(query, masked=logits.mask is not None)
    dim, value_dim = key.shape[-1], value.shape[-1]
    width = kernel.width(max(dim, value_dim))
    grad, query, key, value, out = (
        _widened(tensor, width) for tensor in (grad, query, key, value, out)
    )
    of_query, of_key, of_value = kernel.backward(grad, query, key, value, out, lse, logits)
    if query.shape[1] > 1:
        of_key, of_value = (each.sum(dim=1, keepdim=True) for each in (of_key, of_value))
    return of_query[..., :dim], of_key[..., :dim], of_value[..., :value_dim]


def causal_attention(
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch kv_head length dim"],
    value: Float[Tensor, "batch kv_head length value_dim"],
    *,
    scaling: float,
) -> Float[Tensor, "batch head length value_dim"]:
    """Return the attention of each token to all up to itself, by PyTorch's own function."""
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(
        query, key, value, is_causal=True, scale=scaling, enable_gqa=grouped
    )


def merge_into(
    out: Float[Tensor, "*shape value_dim"],
    lse: Float[Tensor, "*shape"],
    more_out: Float[Tensor, "*shape value_dim"],
    more_lse: Float[Tensor, "*shape"],
) -> None:
    """Merge in place what attention to further keys gave into what there was."""
    weight = torch.sigmoid(more_lse - lse)[..., None]
    lse.copy_(torch.logaddexp(lse, more_lse))
    if out.dtype is weight.dtype:
        out.lerp_(more_out, weight)
    else:
        dtype = computing_dtype(out)
        out.copy_(out.to(dtype).lerp(more_out.to(dtype), weight))


def _widened(
    tensor: Float[Tensor, "entry member token least"], width: int
) -> Float[Tensor, "entry member token width"]:
    missing = width - tensor.shape[-1]
    return pad(tensor, (0, missing)) if missing else tensor
