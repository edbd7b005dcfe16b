"""What layers in Mamba's place share: the convolution, the gate, a state of d_state a channel.

Mamba's own scan takes exp(ΔA) as its decay; here a decay is any number, one for each channel, state
and step, so that it takes memory for batch × length × channel × state numbers.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from statespan.models.mamba import Mixer
from statespan.models.model import (
    LayerState,
    ModelConfig,
    check_at_least,
    initialize_modules,
)
from statespan.models.ops import causal_convolution, diagonal_recurrence

__all__ = ["ChannelScanConfig", "ChannelScanMixer"]


class ChannelScanConfig(ModelConfig, frozen=True, kw_only=True):
    """Sizes as Mamba's: `d_state` numbers a channel, `expand · d_model` channels a layer."""

    d_state: int = 16
    d_conv: int = 4
    expand: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, d_state=self.d_state, expand=self.expand)
        check_at_least(2, d_conv=self.d_conv)

    @property
    def d_inner(self) -> int:
        """The number of channels of a layer."""
        return self.expand * self.d_model


class ChannelScanMixer(Mixer):
    """Projection, convolution, h_t = a_t ∘ h_{t-1} + b_t, a read-out, gate, projection."""

    def __init__(self, config: ChannelScanConfig) -> None:
        super().__init__()
        channels = config.d_inner
        self.d_state = config.d_state
        self.in_proj = nn.Linear(config.d_model, 2 * channels, bias=False)
        self.conv1d = nn.Conv1d(channels, channels, config.d_conv, groups=channels)
        self.D = nn.Parameter(torch.empty(channels))
        self.out_proj = nn.Linear(channels, config.d_model, bias=False)

    @abstractmethod
    def step_terms(
        self, inputs: Float[Tensor, "batch length channel"]
    ) -> tuple[
        Float[Tensor, "batch length channel state"],
        Float[Tensor, "batch length channel state"],
        Float[Tensor, "batch length state"],
    ]:
        """Return the decays a_t, what is added b_t, and what the states are read with."""

    def forward(
        self, hidden: Float[Tensor, "batch length width"], state: LayerState | None = None
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return the outputs and the layer's next state (last inputs, scan state)."""
        past, before = state or (None, None)
        inputs, gate = self.in_proj(hidden).chunk(2, dim=-1)
        assert self.conv1d.bias is not None, "made with one"
        inputs, past = causal_convolution(
            inputs, self.conv1d.weight[:, 0], self.conv1d.bias, past, activation="silu"
        )
        decay, added, read = self.step_terms(inputs)
        states, last = diagonal_recurrence(added.flatten(-2), decay.flatten(-2), before)
        outputs = (states.view_as(added) * read[..., None, :]).sum(-1) + self.D * inputs
        return self.out_proj(outputs * silu(gate)), (past, last)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw all linear layers and the convolution; D is 1."""
        initialize_modules(self, generator)
        nn.init.ones_(self.D)
