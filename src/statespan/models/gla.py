"""Gated linear attention (Yang et al. 2023, arXiv:2312.06635): a decay a key, by the input."""

from __future__ import annotations

from typing import final

from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from statespan.models.linear_attention import HeadsConfig, LinearAttentionMixer
from statespan.models.mamba import MixerModel
from statespan.models.model import MODELS, LayerState, check_at_least
from statespan.models.ops import gated_linear_attention

__all__ = ["GLA", "GLAConfig", "GLAMixer"]

TEMPERATURE = 16
"""What the logarithm of a decay is divided by: decays begin near 1."""


class GLAConfig(HeadsConfig, frozen=True, tag="gla", kw_only=True):
    """Sizes of a GLA; the decays are made by way of `decay_rank` numbers."""

    decay_rank: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, decay_rank=self.decay_rank)

    @property
    def family(self) -> str:
        return "non-negative selective"


@final
class GLAMixer(LinearAttentionMixer):
    """S_t = diag(α_t) S_{t-1} + k_t v_tᵀ with α_t = σ(W x_t)^{1/16}."""

    def __init__(self, config: GLAConfig) -> None:
        super().__init__(config)
        self.decay_in = nn.Linear(config.d_model, config.decay_rank, bias=False)
        self.decay_out = nn.Linear(config.decay_rank, config.d_model)

    def recur(
        self,
        hidden: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        state: LayerState | None,
    ) -> tuple[Tensor, LayerState]:
        log_decay = logsigmoid(self.decay_out(self.decay_in(hidden))) / TEMPERATURE
        outputs, last = gated_linear_attention(
            query * self.head_dim**-0.5,
            key,
            value,
            log_decay.view_as(key),
            None if state is None else state[0],
        )
        return outputs, (last,)


@final
@MODELS.register("gla")
class GLA(MixerModel):
    """A stack of gated linear attention layers with feed-forward layers between them."""

    Config = GLAConfig

    def make_mixer(self) -> GLAMixer:
        return GLAMixer(self.config)
