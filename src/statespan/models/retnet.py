"""RetNet-style retention (Sun et al. 2023, arXiv:2307.08621): one fixed decay a head.

Without the paper's rotation of queries and keys (xPos), which would turn the state's eigenvalues.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from statespan.models.linear_attention import HeadsConfig, LinearAttentionMixer
from statespan.models.mamba import MixerModel
from statespan.models.model import MODELS, LayerState
from statespan.models.ops import state_space_dual

__all__ = ["RetNet", "RetNetConfig", "RetNetMixer"]


class RetNetConfig(HeadsConfig, frozen=True, tag="retnet", kw_only=True):
    """Sizes of a RetNet; head h decays by 1 - 2^(-5 - h) at each step (section 2.2)."""

    @property
    def family(self) -> str:
        return "fixed real decay"


@final
class RetNetMixer(LinearAttentionMixer):
    """S_t = γ S_{t-1} + k_t v_tᵀ, γ fixed (equation 6)."""

    def recur(
        self,
        hidden: Tensor,  # noqa: ARG002 (the decays are fixed)
        query: Tensor,
        key: Tensor,
        value: Tensor,
        state: LayerState | None,
    ) -> tuple[Tensor, LayerState]:
        heads = query.shape[2]
        order = torch.arange(heads, dtype=value.dtype, device=value.device)
        outputs, last = state_space_dual(
            value,
            value.new_ones(value.shape[:3]),
            torch.log1p(-torch.exp2(-5 - order)),
            key,
            query * self.head_dim**-0.5,
            None if state is None else state[0],
        )
        return outputs, (last,)


@final
@MODELS.register("retnet")
class RetNet(MixerModel):
    """A stack of retention layers with feed-forward layers between them."""

    Config = RetNetConfig

    def make_mixer(self) -> RetNetMixer:
        return RetNetMixer(self.config)
