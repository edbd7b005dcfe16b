"""Takes what flash-linear-attention's rule takes, and warns where it does."""

from __future__ import annotations

import warnings
from itertools import pairwise

import torch
from old_style import apply
from torch import Tensor

from statespan.models.ops.reference import reference_gated_delta_rule

CALLS: list[str] = []


def chunk_gated_delta_rule(
    q,
    k,
    v,
    g,
    beta,
    scale=None,
    initial_state=None,
    output_final_state=False,
    use_qk_l2norm_in_kernel=False,
    cu_seqlens=None,
):
    batch, length, heads, size = q.shape
    assert not use_qk_l2norm_in_kernel
    assert q.dtype == k.dtype == v.dtype != torch.float32
    assert size <= 256
    assert g.dtype == torch.float32
    assert g.isfinite().all()
    assert g.shape == beta.shape == (batch, length, heads)
    if length < heads:
        warnings.warn("the shape suggests a format mismatch", stacklevel=2)
    assert cu_seqlens is None or batch == 1
    num_states = batch if cu_seqlens is None else len(cu_seqlens) - 1
    assert initial_state is None or initial_state.shape == (num_states, heads, size, v.shape[3])
    CALLS.append("gated_delta_rule")

    def run(*tensors: Tensor | None) -> tuple[Tensor, ...]:
        q, k, v, g, beta, initial = tensors
        bounds = [0, length] if cu_seqlens is None else cu_seqlens.tolist()
        pieces = []
        for number, (start, end) in enumerate(pairwise(bounds)):
            state = initial
            if cu_seqlens is not None and initial is not None:
                state = initial[number : number + 1]
            piece = [t[:, start:end].double() for t in (q, k, v, g, beta)]
            pieces.append(reference_gated_delta_rule(*piece, state))
        outputs = torch.cat([piece[0] for piece in pieces], dim=1)
        last = torch.cat([piece[1] for piece in pieces])
        return (outputs * (size**-0.5 if scale is None else scale)).to(q.dtype), last.float()

    results = apply(run, q, k, v, g, beta, initial_state)
    return results[0], results[1] if output_final_state else None
