"""The gated delta rule in torch's own functions, for where no compiled kernel is.

Axes: `row`; chunk `c` of times `t` and `s`; head `h`; key `k`; value `v`.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor

from statespan.models.ops.tokens import PADDING
from statespan.models.ops.torch_chunks import Bounds, chunk_length, in_chunks, sum_between

__all__ = ["composite_gated_delta_rule"]


def composite_gated_delta_rule(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    log_decay: Tensor,
    rate: Tensor,
    tokens: Tensor | None,
    initial: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return outputs and last states, by differentiable functions, of what the kernel is given.

    With u_t = rate_t (v_t - kᵀ_t S) the change that token t makes, the changes of a chunk solve a
    triangular system; from chunk to chunk the state is carried one after the other.
    """
    length = query.shape[1]
    if 0 in query.shape[:2]:
        return torch.zeros_like(value), initial
    if tokens is not None:
        padding = (tokens == PADDING)[..., None]
        log_decay, rate = (t.masked_fill(padding, 0) for t in (log_decay, rate))
        query, key, value = (t.masked_fill(padding[..., None], 0) for t in (query, key, value))
    chunk = chunk_length(length, query, key, value, log_decay, rate, initial)
    bounds = Bounds.of(tokens, query, chunk)
    query, key, value = (
        rearrange(in_chunks(t, chunk), "r c t h d -> r c h t d") for t in (query, key, value)
    )
    log_decay, rate = (
        rearrange(in_chunks(t, chunk), "r c t h -> r c h t") for t in (log_decay, rate)
    )
    between = bounds.mask(sum_between(log_decay)).exp()
    since = log_decay.cumsum(-1).exp()[..., None]
    lessen = torch.einsum("rchtk,rchsk->rchts", key, key) * between
    mix = torch.einsum("rchtk,rchsk->rchts", query, key) * between
    faded = key * between[..., -1, :, None]
    outputs, state = [], initial
    # Unbound once: the gradient of an index would be as large as the whole, for each chunk.
    chunks = zip(
        *(t.unbind(1) for t in (query, key, value, rate, since, lessen, mix, faded)), strict=True
    )
    for number, (reads, keys, values, rates, reach, lessens, mixes, fading) in enumerate(chunks):
        answer, seen = (bounds.in_chunk(number, reach * (t @ state)) for t in (keys, reads))
        change = _changes(lessens, rates, values - answer)
        outputs.append(seen + mixes @ change)
        state = reach[:, :, -1:] * bounds.through(number, state)
        state = state + fading.transpose(-1, -2) @ change
    joined = rearrange(torch.stack(outputs, dim=1), "r c h t v -> r (c t) h v")
    return joined[:, :length], state


def _changes(lessen: Tensor, rate: Tensor, error: Tensor) -> Tensor:
    """Solve u_t = rate_t (error_t - Σ_{s < t} lessen[t, s] u_s)."""
    rates = rate[..., None]
    system = (rates * lessen).tril(-1)
    changes: Tensor = torch.linalg.solve_triangular(
        system, rates * error, upper=False, unitriangular=True
    )
    return changes
