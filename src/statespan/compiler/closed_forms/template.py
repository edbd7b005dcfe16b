"""Mamba blocks written channel by channel, over a residual stream whose channels have names.

Beside its named channels, small integers, the stream has constant ones that dwarf them. So the
root mean square is the same power of two at every token, whatever is counted, and a norm whose
weight undoes it is the identity: exactly, as long as the squares of the named channels sum to
less than 2^55.

Where the recurrence must be exact, it saturates: silu(128 k) is 128 k or 0 for an integer k,
softplus(±128) is 128 or 0, exp(-128) is 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import log2, sqrt
from typing import Any, TypeAlias, final

import torch
from torch import Tensor

from statespan.compiler.weights import Block
from statespan.languages import Alphabet

__all__ = [
    "CONSTANT",
    "COUNT",
    "COUNT_STEP",
    "FIRST_SYMBOL",
    "GATE",
    "IDENTITY",
    "MARGIN",
    "NEVER_FORGET",
    "ONE",
    "OPEN",
    "REACT",
    "RESTART",
    "UNIT",
    "WIPE",
    "WRITE",
    "Channel",
    "Form",
    "Layer",
    "Program",
    "letter",
    "plus",
    "times",
]

Form: TypeAlias = Mapping[str, float]
"""A linear form of named channels: name → coefficient."""

CONSTANT = "constant"
"""The name of a channel of the stream that is 1 at every token."""

RESTART = "restart"
"""The name of the channel, in the stream or in a layer, that says that a word begins."""

ONE = "one"
"""The name of a layer's channel that is UNIT at every token."""

UNIT = 128.0
"""What a layer's channel holds for 1."""

GATE = 1 / UNIT
"""What undoes a gate of one UNIT."""

WRITE = 2.0**-21
"""What makes a channel of one UNIT, in B, write 1 with a step of one UNIT and an input of one."""

REACT = 2.0
"""What makes a channel of one UNIT, in a step, take it from 0 to one UNIT: everything is wiped."""

IDENTITY = 2.0**40
"""What the constant channels hold."""

MARGIN = 64.0
"""The logit of an allowed symbol; of a forbidden one, the negative."""

FIRST_SYMBOL = 3
"""The id of the first symbol; before it come the restart and two ids that are ignored."""

NEVER_FORGET = -28.0
"""The log rate at which a step of 64 keeps exactly everything, and WIPE nothing."""

COUNT = 2.0**-20
"""What makes a channel of one UNIT, in B, add 1 with a step of 64 and an input of one UNIT."""

COUNT_STEP = 1.5
"""What makes a channel of one UNIT, in a step, take it from 0 to 64."""

WIPE = 2.0**53
"""What makes a channel of one UNIT, in a step, take it to 2^60."""

OPEN: Form = {CONSTANT: UNIT}
"""A gate that is always open."""

LEAST_WIDTH = 8
KERNEL = 2


def letter(symbol: str) -> str:
    """Return the name of the channel of the stream that says that `symbol` was read."""
    return f"letter {symbol}"


def plus(*forms: Form) -> Form:
    """Return the sum of some forms."""
    names = dict.fromkeys(name for form in forms for name in form)
    return {name: sum(form.get(name, 0.0) for form in forms) for name in names}


def times(factor: float, form: Form) -> Form:
    """Return a multiple of a form."""
    return {name: factor * value for name, value in form.items()}


@final
@dataclass(frozen=True, slots=True)
class Channel:
    """One channel of a layer.

    Attributes:
        inputs: what it reads from the stream; `taps` weigh it one token earlier and now.
        outputs: what it adds to the stream, times what it holds and its `gate`.
        step: the name of the layer's step that drives it; None keeps its state 0 for ever.
        skip: how much of its input goes straight to its output.
        decay: log of the rate at which a step forgets.
    """

    name: str
    inputs: Form
    outputs: Form = field(default_factory=dict)
    gate: Form = field(default_factory=lambda: OPEN)
    step: str | None = None
    skip: float = 0.0
    decay: float = 0.0
    taps: tuple[float, float] = (0.0, 1.0)
    bias: float = 0.0


@final
@dataclass(frozen=True, slots=True)
class Layer:
    """One block: its channels, and its steps and its B as forms of them.

    A step is softplus(form - UNIT). C is 1, made from the channel ONE that every layer has.
    """

    channels: tuple[Channel, ...]
    steps: Mapping[str, Form]
    write: Form
    block: Block


