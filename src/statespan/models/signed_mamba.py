"""Mamba with gates from -1 to 1 (Grazzi et al. 2024, arXiv:2411.12537): 2 exp(ΔA) - 1."""

from __future__ import annotations

import math
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from statespan.models.channel_scan import ChannelScanConfig, ChannelScanMixer
from statespan.models.mamba import MixerModel, initialize_time_step
from statespan.models.model import MODELS, check_at_least

__all__ = ["SignedMamba", "SignedMambaConfig", "SignedMambaMixer"]


class SignedMambaConfig(ChannelScanConfig, frozen=True, tag="signed-mamba", kw_only=True):
    """Sizes as Mamba's; `dt_rank` 0 stands for ⌈d_model / 16⌉."""

    dt_rank: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(0, dt_rank=self.dt_rank)

    @property
    def family(self) -> str:
        return "real selective"

    @property
    def rank(self) -> int:
        """The rank of the time step's projection."""
        return self.dt_rank or math.ceil(self.d_model / 16)


@final
class SignedMambaMixer(ChannelScanMixer):
    """h_t = (2 exp(Δ_t A) - 1) ∘ h_{t-1} + Δ_t x_t B_t, all else as in Mamba."""

    def __init__(self, config: SignedMambaConfig) -> None:
        super().__init__(config)
        channels = config.d_inner
        self.dt_rank = config.rank
        self.x_proj = nn.Linear(channels, self.dt_rank + 2 * config.d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, channels)
        self.A_log = nn.Parameter(torch.empty(channels, config.d_state))

    def step_terms(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sizes = [self.dt_rank, self.d_state, self.d_state]
        step, write, read = self.x_proj(inputs).split(sizes, dim=-1)
        delta = softplus(self.dt_proj(step))
        decay = 2 * torch.exp(-delta[..., None] * torch.exp(self.A_log)) - 1
        return decay, (delta * inputs)[..., None] * write[..., None, :], read

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the parameters as Mamba's: the gates begin near 1."""
        super().initialize(generator)
        bound = self.dt_rank**-0.5
        nn.init.uniform_(self.dt_proj.weight, -bound, bound, generator=generator)
        initialize_time_step(self.dt_proj.bias, generator)
        self.A_log.copy_(torch.arange(1, self.d_state + 1).log().expand_as(self.A_log))


@final
@MODELS.register("signed-mamba")
class SignedMamba(MixerModel):
    """A stack of Mamba layers whose gates can be negative."""

    Config = SignedMambaConfig

    def make_mixer(self) -> SignedMambaMixer:
        return SignedMambaMixer(self.config)
