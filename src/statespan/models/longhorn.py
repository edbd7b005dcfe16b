"""Longhorn (Liu et al. 2024, arXiv:2407.14207): a step of online regression as the recurrence."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from statespan.models.channel_scan import ChannelScanConfig, ChannelScanMixer
from statespan.models.mamba import MixerModel
from statespan.models.model import MODELS

__all__ = ["Longhorn", "LonghornConfig", "LonghornMixer"]


class LonghornConfig(ChannelScanConfig, frozen=True, tag="longhorn", kw_only=True):
    """Sizes of a Longhorn: those of Mamba, in whose block it stands."""

    @property
    def family(self) -> str:
        return "non-negative tied"


@final
class LonghornMixer(ChannelScanMixer):
    """S_t = (1 - ε_t k_t²) ∘ S_{t-1} + ε_t x_t k_t with ε_t = β_t / (1 + β_t kᵀ_t k_t).

    β, a sigmoid, is of each channel, k of the layer. Of the exact solution's matrix
    I - ε k kᵀ the diagonal is kept, so the decays are in (0, 1].
    """

    def __init__(self, config: LonghornConfig) -> None:
        super().__init__(config)
        self.rate_proj = nn.Linear(config.d_inner, config.d_inner)
        self.x_proj = nn.Linear(config.d_inner, 2 * config.d_state, bias=False)

    def step_terms(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        key, read = self.x_proj(inputs).chunk(2, dim=-1)
        rate = torch.sigmoid(self.rate_proj(inputs))
        size = rate / (1 + rate * key.square().sum(-1, keepdim=True))
        decay = 1 - size[..., None] * key.square()[..., None, :]
        return decay, (size * inputs)[..., None] * key[..., None, :], read


@final
@MODELS.register("longhorn")
class Longhorn(MixerModel):
    """A stack of Longhorn layers."""

    Config = LonghornConfig

    def make_mixer(self) -> LonghornMixer:
        return LonghornMixer(self.config)