@final
@dataclass(frozen=True)
class Program:
    """A stack of layers, what each token puts into the stream, and how answers are read.

    `tokens` and `answers` are forms of the stream by token id; an answer that is missing is
    always no.
    """

    alphabet: Alphabet
    stream: tuple[str, ...]
    tokens: Mapping[int, Form]
    layers: tuple[Layer, ...]
    answers: Mapping[int, Form]

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return FIRST_SYMBOL + len(self.alphabet)

    @property
    def width(self) -> int:
        """The width of the stream: a power of two, so that a mean over it is exact."""
        width = LEAST_WIDTH
        while len(self.stream) + _num_constants(width) > width:
            width *= 2
        return width

    @property
    def expand(self) -> int:
        """The number of a layer's channels over the width."""
        return -(-max(len(layer.channels) for layer in self.layers) // self.width)

    @property
    def rank(self) -> int:
        """The number of steps that a layer has."""
        return max(1, *(len(layer.steps) for layer in self.layers))

    def channels(self, names: Iterable[str]) -> tuple[int, ...]:
        """Return the numbers of channels of the stream."""
        numbers = self._numbers()
        return tuple(numbers[name] for name in names)

    def config(self) -> dict[str, Any]:
        """Return the content of `config.json`."""
        return {
            "model_type": "mamba",
            "architectures": ["MambaForCausalLM"],
            "vocab_size": self.vocab_size,
            "hidden_size": self.width,
            "state_size": 1,
            "num_hidden_layers": len(self.layers),
            "conv_kernel": KERNEL,
            "expand": self.expand,
            "time_step_rank": self.rank,
            "layer_norm_epsilon": 1e-5,
            "residual_in_fp32": True,
            "use_bias": False,
            "use_conv_bias": True,
            "use_cache": True,
            "tie_word_embeddings": False,
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return the state dict."""
        embeddings = self._rows([self.tokens.get(i, {}) for i in range(self.vocab_size)])
        constants = _num_constants(self.width)
        embeddings[:, :constants] = IDENTITY
        refused = {CONSTANT: -MARGIN}
        answers = [self.answers.get(i, refused) for i in range(self.vocab_size)]
        norm = torch.full((self.width,), IDENTITY * self._root, dtype=torch.float64)
        norm[:constants] = self._root
        tensors = {
            "backbone.embeddings.weight": embeddings,
            "backbone.norm_f.weight": norm,
            "lm_head.weight": self._rows(answers),
        }
        for number, layer in enumerate(self.layers):
            prefix = f"backbone.layers.{number}."
            mixer = {f"mixer.{name}": value for name, value in self._mixer(layer).items()}
            for name, value in (mixer | {"norm.weight": norm}).items():
                tensors[prefix + name] = value.clone()
        return tensors

    @property
    def _root(self) -> float:
        """One over the root mean square of the stream, in units of IDENTITY."""
        return sqrt(_num_constants(self.width) / self.width)

    def _numbers(self) -> dict[str, int]:
        first = _num_constants(self.width)
        named = {name: number for number, name in enumerate(self.stream, start=first)}
        return {CONSTANT: 0, **named}

    def _rows(self, forms: Sequence[Form]) -> Tensor:
        rows = torch.zeros(len(forms), self.width, dtype=torch.float64)
        numbers = self._numbers()
        for row, form in enumerate(forms):
            for name, value in form.items():
                rows[row, numbers[name]] += value
        return rows

    def _mixer(self, layer: Layer) -> dict[str, Tensor]:
        size = self.expand * self.width
        spare = [Channel("", {}, gate={}, taps=(0, 0))] * (size - len(layer.channels))
        channels = [*layer.channels, *spare]
        numbers = {channel.name: i for i, channel in enumerate(layer.channels)}
        projection = torch.zeros(self.rank + 2, size, dtype=torch.float64)
        forms = [*layer.steps.values(), layer.write, {ONE: GATE}]
        rows = [*range(len(layer.steps)), self.rank, self.rank + 1]
        for row, form in zip(rows, forms, strict=True):
            for name, value in form.items():
                projection[row, numbers[name]] += value
        steps = torch.zeros(size, self.rank, dtype=torch.float64)
        names = list(layer.steps)
        for number, channel in enumerate(channels):
            if channel.step is not None:
                steps[number, names.index(channel.step)] = 1
        gates = [channel.gate for channel in channels]
        return {
            "in_proj.weight": self._rows([*(channel.inputs for channel in channels), *gates]),
            "conv1d.weight": _column(channel.taps for channel in channels)[:, None],
            "conv1d.bias": _column(channel.bias for channel in channels),
            "x_proj.weight": projection,
            "dt_proj.weight": steps,
            "dt_proj.bias": torch.full((size,), -UNIT, dtype=torch.float64),
            "A_log": _column([channel.decay] for channel in channels),
            "D": _column(channel.skip for channel in channels),
            "out_proj.weight": self._rows([channel.outputs for channel in channels]).T,
        }


def _column(values: Iterable[Any]) -> Tensor:
    return torch.tensor(list(values), dtype=torch.float64)


def _num_constants(width: int) -> int:
    """Return how many constant channels make the root mean square a power of two."""
    return 1 + round(log2(width)) % 2
