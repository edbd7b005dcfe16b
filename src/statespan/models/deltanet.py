"""DeltaNet (Yang et al. 2024, arXiv:2406.06484): each key's answer is moved towards a value.

With rates up to 2 a step can reflect (Grazzi et al. 2024, arXiv:2411.12537).
"""

from __future__ import annotations

from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from statespan.models.linear_attention import HeadsConfig, LinearAttentionMixer
from statespan.models.mamba import MixerModel
from statespan.models.model import MODELS, LayerState, check_at_least
from statespan.models.ops import gated_delta_rule

__all__ = ["DeltaNet", "DeltaNetConfig", "DeltaNetMixer", "DeltaRuleConfig", "unit_keys"]


class DeltaRuleConfig(HeadsConfig, frozen=True, kw_only=True):
    """Sizes of a model of the delta rule: rates β in (0, max_rate), and a convolution before it."""

    d_conv: int = 4
    max_rate: Literal[1, 2] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(2, d_conv=self.d_conv)

    @property
    def family(self) -> str:
        return "delta rule" if self.max_rate == 1 else "reflections"


class DeltaNetConfig(DeltaRuleConfig, frozen=True, tag="deltanet", kw_only=True):
    """Sizes of a DeltaNet."""


@final
class DeltaNetMixer(LinearAttentionMixer):
    """S_t = (I - β_t k_t kᵀ_t) S_{t-1} + β_t k_t v_tᵀ, β a sigmoid times max_rate."""

    def __init__(self, config: DeltaNetConfig) -> None:
        super().__init__(config, d_conv=config.d_conv)
        self.max_rate = config.max_rate
        self.rate_proj = nn.Linear(config.d_model, config.heads)

    def recur(
        self,
        hidden: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        state: LayerState | None,
    ) -> tuple[Tensor, LayerState]:
        rate = self.max_rate * torch.sigmoid(self.rate_proj(hidden))
        outputs, last = gated_delta_rule(
            unit_keys(query),
            unit_keys(key),
            value,
            torch.zeros_like(rate),
            rate,
            None if state is None else state[0],
        )
        return outputs, (last,)


def unit_keys(keys: Tensor) -> Tensor:
    """Return queries or keys of length 1; near 0 they are shorter instead of endless."""
    return normalize(keys, dim=-1, eps=1e-6)


@final
@MODELS.register("deltanet")
class DeltaNet(MixerModel):
    """A stack of DeltaNet layers with feed-forward layers between them."""

    Config = DeltaNetConfig

    def make_mixer(self) -> DeltaNetMixer:
        return DeltaNetMixer(self.config)
