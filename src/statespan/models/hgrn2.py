"""HGRN2 (Qin et al. 2024, arXiv:2404.07904): a forget gate for each key, and 1 - gate as the key.

The paper's lower bounds of the gates, which grow from layer to layer, are 0 in all layers here, so
that a gate can reach 0; a bias lets the gates of a head begin near different values instead.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, silu

from statespan.models.linear_attention import HeadsConfig, LinearAttentionMixer
from statespan.models.mamba import MixerModel
from statespan.models.model import MODELS, LayerState
from statespan.models.ops import gated_linear_attention

__all__ = ["HGRN2", "HGRN2Config", "HGRN2Mixer"]

BIASES = (1.0, 5.0)
"""The gates begin around σ of these: 0.73 to 0.993."""


class HGRN2Config(HeadsConfig, frozen=True, tag="hgrn2", kw_only=True):
    """Sizes of an HGRN2."""

    @property
    def family(self) -> str:
        return "non-negative tied"


@final
class HGRN2Mixer(LinearAttentionMixer):
    """S_t = diag(f_t) S_{t-1} + (1 - f_t) v_tᵀ with f_t = σ(W x_t + b)."""

    def __init__(self, config: HGRN2Config) -> None:
        super().__init__(config)
        self.gate_bias = nn.Parameter(torch.empty(config.heads, config.head_dim))

    def recur(
        self,
        hidden: Tensor,  # noqa: ARG002 (the gates are the keys)
        query: Tensor,
        key: Tensor,
        value: Tensor,
        state: LayerState | None,
    ) -> tuple[Tensor, LayerState]:
        gate = key + self.gate_bias
        outputs, last = gated_linear_attention(
            silu(query),
            torch.sigmoid(-gate),
            value,
            logsigmoid(gate),
            None if state is None else state[0],
        )
        return outputs, (last,)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the parameters; the biases of a head are spread evenly."""
        super().initialize(generator)
        self.gate_bias.copy_(torch.linspace(*BIASES, self.head_dim).expand_as(self.gate_bias))


@final
@MODELS.register("hgrn2")
class HGRN2(MixerModel):
    """A stack of HGRN2 layers with feed-forward layers between them."""

    Config = HGRN2Config

    def make_mixer(self) -> HGRN2Mixer:
        return HGRN2Mixer(self.config)
