"""Mamba's mixer, and those of Falcon Mamba and Jamba, which normalize what steers the scan."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from statespan.models.ops import has_step_kernel, mamba_step, selective_scan
from statespan.pretrained.continuation import Continuation
from statespan.pretrained.mixers.registry import accelerates

__all__ = ["mamba", "normalized_mamba"]


@accelerates("mamba", "MambaMixer")
def mamba(mixer: Any, hidden_states: Tensor, call: Continuation) -> Tensor:
    """Return the output of a Mamba block (Gu and Dao 2023, section 3.4)."""
    outputs = _step(mixer, hidden_states, call)
    if outputs is not None:
        return outputs
    inputs, gate = mixer.in_proj(hidden_states).chunk(2, dim=-1)
    inputs = call.convolve(mixer, inputs)
    return _scan(mixer, inputs, gate, _steering(mixer, inputs), call)


def _step(mixer: Any, hidden_states: Tensor, call: Continuation) -> Tensor | None:
    """Return the output at one token where one kernel does it all, None elsewhere."""
    if hidden_states.shape[1] != 1 or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return None
    window, state = call.step_window(mixer.conv_kernel_size), call.state()
    projections = (mixer.in_proj, mixer.x_proj, mixer.dt_proj, mixer.out_proj, mixer.conv1d)
    if window is None or state is None or not all(_is_bare(part) for part in projections):
        return None
    # dt_proj has a bias, x_proj has none; any other mixer is not the one of the paper.
    if mixer.activation not in {"silu", "swish"} or mixer.x_proj.bias is not None:
        return None
    arguments = (
        hidden_states[:, 0],
        mixer.in_proj.weight,
        mixer.in_proj.bias,
        mixer.conv1d.weight[:, 0],
        mixer.conv1d.bias,
        mixer.x_proj.weight,
        mixer.dt_proj.weight,
        mixer.dt_proj.bias,
        mixer.A_log,
        mixer.D,
        mixer.out_proj.weight,
        mixer.out_proj.bias,
        window,
        state,
    )
    if mixer.dt_proj.bias is None or not has_step_kernel(*arguments, rows=len(hidden_states)):
        return None
    return mamba_step(*arguments)[:, None]


def _is_bare(module: nn.Module) -> bool:
    """Return whether a module is torch's own, so that its weight says what it does."""
    is_own = type(module) in {nn.Linear, nn.Conv1d}
    return is_own and not module._forward_hooks and not module._forward_pre_hooks  # noqa: SLF001


@accelerates("falcon_mamba", "FalconMambaMixer")
@accelerates("jamba", "JambaMambaMixer")
def normalized_mamba(mixer: Any, hidden_states: Tensor, call: Continuation) -> Tensor:
    """Return the output of a Mamba block that normalizes Δ's low-rank form, B and C."""
    inputs, gate = mixer.in_proj(hidden_states).chunk(2, dim=-1)
    inputs = call.convolve(mixer, inputs)
    step, write, read = _steering(mixer, inputs)
    steering = mixer.dt_layernorm(step), mixer.b_layernorm(write), mixer.c_layernorm(read)
    return _scan(mixer, inputs, gate, steering, call)


def _steering(mixer: Any, inputs: Tensor) -> tuple[Tensor, ...]:
    state = mixer.ssm_state_size
    return torch.split(mixer.x_proj(inputs), [mixer.time_step_rank, state, state], dim=-1)


def _scan(
    mixer: Any, inputs: Tensor, gate: Tensor, steering: tuple[Tensor, ...], call: Continuation
) -> Tensor:
    step, write, read = steering
    outputs, state = selective_scan(
        inputs,
        mixer.dt_proj(step),
        -torch.exp(mixer.A_log.float()),
        write,
        read,
        call.state(),
        skip=mixer.D,
        gate=gate,
        softplus=True,
        documents=call.documents,
    )
    call.leave_state(state)
    return mixer.out_proj(outputs)  # type: ignore[no-any-return]
