"""LSTM (Hochreiter and Schmidhuber 1997): a nonlinear recurrence, outside the SSM family."""

from __future__ import annotations

import torch
from torch import nn

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

__all__ = ["LSTM", "LSTMConfig"]


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
        past = None
        if state is not None:
            past = tuple(torch.stack(parts) for parts in zip(*state, strict=True))
        hidden, last = self.lstm(self.embeddings(tokens), past)
        states = tuple(zip(*(part.unbind(0) for part in last), strict=True))
        return Output(self.lm_head(hidden), states)

    def initialize(self, generator: torch.Generator) -> None:
        nn.init.normal_(self.embeddings.weight, generator=generator)
        bound = self.config.d_model**-0.5
        for parameter in self.lstm.parameters():
            nn.init.uniform_(parameter, -bound, bound, generator=generator)
        initialize_linear(self.lm_head, generator)
