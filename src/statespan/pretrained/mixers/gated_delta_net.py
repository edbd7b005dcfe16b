"""Gated DeltaNet's mixers: Qwen3-Next, Qwen3.5 and OLMo Hybrid."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from statespan.models.ops import gated_delta_rule
from statespan.pretrained.continuation import Continuation
from statespan.pretrained.mixers.projections import project
from statespan.pretrained.mixers.registry import accelerates

__all__ = ["olmo_hybrid", "qwen3_5", "qwen3_next"]


@accelerates("qwen3_next", "Qwen3NextGatedDeltaNet")
def qwen3_next(mixer: Any, hidden_states: Tensor, call: Continuation) -> Tensor:
    """Return the output of Qwen3-Next's block, which projects a key head at a time."""
    *mixed, gate, rate, decay = mixer.fix_query_key_value_ordering(
        project(mixer.in_proj_qkvz, hidden_states), project(mixer.in_proj_ba, hidden_states)
    )
    mixed = torch.cat([part.flatten(2) for part in mixed], dim=-1)
    outputs = _delta_rule(mixer, mixed, rate.sigmoid(), decay, call)
    return project(mixer.out_proj, _gated(mixer.norm, outputs, gate))


@accelerates("qwen3_5", "Qwen3_5GatedDeltaNet")
@accelerates("qwen3_5_moe", "Qwen3_5MoeGatedDeltaNet")
def qwen3_5(mixer: Any, hidden_states: Tensor, call: Continuation) -> Tensor:
    """Return the output of Qwen3.5's block."""
    rate = project(mixer.in_proj_b, hidden_states).sigmoid()
    outputs = _delta_rule(
        mixer,
        project(mixer.in_proj_qkv, hidden_states),
        rate,
        project(mixer.in_proj_a, hidden_states),
        call,
    )
    outputs = _gated(mixer.norm, outputs, project(mixer.in_proj_z, hidden_states))
    return project(mixer.out_proj, outputs)


@accelerates("olmo_hybrid", "OlmoHybridGatedDeltaNet")
def olmo_hybrid(mixer: Any, hidden_states: Tensor, call: Continuation) -> Tensor:
    """Return the output of OLMo Hybrid's block, whose eigenvalues may be negative."""
    projections = (mixer.q_proj, mixer.k_proj, mixer.v_proj)
    mixed = torch.cat([project(projection, hidden_states) for projection in projections], dim=-1)
    rate = project(mixer.b_proj, hidden_states).sigmoid()
    if mixer.allow_neg_eigval:
        rate = 2 * rate
    outputs = _delta_rule(mixer, mixed, rate, project(mixer.a_proj, hidden_states), call)
    outputs = _gated(mixer.o_norm, outputs, project(mixer.g_proj, hidden_states))
    return project(mixer.o_proj, outputs)


def _delta_rule(
    mixer: Any, mixed: Tensor, rate: Tensor, decay: Tensor, call: Continuation
) -> Tensor:
    """Return the outputs [batch, length, head, dim] for queries, keys and values in one tensor."""
    mixed = call.convolve(mixer, mixed)
    query, key, value = torch.split(mixed, [mixer.key_dim, mixer.key_dim, mixer.value_dim], dim=-1)
    heads = (*mixed.shape[:2], -1)
    repeats = mixer.num_v_heads // mixer.num_k_heads
    query, key = (
        _unit(part.view(*heads, mixer.head_k_dim).float()).repeat_interleave(repeats, dim=2)
        for part in (query, key)
    )
    log_decay = -torch.exp(mixer.A_log.float()) * softplus(decay.float() + mixer.dt_bias)
    outputs, state = gated_delta_rule(
        query * mixer.head_k_dim**-0.5,
        key,
        value.view(*heads, mixer.head_v_dim).float(),
        log_decay,
        rate.float(),
        call.state(),
        documents=call.documents,
    )
    call.leave_state(state)
    return outputs.to(mixed.dtype)


def _unit(vectors: Tensor) -> Tensor:
    return torch.mul(vectors, torch.rsqrt(vectors.square().sum(-1, keepdim=True) + 1e-6))


def _gated(norm: Any, outputs: Tensor, gate: Tensor) -> Tensor:
    """Return the outputs, normalized a head at a time and gated, as [batch, length, channel]."""
    batch, length, _, dim = outputs.shape
    normalized: Tensor = norm(outputs.reshape(-1, dim), gate.reshape(-1, dim))
    return normalized.reshape(batch, length, -1)
