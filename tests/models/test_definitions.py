"""Layers beside their papers' equations, token by token, without stabilizers, frames or chunks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize, sigmoid, silu, softplus

from statespan.models import ModelConfig, SequenceModel
from statespan.models.deltaproduct import DeltaProductConfig, DeltaProductMixer
from statespan.models.hgrn2 import HGRN2Config, HGRN2Mixer
from statespan.models.longhorn import LonghornConfig, LonghornMixer
from statespan.models.mamba import MixerModel
from statespan.models.mamba3 import Mamba3Config, Mamba3Mixer
from statespan.models.mlstm import MLSTMConfig, MLSTMMixer
from statespan.models.retnet import RetNetConfig, RetNetMixer
from statespan.models.rwkv6 import RWKV6Config, RWKV6Mixer
from statespan.models.s4d import S4DConfig, S4DMixer
from statespan.models.slstm import SLSTMConfig, SLSTMMixer
from tests.models.small_models import make

LENGTH = 21


def heads(tensor: Tensor, count: int) -> list[Tensor]:
    """Return the parts of the last axis, one a head."""
    return list(tensor.chunk(count, dim=-1))


def convolved(mixer: object, inputs: Tensor) -> Tensor:
    """Return silu of the causal convolution of inputs [length, channel]."""
    weight, bias = mixer.conv1d.weight[:, 0], mixer.conv1d.bias
    width = weight.shape[1]
    padded = torch.cat((inputs.new_zeros(width - 1, inputs.shape[1]), inputs))
    steps = [(padded[t : t + width] * weight.T).sum(0) + bias for t in range(len(inputs))]
    return silu(torch.stack(steps))


def projected(mixer: object, hidden: Tensor, writes: int = 1) -> list[list[Tensor]]:
    """Return query, key, value [length, writes · width] and the gate of linear attention."""
    width = hidden.shape[1]
    inputs, gate = mixer.in_proj(hidden).split([(1 + 2 * writes) * width, width], dim=-1)
    if mixer.conv1d is not None:
        inputs = convolved(mixer, inputs)
    return [*inputs.split([width, writes * width, writes * width], dim=-1), gate]


def finished(mixer: object, outputs: Tensor, gate: Tensor) -> Tensor:
    """Return what follows on the outputs [length, head, dim]: norm, gate, projection."""
    return mixer.out_proj(mixer.norm(outputs).flatten(1) * silu(gate))


def retnet(mixer: RetNetMixer, hidden: Tensor) -> Tensor:
    query, key, value, gate = projected(mixer, hidden)
    outputs = []
    for head, parts in enumerate(zip(*(heads(p, 2) for p in (query, key, value)), strict=True)):
        state, seen = 0, []
        for q, k, v in zip(*parts, strict=True):
            state = (1 - 2.0 ** (-5 - head)) * state + torch.outer(k, v)
            seen.append(q @ state / len(q) ** 0.5)
        outputs.append(torch.stack(seen))
    return finished(mixer, torch.stack(outputs, dim=1), gate)


def hgrn2(mixer: HGRN2Mixer, hidden: Tensor) -> Tensor:
    query, key, value, gate = projected(mixer, hidden)
    outputs = []
    for head, parts in enumerate(zip(*(heads(p, 2) for p in (query, key, value)), strict=True)):
        state, seen = 0, []
        for q, k, v in zip(*parts, strict=True):
            forget = sigmoid(k + mixer.gate_bias[head])
            state = forget[:, None] * state + torch.outer(1 - forget, v)
            seen.append(silu(q) @ state)
        outputs.append(torch.stack(seen))
    return finished(mixer, torch.stack(outputs, dim=1), gate)


def mlstm(mixer: MLSTMMixer, hidden: Tensor) -> Tensor:
    query, key, value, gate = projected(mixer, hidden)
    entries, forgets = mixer.gates(hidden).chunk(2, dim=-1)
    outputs = []
    for head, parts in enumerate(zip(*(heads(p, 2) for p in (query, key, value)), strict=True)):
        memory, normalizer, seen = 0, 0, []
        for t, (q, k, v) in enumerate(zip(*parts, strict=True)):
            entry, keep = entries[t, head].exp(), sigmoid(forgets[t, head])
            k = k / len(k) ** 0.5
            memory = keep * memory + entry * torch.outer(k, v)
            normalizer = keep * normalizer + entry * k
            seen.append(q @ memory / max((q @ normalizer).abs(), torch.ones(())))
        outputs.append(torch.stack(seen))
    return finished(mixer, torch.stack(outputs, dim=1), gate)


def rwkv6(mixer: RWKV6Mixer, hidden: Tensor) -> Tensor:
    before = torch.cat((torch.zeros_like(hidden[:1]), hidden[:-1]))
    mixed = [hidden * (1 - share) + before * share for share in mixer.shift]
    read, key, value = mixer.r_proj(mixed[0]), mixer.k_proj(mixed[1]), mixer.v_proj(mixed[2])
    decay = torch.exp(-torch.exp(mixer.decay_out(torch.tanh(mixer.decay_in(mixed[4])))))
    outputs = []
    for head, parts in enumerate(
        zip(*(heads(p, 2) for p in (read, key, value, decay)), strict=True)
    ):
        state, seen = torch.zeros(8, 8, dtype=hidden.dtype), []
        for r, k, v, w in zip(*parts, strict=True):
            written = torch.outer(k, v)
            seen.append(r @ (state + mixer.bonus[head][:, None] * written))
            state = w[:, None] * state + written
        outputs.append(torch.stack(seen))
    outputs = mixer.norm(torch.stack(outputs, dim=1)).flatten(1)
    return mixer.out_proj(outputs * silu(mixer.g_proj(mixed[3])))


def deltaproduct(mixer: DeltaProductMixer, hidden: Tensor) -> Tensor:
    query, key, value, gate = projected(mixer, hidden, writes=3)
    rates, fades = 2 * sigmoid(mixer.rate_proj(hidden)), mixer.fading(hidden[None])[0].exp()
    outputs = []
    for head in range(2):
        state, seen = torch.zeros(8, 8, dtype=hidden.dtype), []
        for t in range(len(hidden)):
            state = fades[t, head] * state
            for factor in range(3):
                place = 2 * factor + head
                k = normalize(heads(key[t], 6)[place], dim=-1)
                state = state - rates[t, place] * torch.outer(k, k @ state)
                state = state + rates[t, place] * torch.outer(k, heads(value[t], 6)[place])
            seen.append(normalize(heads(query[t], 2)[head], dim=-1) @ state)
        outputs.append(torch.stack(seen))
    return finished(mixer, torch.stack(outputs, dim=1), gate)


def mamba3(mixer: Mamba3Mixer, hidden: Tensor) -> Tensor:
    """Pairs as complex numbers, the state in axes at rest throughout."""
    gate, inputs, write, read, angle, step, rate, share = mixer.in_proj(hidden).split(
        mixer.sizes, dim=-1
    )
    delta = softplus(step + mixer.dt_bias)
    decay = torch.exp(-delta * softplus(rate + mixer.A_bias))
    share, outputs = sigmoid(share), []
    for head, x in enumerate(inputs.split(mixer.head_dim, dim=-1)):
        b, c = (
            torch.complex(*(norm(part) + bias[head]).chunk(2, dim=-1))
            for norm, part, bias in (
                (mixer.write_norm, write, mixer.write_bias),
                (mixer.read_norm, read, mixer.read_bias),
            )
        )
        state, drive, seen = 0, 0, []
        for t in range(len(hidden)):
            turn = torch.polar(decay[t, head].expand_as(angle[t]), delta[t, head] * angle[t])
            left = (1 - share[t, head]) * delta[t, head] * drive
            drive = torch.outer(b[t], x[t].to(b.dtype))
            state = turn[:, None] * (state + left) + share[t, head] * delta[t, head] * drive
            seen.append((c[t].conj() @ state).real + mixer.D[head] * x[t])
        outputs.append(torch.stack(seen))
    return mixer.out_proj(mixer.norm(torch.cat(outputs, dim=-1)) * silu(gate))


def longhorn(mixer: LonghornMixer, hidden: Tensor) -> Tensor:
    inputs, gate = mixer.in_proj(hidden).chunk(2, dim=-1)
    inputs = convolved(mixer, inputs)
    keys, reads = mixer.x_proj(inputs).chunk(2, dim=-1)
    state, outputs = torch.zeros(32, 4, dtype=hidden.dtype), []
    for x, k, q, beta in zip(inputs, keys, reads, sigmoid(mixer.rate_proj(inputs)), strict=True):
        size = beta / (1 + beta * (k @ k))
        state = (1 - torch.outer(size, k**2)) * state + torch.outer(size * x, k)
        outputs.append(state @ q + mixer.D * x)
    return mixer.out_proj(torch.stack(outputs) * silu(gate))


def s4d(mixer: S4DMixer, hidden: Tensor) -> Tensor:
    """As the convolution with its kernel, K_t = 2 Re(Σ_n C_n exp(ΔA_n)^t (exp(ΔA_n) - 1) / A_n)."""
    rate = torch.complex(-mixer.A_log.exp(), mixer.A_imag)
    decay = torch.exp(mixer.log_dt.exp()[:, None] * rate)
    weight = torch.complex(mixer.C[0], mixer.C[1]) * (decay - 1) / rate
    kernel = torch.stack([2 * (weight * decay**t).real.sum(-1) for t in range(len(hidden))])
    outputs = torch.stack(
        [(kernel[: t + 1].flip(0) * hidden[: t + 1]).sum(0) for t in range(len(hidden))]
    )
    outputs = torch.nn.functional.gelu(outputs + mixer.D * hidden)
    return torch.nn.functional.glu(mixer.out_proj(outputs))


def slstm(mixer: SLSTMMixer, hidden: Tensor) -> Tensor:
    outputs = []
    for head, given in enumerate(heads(mixer.in_proj(hidden), 2)):
        output = cell = normalizer = torch.zeros(8, dtype=hidden.dtype)
        seen = []
        for x in given:
            z, i, f, o = (x + output @ mixer.recurrence[head]).chunk(4)
            cell = sigmoid(f) * cell + i.exp() * z.tanh()
            normalizer = sigmoid(f) * normalizer + i.exp()
            output = sigmoid(o) * cell / normalizer
            seen.append(output)
        outputs.append(torch.stack(seen))
    return mixer.out_proj(mixer.norm(torch.stack(outputs, dim=1)).flatten(1))


SIZES = {"d_model": 16, "layers": 1}
TWO_HEADS = {**SIZES, "heads": 2}
DEFINITIONS: list[tuple[ModelConfig, Callable[..., Tensor]]] = [
    (RetNetConfig(**TWO_HEADS), retnet),
    (HGRN2Config(**TWO_HEADS), hgrn2),
    (MLSTMConfig(**TWO_HEADS), mlstm),
    (RWKV6Config(**TWO_HEADS), rwkv6),
    (DeltaProductConfig(**TWO_HEADS, factors=3), deltaproduct),
    (Mamba3Config(**SIZES, d_state=4, head_dim=16), mamba3),
    (LonghornConfig(**SIZES, d_state=4), longhorn),
    (S4DConfig(**SIZES, d_state=6), s4d),
    (SLSTMConfig(**TWO_HEADS), slstm),
]


@pytest.mark.parametrize(
    ("config", "definition"), DEFINITIONS, ids=[str(c) for c, _ in DEFINITIONS]
)
@torch.no_grad()
def test_a_layer_is_its_definition(config: ModelConfig, definition: Callable[..., Tensor]) -> None:
    model: SequenceModel = make(config).double()
    assert isinstance(model, MixerModel)
    mixer = model.backbone.blocks[0].mixer
    for parameter in mixer.parameters():
        if parameter.ndim == 1:
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    generator = torch.Generator().manual_seed(4)
    hidden = torch.randn(LENGTH, 16, dtype=torch.float64, generator=generator)
    ours, _ = mixer(hidden[None])
    torch.testing.assert_close(ours[0], definition(mixer, hidden), rtol=1e-9, atol=1e-9)
    single, _ = mixer.float()(hidden[None].float())
    torch.testing.assert_close(single.double(), ours, rtol=2e-4, atol=2e-4)
