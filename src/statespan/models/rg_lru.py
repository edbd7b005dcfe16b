"""RG-LRU, the recurrence of Griffin and Hawk (De et al. 2024, arXiv:2402.19427)."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, softplus

from statespan.models.feed_forward import FedForwardMixer
from statespan.models.mamba import MixerModel
from statespan.models.model import (
    MODELS,
    LayerState,
    ModelConfig,
    check_at_least,
    initialize_modules,
)
from statespan.models.ops import causal_convolution, diagonal_recurrence

__all__ = ["RGLRU", "RGLRUConfig", "RGLRUMixer"]

SHARPNESS = 8
"""The c of equation 4."""

LEAST = 1e-30
"""What 1 - a² is where a is 1."""

DECAYS = (0.9, 0.999)
"""Where a^c begins (section 2.4)."""


class RGLRUConfig(ModelConfig, frozen=True, tag="rg-lru", kw_only=True):
    """Sizes of a Hawk: `expand` · d_model channels, one number each, after a convolution.

    A feed-forward layer of inner width `d_feedforward` follows each recurrence; 0 is none.
    """

    d_conv: int = 4
    expand: int = 1
    d_feedforward: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(2, d_conv=self.d_conv)
        check_at_least(1, expand=self.expand)
        check_at_least(0, d_feedforward=self.d_feedforward)

    @property
    def family(self) -> str:
        return "non-negative tied"


@final
class RGLRUMixer(FedForwardMixer):
    """h_t = a_t ∘ h_{t-1} + sqrt(1 - a_t²) ∘ (i_t ∘ x_t), a_t = exp(-c softplus(Λ) ∘ r_t).

    Equations 1 to 4, with r and i sigmoids of x; beside it a branch of GELU, as in figure 2.
    """

    def __init__(self, config: RGLRUConfig) -> None:
        super().__init__(config.d_model, config.d_feedforward)
        channels = config.expand * config.d_model
        self.in_proj = nn.Linear(config.d_model, 2 * channels)
        self.conv1d = nn.Conv1d(channels, channels, config.d_conv, groups=channels)
        self.gates = nn.Linear(channels, 2 * channels)
        self.decay = nn.Parameter(torch.empty(channels))
        self.out_proj = nn.Linear(channels, config.d_model)

    def forward(
        self, hidden: Float[Tensor, "batch length width"], state: LayerState | None = None
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return the outputs and the layer's next state (last inputs, h)."""
        past, before = state or (None, None)
        inputs, branch = self.in_proj(hidden).chunk(2, dim=-1)
        assert self.conv1d.bias is not None, "made with one"
        inputs, past = causal_convolution(inputs, self.conv1d.weight[:, 0], self.conv1d.bias, past)
        recurrence, entry = torch.sigmoid(self.gates(inputs)).chunk(2, dim=-1)
        log_decay = -SHARPNESS * softplus(self.decay) * recurrence
        # 1 - a² by expm1: near a = 1 the difference would be rounding alone. The root of exactly 0
        # has no gradient.
        scale = torch.sqrt((-torch.expm1(2 * log_decay)).clamp(min=LEAST))
        states, last = diagonal_recurrence(scale * entry * inputs, log_decay.exp(), before)
        return self.out_proj(states * gelu(branch)), (past, last)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the parameters; a^c, at r = 1, is uniform in [0.9, 0.999] (section 2.4)."""
        initialize_modules(self, generator)
        decay = torch.empty_like(self.decay).uniform_(*DECAYS, generator=generator)
        rate = -decay.log() / SHARPNESS
        self.decay.copy_(torch.expm1(rate).log())


@final
@MODELS.register("rg-lru")
class RGLRU(MixerModel):
    """A stack of RG-LRU layers with feed-forward layers between them (Hawk)."""

    Config = RGLRUConfig

    def make_mixer(self) -> RGLRUMixer:
        return RGLRUMixer(self.config)
