"""The state-space dual scan in torch's own functions, for where no compiled kernel is.

Axes: `row`; chunk `c` of times `t` and `s`; group `g` of `k` heads; dim `p`; state `n`.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import softplus as softplus_of

from statespan.models.ops.operator import rows_per_member
from statespan.models.ops.tokens import PADDING
from statespan.models.ops.torch_chunks import Bounds, chunk_length, in_chunks, sum_between

__all__ = ["composite_state_space_dual"]


def composite_state_space_dual(
    inputs: Tensor,
    delta: Tensor,
    transition: Tensor,
    write: Tensor,
    read: Tensor,
    skip: Tensor | None,
    delta_bias: Tensor | None,
    tokens: Tensor | None,
    initial: Tensor,
    softplus: bool,
    low: float,
    high: float,
) -> tuple[Tensor, Tensor]:
    """Return outputs and last states, by differentiable functions, of what the kernel is given.

    Within a chunk every pair of positions meets in a matrix product; from chunk to chunk the state
    is carried one after the other.
    """
    repeats = rows_per_member(len(inputs), transition)
    padding = None if tokens is None else (tokens == PADDING)[..., None]
    if padding is not None:
        delta = delta.masked_fill(padding, 0)
        inputs, write, read = (t.masked_fill(padding[..., None], 0) for t in (inputs, write, read))
    if delta_bias is not None:
        delta = delta + delta_bias.repeat_interleave(repeats, 0)[:, None]
    delta = (softplus_of(delta) if softplus else delta).clamp(low, high)
    if padding is not None:
        # With Δ = 0 a decay is exactly 1 and nothing is written.
        delta = delta.masked_fill(padding, 0)
    exponent = delta * transition.repeat_interleave(repeats, 0)[:, None]
    outputs, last = _scan(inputs * delta[..., None], exponent, write, read, tokens, initial)
    if skip is not None:
        outputs = outputs + skip.repeat_interleave(repeats, 0)[:, None, :, None] * inputs
    return outputs, last


def _scan(
    scaled: Tensor,
    exponent: Tensor,
    write: Tensor,
    read: Tensor,
    tokens: Tensor | None,
    initial: Tensor,
) -> tuple[Tensor, Tensor]:
    length = exponent.shape[1]
    if 0 in scaled.shape[:2]:
        return torch.zeros_like(scaled), initial
    chunk = chunk_length(length, scaled, exponent, write, read, initial)
    bounds = Bounds.of(tokens, exponent, chunk)
    groups = write.shape[2]
    scaled, exponent, write, read = (in_chunks(t, chunk) for t in (scaled, exponent, write, read))
    scaled = rearrange(scaled, "r c t (g k) p -> r c t g k p", g=groups)
    exponent = rearrange(exponent, "r c t (g k) -> r c g k t", g=groups)
    state = rearrange(initial, "r (g k) p n -> r g k p n", g=groups)
    between = bounds.mask(sum_between(exponent)).exp()
    since = exponent.cumsum(-1).exp()

    scores = torch.einsum("rctgn,rcsgn->rcgts", read, write)
    outputs = torch.einsum("rcgts,rcgkts,rcsgkp->rctgkp", scores, between, scaled)
    written = torch.einsum("rctgn,rcgkt,rctgkp->rcgkpn", write, between[..., -1, :], scaled)
    starts = []
    # Unbound once: the gradient of an index would be as large as the whole, for each chunk.
    fades = since[..., -1, None, None].unbind(1)
    for number, (fade, fresh) in enumerate(zip(fades, written.unbind(1), strict=True)):
        starts.append(state)
        state = fade * bounds.through(number, state) + fresh
    carried = torch.einsum("rctgn,rcgkpn->rctgkp", read, torch.stack(starts, dim=1))
    carried = carried * rearrange(since, "r c g k t -> r c t g k 1")
    outputs = outputs + bounds.from_start(carried)
    outputs = rearrange(outputs, "r c t g k p -> r (c t) (g k) p")[:, :length]
    return outputs, rearrange(state, "r g k p n -> r (g k) p n")
