"""Gated DeltaNet (Yang et al. 2024, arXiv:2412.06464): the delta rule on a state that fades."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from statespan.models.deltanet import DeltaRuleConfig, unit_keys
from statespan.models.fading import Fading
from statespan.models.linear_attention import LinearAttentionMixer
from statespan.models.mamba import MixerModel
from statespan.models.model import MODELS, LayerState
from statespan.models.ops import gated_delta_rule

__all__ = ["GatedDeltaNet", "GatedDeltaNetConfig", "GatedDeltaNetMixer"]


class GatedDeltaNetConfig(DeltaRuleConfig, frozen=True, tag="gated-deltanet", kw_only=True):
    """Sizes of a Gated DeltaNet."""


@final
class GatedDeltaNetMixer(LinearAttentionMixer):
    """S_t = α_t (I - β_t k_t kᵀ_t) S_{t-1} + β_t k_t v_tᵀ, α and β by the input (equation 10)."""

    def __init__(self, config: GatedDeltaNetConfig) -> None:
        super().__init__(config, d_conv=config.d_conv)
        self.max_rate = config.max_rate
        self.rate_proj = nn.Linear(config.d_model, config.heads)
        self.fading = Fading(config.d_model, config.heads)

    def recur(
        self,
        hidden: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        state: LayerState | None,
    ) -> tuple[Tensor, LayerState]:
        outputs, last = gated_delta_rule(
            unit_keys(query),
            unit_keys(key),
            value,
            self.fading(hidden),
            self.max_rate * torch.sigmoid(self.rate_proj(hidden)),
            None if state is None else state[0],
        )
        return outputs, (last,)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the parameters, those of the fading as Mamba-2's."""
        super().initialize(generator)
        self.fading.initialize(generator)


@final
@MODELS.register("gated-deltanet")
class GatedDeltaNet(MixerModel):
    """A stack of Gated DeltaNet layers with feed-forward layers between them."""

    Config = GatedDeltaNetConfig

    def make_mixer(self) -> GatedDeltaNetMixer:
        return GatedDeltaNetMixer(self.config)
