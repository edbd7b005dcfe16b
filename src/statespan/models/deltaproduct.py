"""DeltaProduct (Siems et al. 2025, arXiv:2502.10297): several steps of the delta rule a token."""

from __future__ import annotations

from typing import final

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import pad

from statespan.models.deltanet import unit_keys
from statespan.models.fading import Fading
from statespan.models.linear_attention import HeadsConfig, LinearAttentionMixer
from statespan.models.mamba import MixerModel
from statespan.models.model import MODELS, LayerState, check_at_least
from statespan.models.ops import gated_delta_rule

__all__ = ["DeltaProduct", "DeltaProductConfig", "DeltaProductMixer"]


class DeltaProductConfig(HeadsConfig, frozen=True, tag="deltaproduct", kw_only=True):
    """Sizes of a DeltaProduct: `factors` steps of the delta rule a token, rates in (0, 2).

    With `gated` the state fades before them (Gated DeltaProduct).
    """

    d_conv: int = 4
    factors: int = 2
    gated: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(2, d_conv=self.d_conv)
        check_at_least(1, factors=self.factors)

    @property
    def family(self) -> str:
        return "reflections" if self.factors == 1 else "products and dense"


@final
class DeltaProductMixer(LinearAttentionMixer):
    """S ← (I - β k kᵀ) S + β k vᵀ, for each factor's k, v and β in turn.

    The factors of a token are so many tokens of the gated delta rule: the state fades before the
    first of them, and is read after the last.
    """

    def __init__(self, config: DeltaProductConfig) -> None:
        super().__init__(config, d_conv=config.d_conv, num_writes=config.factors)
        self.factors = config.factors
        self.rate_proj = nn.Linear(config.d_model, config.factors * config.heads)
        self.fading = Fading(config.d_model, config.heads) if config.gated else None

    def recur(
        self,
        hidden: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        state: LayerState | None,
    ) -> tuple[Tensor, LayerState]:
        count = self.factors
        key, value = (
            rearrange(part, "b t (n h) d -> b (t n) h d", n=count) for part in (key, value)
        )
        rate = 2 * torch.sigmoid(self.rate_proj(hidden))
        rate = rearrange(rate, "b t (n h) -> b (t n) h", n=count)
        if self.fading is None:
            log_decay = torch.zeros_like(rate)
        else:
            first = pad(self.fading(hidden)[:, :, None], (0, 0, 0, count - 1))
            log_decay = first.flatten(1, 2)
        last_query = pad(unit_keys(query)[:, :, None], (0, 0, 0, 0, count - 1, 0))
        outputs, last = gated_delta_rule(
            last_query.flatten(1, 2),
            unit_keys(key),
            value,
            log_decay,
            rate,
            None if state is None else state[0],
        )
        return outputs[:, count - 1 :: count], (last,)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the parameters, those of the fading as Mamba-2's."""
        super().initialize(generator)
        if self.fading is not None:
            self.fading.initialize(generator)


@final
@MODELS.register("deltaproduct")
class DeltaProduct(MixerModel):
    """A stack of DeltaProduct layers with feed-forward layers between them."""

    Config = DeltaProductConfig

    def make_mixer(self) -> DeltaProductMixer:
        return DeltaProductMixer(self.config)
