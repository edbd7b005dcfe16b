"""mLSTM (Beck et al. 2024, arXiv:2405.04517): matrix memory, exponential input gate, normalizer.

The layer of the paper's figure 10, without its widening projections: the width stays d_model.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, pad

from statespan.models.linear_attention import HeadsConfig, LinearAttentionMixer
from statespan.models.mamba import MixerModel
from statespan.models.model import MODELS, LayerState, check_at_least
from statespan.models.ops import gated_linear_attention

__all__ = ["MLSTM", "MLSTMConfig", "MLSTMMixer"]

FORGET_BIASES = (3.0, 6.0)
"""The forget gates of the heads begin at σ of these: 0.95 to 0.998."""


class MLSTMConfig(HeadsConfig, frozen=True, tag="mlstm", kw_only=True):
    """Sizes of an mLSTM; a convolution of `d_conv` tokens comes before the recurrence."""

    d_conv: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(2, d_conv=self.d_conv)

    @property
    def family(self) -> str:
        return "non-negative selective"


@final
class MLSTMMixer(LinearAttentionMixer):
    """C_t = f_t C_{t-1} + i_t k_t v_tᵀ, n_t = f_t n_{t-1} + i_t k_t (equations 19 to 27).

    f is a sigmoid and i an exponential; read is Cᵀq / max(|nᵀq|, 1). The state is (C, n), n a last
    column of C, both times exp(-m), and m, the stabilizer of equation 15.
    """

    def __init__(self, config: MLSTMConfig) -> None:
        super().__init__(config, d_conv=config.d_conv)
        self.gates = nn.Linear(config.d_model, 2 * config.heads)

    def recur(
        self,
        hidden: Tensor,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        state: LayerState | None,
    ) -> tuple[Tensor, LayerState]:
        log_input, forget = self.gates(hidden).chunk(2, dim=-1)
        log_forget = logsigmoid(forget)
        batch, _, heads, _ = value.shape
        memory, before = state or (None, value.new_zeros(batch, heads))
        now = _stabilizers(log_input, log_forget, before)
        earlier = torch.cat((before[:, None], now[:, :-1]), dim=1)
        fade = (log_forget + earlier - now).clamp(max=0)
        written = key * self.head_dim**-0.5 * torch.exp(log_input - now)[..., None]
        outputs, memory = gated_linear_attention(
            query, written, pad(value, (0, 1), value=1.0), fade[..., None].expand_as(key), memory
        )
        outputs, normalizer = torch.split(outputs, [self.head_dim, 1], dim=-1)
        # Below a millionth of the largest term nᵀq is rounding; the upper limit is against 0 / ∞.
        least = torch.exp((-now).clamp(max=80)).clamp(min=1e-6)[..., None]
        last = now[:, -1] if now.shape[1] else before
        return outputs / torch.maximum(normalizer.abs(), least), (memory, last)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the parameters; the heads forget at different rates, and the input gates begin shut.

        As the paper's code does: biases of the forget gates from 3 to 6, of the input gates small.
        """
        super().initialize(generator)
        inputs, forgets = self.gates.bias.chunk(2)
        nn.init.normal_(inputs, std=0.1, generator=generator)
        forgets.copy_(torch.linspace(*FORGET_BIASES, len(forgets)))


@torch.no_grad()
def _stabilizers(log_input: Tensor, log_forget: Tensor, before: Tensor) -> Tensor:
    """Return m_t = max(log f_t + m_{t-1}, log i_t) at all times [batch, length, head].

    No gradient: what is read does not depend on m.
    """
    since = log_forget.cumsum(dim=1)
    highest = (log_input - since).cummax(dim=1).values
    return since + torch.maximum(highest, before[:, None])


@final
@MODELS.register("mlstm")
class MLSTM(MixerModel):
    """A stack of mLSTM layers with feed-forward layers between them."""

    Config = MLSTMConfig

    def make_mixer(self) -> MLSTMMixer:
        return MLSTMMixer(self.config)
