"""The layers of an OLMo Hybrid model: heads of the gated delta rule, and detectors in the MLP.

A head holds a vector s. At a key k of length one it becomes s - b (k·s) k + b v k, so b = 2
reflects it, and b = 1 writes v in its place; at a key of zero it stays. The number that a head
adds to the stream is the sign of its product with the query, or zero.

Two channels or one of the stream hold a number beside whose square all others vanish in float32.
The norm of the stream is therefore the same at every token, bit by bit, and a power of two: norms
are exact multiplications, whatever the other channels hold. Everything else is small integers times
powers of two, and sigmoid, silu, softplus and exp are used where they are exact (SATURATION).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import isqrt
from typing import Any, Final, final

import torch
from torch import Tensor

from statespan.compiler.residual import AMPLITUDE, Form
from statespan.languages import Alphabet
from statespan.training import Vocabulary

__all__ = [
    "CONSTANT",
    "Detector",
    "Head",
    "Layer",
    "Shape",
    "constant",
    "layer_tensors",
    "model_config",
    "outer_tensors",
    "stream_width",
]

CONSTANT: Final = 0
"""The channel that is 1 after every norm."""

SATURATION = 128
"""silu(±128 k) is 128 k or 0, 2 sigmoid(±128) is 2 or 0, exp(-128) is 0, for whole k above 0."""

DOMINANT = 2**30
"""What the constant channel holds; its square hides 2^36 in float32."""

ATTENTION_HEAD_DIM = 8


@final
@dataclass(frozen=True)
class Head:
    """A head of a layer, in forms of the stream after the norm.

    Where `keys` are all zero nothing happens. With `late`, keys and value are those of the token
    before. `rate` is -1 where b is 0, 0 where it is 1, and 1 where it is 2; `forget` is 1 where
    the head is emptied first, and else 0. `outputs` are added, in units, times the sign times
    `gate`.
    """

    keys: Sequence[Form]
    value: Form
    gate: Form
    outputs: Mapping[int, int]
    rate: Form = field(default_factory=lambda: constant(0))
    forget: Form = field(default_factory=lambda: constant(0))
    queries: Sequence[Form] = field(default_factory=lambda: (constant(1),))
    late: bool = False


@final
@dataclass(frozen=True)
class Detector:
    """A conjunction of indicators, and what it adds to the stream where it holds, in units."""

    condition: Sequence[Form]
    outputs: Mapping[int, int]


@final
@dataclass(frozen=True)
class Layer:
    """The heads of a layer, and the detectors of its MLP, which see what the heads wrote."""

    heads: Sequence[Head] = ()
    detectors: Sequence[Detector] = ()


@final
@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a model, the same in every layer."""

    width: int
    num_heads: int
    head_dim: int
    num_detectors: int

    @classmethod
    def of(cls, layers: Sequence[Layer], *, channels: int) -> Shape:
        """Return the least sizes that hold `layers` in a stream of so many channels."""
        heads = [head for layer in layers for head in layer.heads]
        return cls(
            width=stream_width(channels),
            num_heads=max(1, *(len(layer.heads) for layer in layers)),
            head_dim=max((len(head.keys) for head in heads), default=1),
            num_detectors=max(1, *(len(layer.detectors) for layer in layers)),
        )

    @property
    def dominant_channels(self) -> list[int]:
        """The channels that hold DOMINANT: the width is a power of 4 times their number."""
        return [CONSTANT] if _is_square(self.width) else [CONSTANT, self.width - 1]

    @property
    def norm(self) -> int:
        """What DOMINANT is after a norm without weights."""
        return isqrt(self.width // len(self.dominant_channels))


def constant(value: int) -> Form:
    """Return the form that has the same value everywhere."""
    return Form({}, Fraction(value))


def stream_width(channels: int) -> int:
    """Return the least power of two that holds so many channels and the dominant ones."""
    width = 4
    while channels + (1 if _is_square(width) else 2) > width:
        width *= 2
    return width


def _is_square(number: int) -> bool:
    return isqrt(number) ** 2 == number


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64)


def _norm(shape: Shape) -> Tensor:
    """Return the weights of a norm that makes units of the stream's amplitudes."""
    weights = torch.full((shape.width,), DOMINANT / shape.norm / AMPLITUDE, dtype=torch.float64)
    weights[shape.dominant_channels] = 1 / shape.norm
    return weights


def _row(form: Form, width: int, scale: int = SATURATION) -> Tensor:
    """Return the weights of a form."""
    row = _zeros(width)
    for channel, value in form.coefficients.items():
        row[channel] = float(scale * value)
    row[CONSTANT] += float(scale * form.constant)
    return row


def layer_tensors(layer: Layer, shape: Shape) -> dict[str, Tensor]:
    """Return the tensors of a linear-attention layer, with their names in it."""
    mixer = {f"linear_attn.{name}": value for name, value in _mixer(layer.heads, shape).items()}
    return {
        "input_layernorm.weight": _norm(shape),
        "post_attention_layernorm.weight": _norm(shape),
        **mixer,
        **_mlp(layer.detectors, shape),
    }


