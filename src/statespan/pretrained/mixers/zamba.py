"""Zamba's mixer: several Mamba heads, each with projections of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statespan.models.ops import selective_scan
from statespan.pretrained.continuation import Continuation
from statespan.pretrained.mixers.projections import project
from statespan.pretrained.mixers.registry import accelerates

__all__ = ["zamba"]


@accelerates("zamba", "ZambaMambaMixer")
def zamba(mixer: Any, hidden_states: Tensor, call: Continuation) -> Tensor:
    """Return the output of Zamba's block: a Mamba head is a group of channels in one scan."""
    projected = project(mixer.in_proj, hidden_states)
    # Every channel's input and gate lie side by side.
    inputs, gate = projected.view(*projected.shape[:2], -1, 2).unbind(-1)
    inputs = call.convolve(mixer, inputs.contiguous())
    delta, write, read = _steering(mixer, inputs)
    state = call.state()
    outputs, state = selective_scan(
        inputs,
        delta,
        -torch.exp(mixer.A_log.float()).flatten(0, 1),
        write,
        read,
        None if state is None else state.flatten(1, 2),
        skip=mixer.D.flatten(),
        gate=gate,
        delta_bias=mixer.dt_proj_bias.flatten(),
        softplus=True,
        documents=call.documents,
    )
    heads = (mixer.n_mamba_heads, mixer.mamba_head_dim)
    call.leave_state(state.view(len(state), *heads, -1))
    return project(mixer.out_proj, outputs)


def _steering(mixer: Any, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return Δ before its bias, [batch, length, channel], and B and C a head."""
    state = mixer.ssm_state_size
    heads = inputs.view(*inputs.shape[:2], mixer.n_mamba_heads, -1)
    steering = torch.einsum("blhd,hrd->blhr", heads, mixer.x_proj_weight)
    step, write, read = torch.split(steering, [mixer.time_step_rank, state, state], dim=-1)
    delta = torch.einsum("blhr,hdr->blhd", step, mixer.dt_proj_weight)
    return delta.flatten(2), write, read
