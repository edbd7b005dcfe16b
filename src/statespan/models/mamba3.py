"""Mamba-3 (Lahoti et al. 2026, arXiv:2603.15569): a gate that turns, and a trapezoidal step.

In its style: single input, single output, with its normalized B and C and their biases, and without
a convolution; angles are of each head's step times an angle of the layer.
"""

from __future__ import annotations

from typing import final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from statespan.errors import ConfigError
from statespan.models.mamba import Mixer, MixerModel, initialize_time_step
from statespan.models.model import (
    MODELS,
    LayerState,
    ModelConfig,
    RMSNorm,
    check_at_least,
    initialize_modules,
)
from statespan.models.ops import gated_linear_attention

__all__ = ["Mamba3", "Mamba3Config", "Mamba3Mixer"]


class Mamba3Config(ModelConfig, frozen=True, tag="mamba3", kw_only=True):
    """Sizes of a Mamba-3: heads of width `head_dim`, d_state / 2 rotating pairs a channel."""

    d_state: int = 16
    expand: int = 2
    head_dim: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, d_state=self.d_state, expand=self.expand, head_dim=self.head_dim)
        if self.d_state % 2:
            raise ConfigError(f"d_state must be even, for pairs that rotate, got {self.d_state}.")
        if self.d_inner % self.head_dim:
            raise ConfigError(
                f"head_dim must divide expand · d_model, got {self.head_dim} and {self.d_inner}."
            )

    @property
    def family(self) -> str:
        return "complex selective"

    @property
    def d_inner(self) -> int:
        """The number of channels of a layer."""
        return self.expand * self.d_model

    @property
    def num_heads(self) -> int:
        """The number of heads of a layer."""
        return self.d_inner // self.head_dim


@final
class Mamba3Mixer(Mixer):
    """h_t = α_t R_t (h_{t-1} + (1 - λ_t) Δ_t B_{t-1} x_{t-1}ᵀ) + λ_t Δ_t B_t x_tᵀ, y_t = hᵀ_t C_t.

    α = exp(Δ A), and R turns each pair of B's axis by Δ θ, all by the input; λ in (0, 1) is the
    share of the right end of a step. The state is h, the last B and the last x. Within a call all
    is seen from axes that turn with R, where the recurrence is gated linear attention; the state
    that comes out is in axes at rest, so that a step's transition is α R.
    """

    def __init__(self, config: Mamba3Config) -> None:
        super().__init__()
        channels, heads, pairs = config.d_inner, config.num_heads, config.d_state // 2
        self.head_dim = config.head_dim
        self.sizes = [
            channels,
            channels,
            config.d_state,
            config.d_state,
            pairs,
            heads,
            heads,
            heads,
        ]
        self.in_proj = nn.Linear(config.d_model, sum(self.sizes), bias=False)
        self.write_norm = RMSNorm(config.d_state)
        self.read_norm = RMSNorm(config.d_state)
        self.write_bias = nn.Parameter(torch.empty(heads, config.d_state))
        self.read_bias = nn.Parameter(torch.empty(heads, config.d_state))
        self.dt_bias = nn.Parameter(torch.empty(heads))
        self.A_bias = nn.Parameter(torch.empty(heads))
        self.D = nn.Parameter(torch.empty(heads))
        self.norm = RMSNorm(channels)
        self.out_proj = nn.Linear(channels, config.d_model, bias=False)

    def forward(
        self, hidden: Float[Tensor, "batch length width"], state: LayerState | None = None
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return the outputs and the layer's next state (h, last B, last x)."""
        gate, inputs, write, read, angle, step, rate, share = torch.split(
            self.in_proj(hidden), self.sizes, dim=-1
        )
        inputs = rearrange(inputs, "b t (h p) -> b t h p", p=self.head_dim)
        write = self.write_norm(write)[:, :, None] + self.write_bias
        read = self.read_norm(read)[:, :, None] + self.read_bias
        delta = softplus(step + self.dt_bias)
        log_decay = -delta * softplus(rate + self.A_bias)
        share = torch.sigmoid(share)
        turned = _angles(delta[..., None] * angle[:, :, None])
        if state is None:
            start = inputs.new_zeros(len(hidden), *write.shape[2:], self.head_dim)
            first = (torch.zeros_like(write[:, :1]), torch.zeros_like(inputs[:, :1]))
        else:
            start, first = state[0], (state[1], state[2])
        writes, written = torch.cat((first[0], write), dim=1), torch.cat((first[1], inputs), dim=1)
        at_rest = torch.cat((torch.zeros_like(turned[:, :1]), turned), dim=1)
        keys = _rotate(writes, -at_rest)
        shares = torch.stack((1 - share, share), dim=2) * delta[:, :, None]
        # Two writes a token: the last token's B x after the fading, and this token's.
        pairs = torch.stack((keys[:, :-1], keys[:, 1:]), dim=2)
        scale = torch.stack((log_decay.exp(), torch.ones_like(log_decay)), dim=2)
        values = torch.stack((written[:, :-1], written[:, 1:]), dim=2)
        fades = torch.stack((log_decay, torch.zeros_like(log_decay)), dim=2)
        queries = _rotate(read, -turned)
        outputs, last = gated_linear_attention(
            torch.stack((torch.zeros_like(queries), queries), dim=2).flatten(1, 2),
            (pairs * (shares * scale)[..., None]).flatten(1, 2),
            values.flatten(1, 2),
            fades[..., None].expand_as(pairs).flatten(1, 2),
            start,
        )
        last = _rotate(last.mT, at_rest[:, -1, :, None]).mT
        outputs = outputs[:, 1::2] + self.D[:, None] * inputs
        outputs = rearrange(outputs, "b t h p -> b t (h p)")
        outputs = self.out_proj(self.norm(outputs) * silu(gate))
        return outputs, (last, writes[:, -1:], written[:, -1:])

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the parameters; steps as Mamba's, rates of decay around softplus of [0, 2]."""
        initialize_modules(self, generator)
        initialize_time_step(self.dt_bias, generator)
        nn.init.uniform_(self.A_bias, 0, 2, generator=generator)
        for ones in (self.write_bias, self.read_bias, self.D):
            nn.init.ones_(ones)


def _angles(turns: Float[Tensor, "batch length head pair"]) -> Tensor:
    """Return the sums of the turns up to each time, less whole turns, summed in float64."""
    total = turns.double().cumsum(dim=1)
    whole = (total / (2 * torch.pi)).detach().round()
    return (total - 2 * torch.pi * whole).to(turns.dtype)


def _rotate(
    pairs: Float[Tensor, "*batch state"], angle: Float[Tensor, "*#batch pair"]
) -> Float[Tensor, "*batch state"]:
    """Return each (first half, second half) pair of the last axis, turned by its angle."""
    first, second = pairs.chunk(2, dim=-1)
    cosine, sine = angle.cos(), angle.sin()
    return torch.cat((cosine * first - sine * second, sine * first + cosine * second), dim=-1)


@final
@MODELS.register("mamba3")
class Mamba3(MixerModel):
    """A stack of Mamba-3 layers."""

    Config = Mamba3Config

    def make_mixer(self) -> Mamba3Mixer:
        return Mamba3Mixer(self.config)
