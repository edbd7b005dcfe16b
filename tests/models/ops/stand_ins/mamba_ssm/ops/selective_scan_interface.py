"""Takes what mamba-ssm's scan takes, and like it has no gradient of the last state."""
# ruff: noqa: N803, N806

from __future__ import annotations

import torch
from old_style import apply
from torch import Tensor

from statespan.models.ops.reference import reference_selective_scan

CALLS: list[str] = []


def selective_scan_fn(
    u,
    delta,
    A,
    B,
    C,
    D=None,
    z=None,
    delta_bias=None,
    delta_softplus=False,
    return_last_state=False,
):
    batch, dim, length = u.shape
    state = A.shape[1]
    assert state <= 256
    assert u.dtype in (torch.float32, torch.float16, torch.bfloat16)
    assert all(t.dtype == u.dtype for t in (delta, B, C, *([] if z is None else [z])))
    assert all(t.dtype == torch.float32 for t in (A, D, delta_bias) if t is not None)
    assert delta.shape == u.shape
    assert A.shape == (dim, state)
    assert B.shape == C.shape
    assert B.shape in ((batch, state, length), (batch, B.shape[1], state, length))
    CALLS.append("selective_scan")

    def run(*tensors: Tensor | None) -> tuple[Tensor, ...]:
        u, delta, A, B, C, D, z, delta_bias = tensors
        groups = 1 if B.ndim == 3 else B.shape[1]
        parts = []
        for group, channels in enumerate(torch.arange(dim).chunk(groups)):
            write, read = (t if t.ndim == 3 else t[:, group] for t in (B, C))
            parts.append(
                reference_selective_scan(
                    u[:, channels].mT,
                    delta[:, channels].mT,
                    A.double()[channels],
                    write.mT,
                    read.mT,
                    skip=None if D is None else D[channels],
                    gate=None if z is None else z[:, channels].mT,
                    delta_bias=None if delta_bias is None else delta_bias[channels],
                    softplus=delta_softplus,
                )
            )
        outputs = torch.cat([part[0] for part in parts], dim=2)
        last = torch.cat([part[1] for part in parts], dim=1)
        return outputs.mT.to(u.dtype), last.float()

    results = apply(run, u, delta, A, B, C, D, z, delta_bias, num_differentiable=1)
    return results if return_last_state else results[0]
