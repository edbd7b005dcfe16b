"""Takes what mamba-ssm's dual scan takes, where document 0 continues the initial state."""
# ruff: noqa: N803, N806

from __future__ import annotations

import torch
from old_style import apply
from torch import Tensor

from statespan.models.ops.reference import reference_state_space_dual

CALLS: list[str] = []


def mamba_chunk_scan_combined(
    x,
    dt,
    A,
    B,
    C,
    chunk_size,
    D=None,
    z=None,
    dt_bias=None,
    initial_states=None,
    seq_idx=None,
    cu_seqlens=None,
    dt_softplus=False,
    dt_limit=(0.0, float("inf")),
    return_final_states=False,
    return_varlen_states=False,
):
    batch, length, heads, dim = x.shape
    assert z is None
    assert cu_seqlens is None
    assert not return_varlen_states
    assert chunk_size & (chunk_size - 1) == 0
    assert x.dtype == B.dtype == C.dtype
    assert x.dtype in (torch.float16, torch.bfloat16)
    assert dt.shape == (batch, length, heads)
    assert A.shape == (heads,)
    assert B.shape == C.shape == (batch, length, B.shape[2], B.shape[3])
    assert initial_states is None or initial_states.shape == (batch, heads, dim, B.shape[3])
    if seq_idx is not None:
        assert seq_idx.dtype == torch.int32
        assert seq_idx.shape == (batch, length)
        assert (seq_idx[:, 0] == 0).all()
    CALLS.append("state_space_dual")

    def run(*tensors: Tensor | None) -> tuple[Tensor, ...]:
        x, dt, A, B, C, D, dt_bias, initial = tensors
        outputs, last = reference_state_space_dual(
            x.double(),
            dt.double(),
            A.double(),
            B.double(),
            C.double(),
            None if initial is None else initial.double(),
            skip=D,
            delta_bias=dt_bias,
            softplus=dt_softplus,
            delta_limits=dt_limit,
            documents=seq_idx,
        )
        return outputs.to(x.dtype), last.float()

    results = apply(run, x, dt, A, B, C, D, dt_bias, initial_states)
    return results if return_final_states else results[0]
