"""Mamba's mixer, and those of Falcon Mamba and Jamba, which normalize what steers the scan."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from statespan.models.ops import has_step_kernel, mamba_mixer, mamba_step, selective_scan
from statespan.pretrained.continuation import Continuation
from statespan.pretrained.mixers.bare import is_bare
from statespan.pretrained.mixers.registry import accelerates

__all__ = ["mamba", "normalized_mamba"]


@accelerates("mamba", "MambaMixer")
def mamba(mixer: Any, hidden_states: Tensor, call: Continuation) -> Tensor:
    """Return the output of a Mamba block (Gu and Dao 2023, section 3.4)."""
    fused = _whole(mixer, hidden_states, call)
    if fused is None:
        fused = _step(mixer, hidden_states, call)
    if fused is not None:
        return fused
    inputs, gate = mixer.in_proj(hidden_states).chunk(2, dim=-1)
    inputs = call.convolve(mixer, inputs)
    return _scan(mixer, inputs, gate, _steering(mixer, inputs), call)


def _whole(mixer: Any, hidden_states: Tensor, call: Continuation) -> Tensor | None:
    """Return the output by one operation for the layer, None where it is not the paper's own.

    Its first and last projection have no bias, and nothing is to be left in a cache.
    """
    if call.cache is not None or not _is_plain(mixer) or hidden_states.dtype is not torch.float32:
        return None
    if any(part is not None for part in (mixer.in_proj.bias, mixer.out_proj.bias)):
        return None
    outputs, _, _ = mamba_mixer(
        hidden_states,
        mixer.in_proj.weight,
        mixer.conv1d.weight.squeeze(1),
        mixer.conv1d.bias,
        mixer.x_proj.weight,
        mixer.dt_proj.weight,
        mixer.dt_proj.bias,
        mixer.A_log,
        mixer.D,
        mixer.out_proj.weight,
        documents=call.documents,
    )
    return outputs


def _step(mixer: Any, hidden_states: Tensor, call: Continuation) -> Tensor | None:
    """Return the output at one token where one kernel does it all, None elsewhere."""
    if hidden_states.shape[1] != 1 or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return None
    window, state = call.step_window(mixer.conv_kernel_size), call.state()
    if window is None or state is None or not _is_plain(mixer):
        return None
    arguments = (
        hidden_states[:, 0],
        mixer.in_proj.weight,
        mixer.in_proj.bias,
        mixer.conv1d.weight.squeeze(1),
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
    if not has_step_kernel(*arguments, rows=len(hidden_states)):
        return None
    return mamba_step(*arguments)[:, None]


def _is_plain(mixer: Any) -> bool:
    """Return whether a mixer is the paper's: of bare modules, with silu, and biases where it has.

    An adapter or a hook would be passed over if the weights were read.
    """
    parts = (mixer.in_proj, mixer.x_proj, mixer.dt_proj, mixer.out_proj, mixer.conv1d)
    return (
        all(_is_torchs(part) for part in parts)
        and mixer.activation in {"silu", "swish"}
        and mixer.x_proj.bias is None
        and mixer.dt_proj.bias is not None
        and mixer.conv1d.bias is not None
        and all(parameter.dtype is torch.float32 for parameter in mixer.parameters())
    )


def _is_torchs(module: nn.Module) -> bool:
    """Return whether a module is torch's own, so that its weight says what it does."""
    return type(module) in {nn.Linear, nn.Conv1d} and is_bare(module)


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
