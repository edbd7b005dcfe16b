"""LSTM (Hochreiter and Schmidhuber 1997): a nonlinear recurrence, outside the SSM family."""

from __future__ import annotations

from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn, sigmoid, tanh
from torch.nn.functional import linear

from statespan.models.model import (
    MODELS,
    Embeddings,
    Inputs,
    ModelConfig,
    ModelState,
    Output,
    SequenceModel,
    initialize_linear,
)
from statespan.models.ops.gpu import is_transformed

__all__ = ["LSTM", "LSTMConfig"]

Hidden: TypeAlias = Float[Tensor, "batch length width"]


class LSTMConfig(ModelConfig, frozen=True, tag="lstm", kw_only=True):
    """Sizes of an LSTM: `d_model` cells a layer."""

    @property
    def family(self) -> str:
        return "nonlinear recurrence"


@MODELS.register("lstm")
class LSTM(SequenceModel):
    """Embeddings, a stack of LSTM layers and a linear head."""

    Config = LSTMConfig

    def __init__(self, config: ModelConfig, *, vocab_size: int, num_outputs: int) -> None:
        super().__init__(config, vocab_size=vocab_size, num_outputs=num_outputs)
        self.embeddings = Embeddings(vocab_size, config.d_model)
        self.lstm = nn.LSTM(config.d_model, config.d_model, config.layers, batch_first=True)
        self.lm_head = nn.Linear(config.d_model, num_outputs)

    def forward(self, tokens: Inputs, state: ModelState | None = None) -> Output:
        hidden = self.embeddings(tokens)
        if is_transformed():
            hidden, states = self._by_steps(hidden, state)
        else:
            past = None
            if state is not None:
                past = tuple(torch.stack(parts) for parts in zip(*state, strict=True))
            hidden, last = self.lstm(hidden, past)
            states = tuple(zip(*(part.unbind(0) for part in last), strict=True))
        return Output(self.lm_head(hidden), states)

    def _by_steps(self, hidden: Hidden, state: ModelState | None) -> tuple[Hidden, ModelState]:
        """Return what `lstm` returns, out of operations that `torch.func.vmap` has rules for."""
        zero = hidden.new_zeros(hidden.shape[0], self.config.d_model)
        states = []
        for layer in range(self.config.layers):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            read, recall, *biases = (getattr(self.lstm, f"{name}_l{layer}") for name in names)
            output, cell = (zero, zero) if state is None else state[layer]
            outputs = []
            for now in linear(hidden, read, sum(biases)).unbind(1):
                take, keep, entry, show = (now + linear(output, recall)).chunk(4, dim=-1)
                cell = sigmoid(keep) * cell + sigmoid(take) * tanh(entry)
                output = sigmoid(show) * tanh(cell)
                outputs.append(output)
            hidden = torch.stack(outputs, dim=1)
            states.append((output, cell))
        return hidden, tuple(states)

    def initialize(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.embeddings.weight, generator=generator)
        bound = self.config.d_model**-0.5
        for parameter in self.lstm.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
        initialize_linear(self.lm_head, generator)
