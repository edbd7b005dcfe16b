"""Mamba's mixer, and those of Falcon Mamba and Jamba, which normalize what steers the scan."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from statespan.models.ops import has_step_kernel, mamba_mixer, mamba_step, selective_scan
from statespan.pretrained.continuation import Continuation
from statespan.pretrained.mixers.bare import is_torchs
from statespan.pretrained.mixers.projections import project
from statespan.pretrained.mixers.registry import accelerates

__all__ = ["mamba", "normalized_mamba"]


@accelerates("mamba", "MambaMixer")
def mamba(mixer: Any, hidden_states: Tensor, call: Continuation) -> Tensor:
    """Return the output of a Mamba block (Gu and Dao 2023, section 3.4)."""
    weights = _weights(mixer)
    fused = None
    if weights is not None:
        find = _whole if call.cache is None else _step
        fused = find(weights, hidden_states, call)
    if fused is not None:
        return fused
    inputs, gate = project(mixer.in_proj, hidden_states).chunk(2, dim=-1)
    inputs = call.convolve(mixer, inputs)
    return _scan(mixer, inputs, gate, _steering(mixer, inputs), call)


class _Weights(NamedTuple):
    """The parameters of the paper's mixer, in the order of `mamba_step`."""

    in_projection: Tensor
    in_bias: Tensor | None
    convolution: Tensor
    convolution_bias: Tensor
    x_projection: Tensor
    delta_projection: Tensor
    delta_bias: Tensor
    transition_log: Tensor
    skip: Tensor
    out_projection: Tensor
    out_bias: Tensor | None


def _weights(mixer: Any) -> _Weights | None:
    """Return a mixer's parameters if it is the paper's, of float32 and of bare modules with silu.

    An adapter or a hook would be passed over if the weights were read.
    """
    # Looked up where modules keep them: `nn.Module.__getattr__` takes as long as the step's kernel.
    modules, own = mixer._modules, mixer._parameters  # noqa: SLF001
    parts = [modules[name] for name in ("in_proj", "conv1d", "x_proj", "dt_proj", "out_proj")]
    if mixer.activation not in {"silu", "swish"} or not all(is_torchs(part) for part in parts):
        return None
    found = [part._parameters for part in parts]  # noqa: SLF001
    pairs = [(each.get("weight"), each.get("bias")) for each in found]
    (in_weight, in_bias), (taps, taps_bias), (selection, bias), (step, step_bias), out = pairs
    needed = (in_weight, taps, taps_bias, selection, step, step_bias, out[0])
    if bias is not None or any(weight is None for weight in needed):
        return None
    weights = _Weights(
        in_weight, in_bias, taps.squeeze(1), taps_bias, selection, step, step_bias,
        own["A_log"], own["D"], *out,
    )  # fmt: skip
    is_single = all(weight is None or weight.dtype is torch.float32 for weight in weights)
    return weights if is_single else None


def _whole(weights: _Weights, hidden_states: Tensor, call: Continuation) -> Tensor | None:
    """Return the output by one operation for the layer, None where it is not the paper's own.

    Its first and last projection have no bias, and nothing is to be left in a cache.
    """
    in_projection, in_bias, *rest, out_bias = weights
    if any(part is not None for part in (in_bias, out_bias)):
        return None
    if hidden_states.dtype is not torch.float32:
        return None
    return mamba_mixer(hidden_states, in_projection, *rest, documents=call.documents)[0]


def _step(weights: _Weights, hidden_states: Tensor, call: Continuation) -> Tensor | None:
    """Return the output at one token where one kernel does it all, None elsewhere."""
    if hidden_states.shape[1] != 1 or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return None
    window, state = call.step_window(weights.convolution.shape[1]), call.state()
    if window is None or state is None:
        return None
    arguments = (hidden_states[:, 0], *weights, window, state)
    if not has_step_kernel(*arguments, rows=len(hidden_states)):
        return None
    return mamba_step(*arguments)[:, None]


@accelerates("falcon_mamba", "FalconMambaMixer")
@accelerates("jamba", "JambaMambaMixer")
def normalized_mamba(mixer: Any, hidden_states: Tensor, call: Continuation) -> Tensor:
    """Return the output of a Mamba block that normalizes Δ's low-rank form, B and C."""
    inputs, gate = project(mixer.in_proj, hidden_states).chunk(2, dim=-1)
    inputs = call.convolve(mixer, inputs)
    step, write, read = _steering(mixer, inputs)
    steering = mixer.dt_layernorm(step), mixer.b_layernorm(write), mixer.c_layernorm(read)
    return _scan(mixer, inputs, gate, steering, call)


def _steering(mixer: Any, inputs: Tensor) -> tuple[Tensor, ...]:
    state = mixer.ssm_state_size
    return torch.split(project(mixer.x_proj, inputs), [mixer.time_step_rank, state, state], dim=-1)


def _scan(
    mixer: Any, inputs: Tensor, gate: Tensor, steering: tuple[Tensor, ...], call: Continuation
) -> Tensor:
    step, write, read = steering
    outputs, state = selective_scan(
        inputs,
        project(mixer.dt_proj, step),
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
    return project(mixer.out_proj, outputs)
