"""The abstract state-space model of Sarrof, Veitsman and Hahn (2024, arXiv:2405.17394).

A layer is h_t = A(x_t) ∘ h_{t-1} + B(x_t) and z_t = φ(h_t, x_t), channel by channel, with gates A
that are never negative; A, B and φ are networks of one hidden layer of rectifiers. There is no
norm, so that exact weights need not undo one.

Axes: `batch`; `length`, time; `width`, d_model; `channel`, the numbers h of the paper.
"""

from __future__ import annotations

from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import relu

from statespan.models.model import (
    MODELS,
    Embeddings,
    Inputs,
    LayerState,
    ModelConfig,
    ModelState,
    Output,
    SequenceModel,
    check_at_least,
    initialize_linear,
)
from statespan.models.ops import diagonal_recurrence

__all__ = ["Diagonal", "DiagonalConfig", "DiagonalLayer"]


class DiagonalConfig(ModelConfig, frozen=True, tag="diagonal", kw_only=True):
    """Sizes: `d_state` channels a layer, `d_hidden` rectifiers in each of its two networks."""

    d_state: int = 64
    d_hidden: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, d_state=self.d_state, d_hidden=self.d_hidden)

    @property
    def family(self) -> str:
        return "non-negative selective"


@final
class DiagonalLayer(nn.Module):
    """One recurrence, between the network that drives it and the one that reads it."""

    def __init__(self, config: DiagonalConfig) -> None:
        super().__init__()
        self.update_in = nn.Linear(config.d_model, config.d_hidden)
        self.update_out = nn.Linear(config.d_hidden, 2 * config.d_state)
        self.output_in = nn.Linear(config.d_state + config.d_model, config.d_hidden)
        self.output_out = nn.Linear(config.d_hidden, config.d_model)
        self.initial_state = nn.Parameter(torch.empty(config.d_state))

    def forward(
        self, hidden: Float[Tensor, "batch length width"], state: LayerState | None = None
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return the residual stream after this layer, and the layer's next state."""
        if state is None:
            state = (self.initial_state.expand(hidden.shape[0], -1),)
        gates, increments = self.update_out(relu(self.update_in(hidden))).chunk(2, dim=-1)
        states, last = diagonal_recurrence(increments, gates.clamp(0, 1), state[0])
        outputs = self.output_out(relu(self.output_in(torch.cat((states, hidden), dim=-1))))
        return hidden + outputs, (last,)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the parameters anew; at the start most gates are between ½ and 1."""
        for linear in (self.update_in, self.update_out, self.output_in, self.output_out):
            initialize_linear(linear, generator)
        gate_bias, _ = self.update_out.bias.chunk(2)
        gate_bias.uniform_(0.5, 1, generator=generator)
        nn.init.zeros_(self.initial_state)


@final
@MODELS.register("diagonal")
class Diagonal(SequenceModel):
    """Embeddings, a stack of diagonal layers and a linear head."""

    Config = DiagonalConfig

    def __init__(self, config: ModelConfig, *, vocab_size: int, num_outputs: int) -> None:
        super().__init__(config, vocab_size=vocab_size, num_outputs=num_outputs)
        self.embeddings = Embeddings(vocab_size, config.d_model)
        self.layers = nn.ModuleList(DiagonalLayer(self.config) for _ in range(config.layers))
        self.lm_head = nn.Linear(config.d_model, num_outputs)

    def forward(self, tokens: Inputs, state: ModelState | None = None) -> Output:
        hidden = self.embeddings(tokens)
        states: list[LayerState] = []
        for index, layer in enumerate(self.layers):
            hidden, layer_state = layer(hidden, None if state is None else state[index])
            states.append(layer_state)
        return Output(self.lm_head(hidden), tuple(states))

    def initialize(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.embeddings.weight, generator=generator)
        for layer in self.layers:
            cast("DiagonalLayer", layer).initialize(generator)
        initialize_linear(self.lm_head, generator)