def _mixer(heads: Sequence[Head], shape: Shape) -> dict[str, Tensor]:
    count, size, width = shape.num_heads, shape.head_dim, shape.width
    query, key = _zeros(count, size, width), _zeros(count, size, width)
    value, decay, rate, gate = (_zeros(count, width) for _ in range(4))
    taps = _zeros(2 * size + 1, count, 2)
    taps[..., 1] = 1
    out = _zeros(width, count)
    for number, head in enumerate(heads):
        for i, (query_form, key_form) in enumerate(zip(head.queries, head.keys, strict=True)):
            query[number, i] = _row(query_form, width)
            key[number, i] = _row(key_form, width)
        value[number] = _row(head.value, width)
        rate[number] = _row(head.rate, width)
        decay[number] = _row(head.forget, width, 2 * SATURATION)
        gate[number] = _row(head.gate, width)
        if head.late:
            taps[size:, number] = torch.tensor([1.0, 0.0], dtype=torch.float64)
        for channel, units in head.outputs.items():
            out[channel, number] = AMPLITUDE * units / SATURATION
    # The convolution's channels go through all heads of the queries, of the keys, of the values.
    parts = (taps[:size], taps[size : 2 * size], taps[2 * size :])
    convolution = torch.cat([part.transpose(0, 1).reshape(-1, 1, 2) for part in parts])
    return {
        "q_proj.weight": query.reshape(-1, width),
        "k_proj.weight": key.reshape(-1, width),
        "v_proj.weight": value,
        "a_proj.weight": decay,
        "b_proj.weight": rate,
        "g_proj.weight": gate,
        "o_proj.weight": out,
        "conv1d.weight": convolution,
        "A_log": _zeros(count),
        "dt_bias": torch.full((count,), -float(SATURATION), dtype=torch.float64),
        "o_norm.weight": torch.ones(1, dtype=torch.float64),
    }


def _mlp(detectors: Sequence[Detector], shape: Shape) -> dict[str, Tensor]:
    gate, up = (_zeros(shape.num_detectors, shape.width) for _ in range(2))
    down = _zeros(shape.width, shape.num_detectors)
    for number, detector in enumerate(detectors):
        total = Form.total([*detector.condition, constant(1 - len(detector.condition))])
        gate[number] = _row(total, shape.width)
        up[number, CONSTANT] = 1
        for channel, units in detector.outputs.items():
            down[channel, number] = AMPLITUDE * units / SATURATION
    return {
        "mlp.gate_proj.weight": gate,
        "mlp.up_proj.weight": up,
        "mlp.down_proj.weight": down,
    }


def _attention(shape: Shape) -> dict[str, Tensor]:
    """Return the tensors of a full-attention layer that adds nothing."""
    width, inner = shape.width, ATTENTION_HEAD_DIM
    ones = {
        **dict.fromkeys(("self_attn.q_norm", "self_attn.k_norm"), inner),
        **dict.fromkeys(("post_attention_layernorm", "post_feedforward_layernorm"), width),
    }
    tensors = {f"self_attn.{name}_proj.weight": _zeros(inner, width) for name in "qkv"}
    tensors["self_attn.o_proj.weight"] = _zeros(width, inner)
    tensors |= {
        f"{name}.weight": torch.ones(size, dtype=torch.float64) for name, size in ones.items()
    }
    return tensors | _mlp((), shape)


def outer_tensors(
    layers: Sequence[Layer], shape: Shape, *, units: Tensor, head: Tensor
) -> dict[str, Tensor]:
    """Return the state dict of a model.

    `units` is what each token is embedded as, without the constant, and `head` the weights of the
    logits on the stream after the norm: both [vocabulary, channels].
    """
    embeddings = _zeros(len(units), shape.width)
    embeddings[:, : units.shape[1]] = units * AMPLITUDE
    embeddings[:, shape.dominant_channels] = DOMINANT
    logits = _zeros(len(head), shape.width)
    logits[:, : head.shape[1]] = head
    parts = [layer_tensors(layer, shape) for layer in layers] + [_attention(shape)]
    return {
        "model.embed_tokens.weight": embeddings,
        "model.norm.weight": _norm(shape),
        "lm_head.weight": logits,
        **{
            f"model.layers.{number}.{name}": value
            for number, part in enumerate(parts)
            for name, value in part.items()
        },
    }


def model_config(alphabet: Alphabet, shape: Shape, num_layers: int) -> dict[str, Any]:
    """Return the config of so many linear-attention layers and one of full attention.

    `transformers` insists on the latter.
    """
    return {
        "model_type": "olmo_hybrid",
        "architectures": ["OlmoHybridForCausalLM"],
        "vocab_size": Vocabulary(alphabet).size,
        "hidden_size": shape.width,
        "intermediate_size": shape.num_detectors,
        "num_hidden_layers": num_layers + 1,
        "layer_types": [*["linear_attention"] * num_layers, "full_attention"],
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": ATTENTION_HEAD_DIM,
        "linear_num_key_heads": shape.num_heads,
        "linear_num_value_heads": shape.num_heads,
        "linear_key_head_dim": shape.head_dim,
        "linear_value_head_dim": 1,
        "linear_conv_kernel_dim": 2,
        "linear_allow_neg_eigval": True,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
    }
