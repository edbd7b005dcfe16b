"""Gated linear attention in torch's own functions, for where no compiled kernel is.

Axes: `row`; chunk `c` of times `t` and `s`; head `h`; key `k`; value `v`.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from statespan.models.ops.tokens import PADDING
from statespan.models.ops.torch_chunks import Bounds, chunk_length, in_chunks, sum_between

__all__ = ["composite_gated_linear_attention"]

CHUNK = 16
"""Tokens of a chunk, at the most: every pair of them has a decay for each key."""


def composite_gated_linear_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    log_decay: Tensor,
    tokens: Tensor | None,
    initial: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return outputs and last states, by differentiable functions, of what the kernel is given.

    Within a chunk every pair of positions meets, with the decay between them; from chunk to chunk
    the state is carried one after the other.
    """
    length = query.shape[1]
    if 0 in query.shape[:2]:
        return torch.zeros_like(value), initial
    given = [query, key, value, log_decay]
    if tokens is not None:
        padding = (tokens == PADDING)[..., None, None]
        given = [tensor.masked_fill(padding, 0) for tensor in given]
    chunk = min(CHUNK, chunk_length(length, *given, initial))
    bounds = Bounds.of(tokens, query, chunk)
    query, key, value, log_decay = (
        rearrange(in_chunks(tensor, chunk), "r c t h d -> r c h t d") for tensor in given
    )
    exponent = log_decay.transpose(-1, -2)
    between = bounds.mask(sum_between(exponent)).exp()
    since = exponent.cumsum(-1).exp()
    mix = torch.einsum("rchtk,rchsk,rchkts->rchts", query, key, between)
    reading = query * since.transpose(-1, -2)
    faded = key.transpose(-1, -2) * between[..., -1, :]
    outputs, state = [], initial
    # Unbound once: the gradient of an index would be as large as the whole, for each chunk.
    parts = (mix @ value, reading, faded @ value, since[..., -1:])
    chunks = zip(*(part.unbind(1) for part in parts), strict=True)
    for number, (inside, reads, written, fade) in enumerate(chunks):
        outputs.append(inside + bounds.in_chunk(number, reads @ state))
        state = fade * bounds.through(number, state) + written
    joined = rearrange(torch.stack(outputs, dim=1), "r c h t v -> r (c t) h v")
    return joined[:, :length], state
