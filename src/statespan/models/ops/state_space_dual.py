"""Mamba-2's recurrence as small matrix products over chunks of time (state-space duality)."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

__all__ = ["state_space_dual"]


def state_space_dual(
    inputs: Float[Tensor, "batch length head dim"],
    delta: Float[Tensor, "batch length head"],
    transition: Float[Tensor, " head"],
    write: Float[Tensor, "batch length state"],
    read: Float[Tensor, "batch length state"],
    initial_state: Float[Tensor, "batch head dim state"] | None = None,
    *,
    chunk: int = 32,
) -> tuple[Float[Tensor, "batch length head dim"], Float[Tensor, "batch head dim state"]]:
    """Return the outputs and the last state of Mamba-2's recurrence (Dao and Gu 2024, eq. 1).

    h_t = exp(Δ_t a) h_{t-1} + Δ_t x_t B_tᵀ and y_t = h_t C_t, with a `transition` (negative for a
    decay), B `write`, C `read`, shared by all heads. A missing `initial_state` is zero; the last
    state continues the sequence. Within a chunk every pair of positions meets in a matrix product;
    from chunk to chunk the state is carried one after the other: linear in `length`.

    Example:
        >>> import torch
        >>> ones = torch.ones(1, 3, 1)
        >>> outputs, state = state_space_dual(ones[..., None], ones, torch.zeros(1), ones, ones)
        >>> outputs.flatten().tolist(), state.item()
        ([1.0, 2.0, 3.0], 3.0)
    """
    batch, length, head, dim = inputs.shape
    chunk = min(chunk, length)
    missing = -length % chunk
    scaled = inputs * delta[..., None]
    # A padded step has Δ = 0: its decay is exactly 1 and it writes nothing, so it changes no state.
    pattern = "b (c t) ... -> b c t ..."
    scaled = rearrange(pad(scaled, (0, 0, 0, 0, 0, missing)), pattern, t=chunk)
    exponent = rearrange(pad(delta * transition, (0, 0, 0, missing)), pattern, t=chunk)
    write, read = (rearrange(pad(x, (0, 0, 0, missing)), pattern, t=chunk) for x in (write, read))
    between = _sum_between(exponent)

    scores = torch.einsum("bctn,bcsn->bcts", read, write)
    outputs = torch.einsum("bcts,bchts,bcshp->bcthp", scores, torch.exp(between), scaled)

    to_end = torch.exp(between[..., -1, :])
    written = torch.einsum("bctn,bcht,bcthp->bchpn", write, to_end, scaled)
    state = initial_state
    if state is None:
        state = inputs.new_zeros(batch, head, dim, write.shape[-1])
    total = exponent.cumsum(dim=2)  # from the chunk's start to t, t included
    fades = torch.exp(total[:, :, -1])[..., None, None]
    starts = []
    for fade, fresh in zip(fades.unbind(1), written.unbind(1), strict=True):
        starts.append(state)
        state = fade * state + fresh
    carried = torch.einsum("bctn,bchpn->bcthp", read, torch.stack(starts, dim=1))
    outputs = outputs + carried * torch.exp(total)[..., None]
    return rearrange(outputs, "b c t h p -> b (c t) h p")[:, :length], state


def _sum_between(
    exponent: Float[Tensor, "batch chunk time head"],
) -> Float[Tensor, "batch chunk head time time"]:
    """Return the exponents summed over (s, t] at row t and column s ≤ t, and -∞ at s > t.

    Summed anew for each s: a difference of two running sums would lose the small exponents that
    come after a large one, and with them what a state kept since it was last reset.
    """
    length = exponent.shape[2]
    pairs = torch.ones(length, length, dtype=torch.bool, device=exponent.device)
    terms = rearrange(exponent, "b c t h -> b c h t 1").expand(-1, -1, -1, -1, length)
    sums = terms.masked_fill(pairs.triu(), 0).cumsum(dim=-2)
    return sums.masked_fill(pairs.triu(1), -torch.inf)
