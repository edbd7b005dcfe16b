"""sLSTM (Beck et al. 2024, arXiv:2405.04517): an LSTM of heads with exponential gates."""

from __future__ import annotations

from typing import final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from statespan.models.feed_forward import FedForwardMixer
from statespan.models.linear_attention import HeadsConfig
from statespan.models.mamba import MixerModel
from statespan.models.model import MODELS, LayerState, RMSNorm, initialize_modules

__all__ = ["SLSTM", "SLSTMConfig", "SLSTMMixer"]

NOTHING = -1e30
"""The stabilizer before the first token: what was before is forgotten whatever the gates."""

FORGET_BIASES = (3.0, 6.0)
"""The forget gates of a head begin at σ of these: 0.95 to 0.998."""


class SLSTMConfig(HeadsConfig, frozen=True, tag="slstm", kw_only=True):
    """Sizes of an sLSTM: d_model cells a layer, of which those of a head see each other."""

    @property
    def family(self) -> str:
        return "nonlinear recurrence"


@final
class SLSTMMixer(FedForwardMixer):
    """c_t = f c_{t-1} + i z, n_t = f n_{t-1} + i, h_t = o c_t / n_t (equations 8 to 14).

    z, i, f and o are made of x_t and h_{t-1}, f by a sigmoid, i by an exponential. The state is h,
    and c and n times exp(-m), and the stabilizer m (equation 15).
    """

    def __init__(self, config: SLSTMConfig) -> None:
        super().__init__(config.d_model, config.d_feedforward)
        self.heads = config.heads
        self.in_proj = nn.Linear(config.d_model, 4 * config.d_model)
        self.recurrence = nn.Parameter(
            torch.empty(config.heads, config.head_dim, 4 * config.head_dim)
        )
        self.norm = RMSNorm(config.head_dim)
        self.out_proj = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(
        self, hidden: Float[Tensor, "batch length width"], state: LayerState | None = None
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return the outputs and the layer's next state (h, c, n, m), [batch, head, dim] each."""
        inputs = rearrange(self.in_proj(hidden), "b t (h d) -> t b h d", h=self.heads)
        if state is None:
            zero = hidden.new_zeros(len(hidden), *self.recurrence.shape[:2])
            state = (zero, zero, zero, torch.full_like(zero, NOTHING))
        output, cell, normalizer, stabilizer = state
        outputs = []
        for now in inputs.unbind(0):
            # Heads first: a product for each of them, over the batch.
            recalled = (output.transpose(0, 1) @ self.recurrence).transpose(0, 1)
            entry, log_input, forget, shown = (now + recalled).chunk(4, dim=-1)
            log_forget = logsigmoid(forget) + stabilizer
            # What is shown does not depend on m, so no gradient goes through it.
            stabilizer = torch.maximum(log_forget, log_input).detach()
            keep, take = torch.exp(log_forget - stabilizer), torch.exp(log_input - stabilizer)
            cell = keep * cell + take * torch.tanh(entry)
            normalizer = keep * normalizer + take
            output = torch.sigmoid(shown) * cell / normalizer
            outputs.append(output)
        together = torch.stack(outputs, dim=1) if outputs else output[:, None][:, :0]
        together = rearrange(self.norm(together), "b t h d -> b t (h d)")
        return self.out_proj(together), (output, cell, normalizer, stabilizer)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the parameters; the cells of a head forget at different rates."""
        initialize_modules(self, generator)
        bound = self.recurrence.shape[1] ** -0.5
        nn.init.uniform_(self.recurrence, -bound, bound, generator=generator)
        biases = self.in_proj.bias.view(self.heads, 4, -1)
        biases[:, 2] = torch.linspace(*FORGET_BIASES, biases.shape[2])


@final
@MODELS.register("slstm")
class SLSTM(MixerModel):
    """A stack of sLSTM layers with feed-forward layers between them."""

    Config = SLSTMConfig

    def make_mixer(self) -> SLSTMMixer:
        return SLSTMMixer(self.config)
