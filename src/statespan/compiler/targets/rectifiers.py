"""Diagonal models written by hand: channels, and rectifiers that drive and read them.

A layer of the model has two networks of one hidden layer. A rectifier of the first sees the
residual stream, and moves gates and increments of the layer's channels; one of the second sees the
stream and the channels after their update, and adds to the stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias, final

import torch
from torch import Tensor

from statespan.compiler.weights import Group, GroupKind, Plan, Weights
from statespan.languages import Alphabet
from statespan.models.diagonal import Diagonal, DiagonalConfig
from statespan.training import Vocabulary

__all__ = ["Affine", "Layer", "Network", "Source", "channel", "stream", "total"]

LOGIT = 64
"""The logit of what may follow; of what may not, it is the negative."""


class Source(NamedTuple):
    """A number that a rectifier can see."""

    kind: Literal["stream", "channel"]
    position: int


@final
@dataclass(frozen=True)
class Affine:
    """A weighted sum of sources, plus a constant."""

    coefficients: tuple[tuple[Source, float], ...] = ()
    constant: float = 0.0

    def __add__(self, other: Affine | float) -> Affine:
        return total([self, other])

    def __sub__(self, other: Affine | float) -> Affine:
        return total([self, -1.0 * other])

    def __mul__(self, factor: float) -> Affine:
        scaled = tuple((source, factor * value) for source, value in self.coefficients)
        return Affine(scaled, factor * self.constant)

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: float) -> Affine:
        return total([other, -1.0 * self])


def total(forms: Sequence[Affine | float]) -> Affine:
    """Return the sum of `forms`."""
    coefficients: dict[Source, float] = {}
    constant = 0.0
    for form in forms:
        if not isinstance(form, Affine):
            constant += form
            continue
        constant += form.constant
        for source, value in form.coefficients:
            coefficients[source] = coefficients.get(source, 0.0) + value
    return Affine(tuple(sorted((s, v) for s, v in coefficients.items() if v)), constant)


def stream(index: int) -> Affine:
    """Return what the residual stream has at `index`."""
    return Affine(((Source("stream", index), 1.0),))


def channel(index: int) -> Affine:
    """Return the channel `index` of the layer, after its update."""
    return Affine(((Source("channel", index), 1.0),))


Effects: TypeAlias = dict[int, float]


@final
class Layer:
    """One layer in the making: `gates` and `initial` are those of its channels."""

    def __init__(self) -> None:
        self.gates: list[float] = []
        self.initial: list[float] = []
        self.drives: dict[Affine, tuple[Effects, Effects]] = {}
        self.responses: dict[Affine, Effects] = {}

    def add_channel(self, *, gate: float = 1.0, initial: float = 0.0) -> int:
        """Add a channel whose gate is `gate` where no rectifier moves it; return its index."""
        self.gates.append(gate)
        self.initial.append(initial)
        return len(self.gates) - 1

    def drive(
        self, form: Affine, *, gates: Mapping[int, float], increments: Mapping[int, float]
    ) -> None:
        """Let the rectifier of `form` move gates and increments by these multiples of it."""
        gate_effects, increment_effects = self.drives.setdefault(form, ({}, {}))
        _accumulate(gate_effects, gates)
        _accumulate(increment_effects, increments)

    def respond(self, form: Affine, outputs: Mapping[int, float]) -> None:
        """Let the rectifier of `form` add these multiples of it to the stream."""
        _accumulate(self.responses.setdefault(form, {}), outputs)

    def fill(self, prefix: str, tensors: dict[str, Tensor]) -> None:
        """Write the layer into the zeros of `tensors`."""
        num_channels = tensors[f"{prefix}initial_state"].shape[0]
        used = slice(len(self.gates))
        tensors[f"{prefix}initial_state"][used] = torch.tensor(self.initial).double()
        tensors[f"{prefix}update_out.bias"][used] = torch.tensor(self.gates).double()
        for unit, (form, (gates, increments)) in enumerate(self.drives.items()):
            weight, bias = (tensors[f"{prefix}update_in.{name}"] for name in ("weight", "bias"))
            _write_form(form, weight[unit], bias[unit : unit + 1], offset=0)
            column = tensors[f"{prefix}update_out.weight"][:, unit]
            _write_effects(column, gates)
            _write_effects(column[num_channels:], increments)
        for unit, (form, outputs) in enumerate(self.responses.items()):
            weight, bias = (tensors[f"{prefix}output_in.{name}"] for name in ("weight", "bias"))
            _write_form(form, weight[unit], bias[unit : unit + 1], offset=num_channels)
            _write_effects(tensors[f"{prefix}output_out.weight"][:, unit], outputs)


def _accumulate(effects: Effects, more: Mapping[int, float]) -> None:
    for target, value in more.items():
        effects[target] = effects.get(target, 0.0) + value


def _write_form(form: Affine, row: Tensor, bias: Tensor, *, offset: int) -> None:
    bias[0] = form.constant
    for source, value in form.coefficients:
        row[source.position + (offset if source.kind == "stream" else 0)] = value


def _write_effects(column: Tensor, effects: Effects) -> None:
    for target, value in effects.items():
        column[target] = value


@final
@dataclass
class Network:
    """A whole model in the making.

    `embeddings[token]` says what a token puts into the stream. `answers[token]` is 1 where the
    token may follow and 0, or less, where not; a token without an answer never may.
    """

    alphabet: Alphabet
    num_layers: int
    embeddings: dict[int, Effects] = field(default_factory=dict)
    answers: dict[int, Affine] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    width: int = 0

    def __post_init__(self) -> None:
        self.layers = [Layer() for _ in range(max(1, self.num_layers))]

    def tokens(self) -> dict[str, int]:
        """Return the token of each symbol."""
        return dict(zip(self.alphabet, Vocabulary(self.alphabet).answer_ids, strict=False))

    def add_group(
        self,
        name: str,
        kind: GroupKind,
        codes: Sequence[tuple[int, ...]],
        component: int | None = None,
    ) -> Group:
        """Add a group of channels to the stream, wide enough for `codes`."""
        channels = tuple(range(self.width, self.width + len(codes[0])))
        self.width += len(channels)
        group = Group(name, kind, channels, tuple(codes), component)
        self.groups.append(group)
        return group

    @property
    def config(self) -> DiagonalConfig:
        """The sizes so far."""
        hidden = (max(len(layer.drives), len(layer.responses)) for layer in self.layers)
        return DiagonalConfig(
            layers=len(self.layers),
            d_model=max(1, self.width),
            d_state=max(1, *(len(layer.gates) for layer in self.layers)),
            d_hidden=max(1, *hidden),
        )

    def build(self, plan: Plan, **facts: Any) -> Weights:
        """Return the weights; `facts` are other attributes of `Weights`."""
        tensors = _zeros(self.config, Vocabulary(self.alphabet).size)
        for token, effects in self.embeddings.items():
            _write_effects(tensors["embeddings.weight"][token], effects)
        for index, layer in enumerate(self.layers):
            layer.fill(f"layers.{index}.", tensors)
        weight, bias = tensors["lm_head.weight"], tensors["lm_head.bias"]
        bias.fill_(-LOGIT)
        for token, form in self.answers.items():
            logit = 2 * LOGIT * form - LOGIT
            _write_form(logit, weight[token], bias[token : token + 1], offset=0)
        sizes = self.config
        table = {"name": "diagonal", **{key: getattr(sizes, key) for key in _SIZES}}
        return Weights(table, tensors, self.alphabet, plan=plan, **facts)


_SIZES = ("layers", "d_model", "d_state", "d_hidden")


def _zeros(config: DiagonalConfig, vocab_size: int) -> dict[str, Tensor]:
    with torch.device("meta"):
        model = Diagonal(config, vocab_size=vocab_size, num_outputs=vocab_size)
    return {
        name: torch.zeros(value.shape, dtype=torch.float64)
        for name, value in model.state_dict().items()
    }
