"""Mamba-2's mixer and those of the hybrids that took it over."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from statespan.models.ops import state_space_dual
from statespan.pretrained.continuation import Continuation
from statespan.pretrained.mixers.gated_norms import normalize_gated
from statespan.pretrained.mixers.projections import project
from statespan.pretrained.mixers.registry import accelerates

__all__ = ["falcon_h1", "mamba2"]


@accelerates("bamba", "BambaMixer")
@accelerates("granitemoehybrid", "GraniteMoeHybridMambaLayer")
@accelerates("mamba2", "Mamba2Mixer")
@accelerates("nemotron_h", "NemotronHMamba2Mixer")
@accelerates("zamba2", "Zamba2MambaMixer")
def mamba2(mixer: Any, hidden_states: Tensor, call: Continuation) -> Tensor:
    """Return the output of a Mamba-2 block (Dao and Gu 2024, section 7)."""
    gate, outputs = _scan(mixer, project(mixer.in_proj, hidden_states), call)
    return project(mixer.out_proj, normalize_gated(mixer.norm, outputs, gate))


@accelerates("falcon_h1", "FalconH1Mixer")
def falcon_h1(mixer: Any, hidden_states: Tensor, call: Continuation) -> Tensor:
    """Return the output of Falcon-H1's block: fixed multipliers, a norm only if asked for."""
    projected = project(mixer.in_proj, hidden_states * mixer.ssm_in_multiplier) * mixer.mup_vector
    gate, outputs = _scan(mixer, projected, call)
    outputs = mixer.norm(outputs, gate) if mixer.mamba_rms_norm else outputs * silu(gate)
    return project(mixer.out_proj, outputs)


def _scan(mixer: Any, projected: Tensor, call: Continuation) -> tuple[Tensor, Tensor]:
    """Return the gate and the scan's outputs, both [batch, length, channel]."""
    tokens, channels, heads = projected.shape[:2], mixer.intermediate_size, mixer.num_heads
    shared = mixer.n_groups * mixer.ssm_state_size
    gate, mixed, delta = torch.split(projected, [channels, mixer.conv_dim, heads], dim=-1)
    inputs, write, read = torch.split(call.convolve(mixer, mixed), [channels, shared, shared], -1)
    outputs, state = state_space_dual(
        inputs.view(*tokens, heads, -1),
        delta,
        -torch.exp(mixer.A_log.float()),
        write.view(*tokens, mixer.n_groups, -1),
        read.view(*tokens, mixer.n_groups, -1),
        call.state(),
        skip=mixer.D,
        delta_bias=mixer.dt_bias,
        softplus=True,
        delta_limits=_limits(mixer.time_step_limit),
        documents=call.documents,
    )
    call.leave_state(state)
    return gate, outputs.flatten(2)


def _limits(limits: tuple[float, float]) -> tuple[float, float] | None:
    """Return the range that Δ is clamped to; none if a softplus is always inside."""
    low, high = (float(limit) for limit in limits)
    return None if low <= 0 and high == math.inf else (low, high)
