"""RWKV-6 (Peng et al. 2024, arXiv:2404.05892): a decay for each key by the input, and a bonus.

In its style: what is mixed of this token and the last is learned for each channel, but only the
decay is moved by the input; the paper lets the mixtures depend on the input too.
"""

from __future__ import annotations

from typing import final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad, silu

from statespan.models.feed_forward import FedForwardMixer
from statespan.models.linear_attention import HeadsConfig
from statespan.models.mamba import MixerModel
from statespan.models.model import (
    MODELS,
    LayerState,
    RMSNorm,
    check_at_least,
    initialize_modules,
)
from statespan.models.ops import gated_linear_attention

__all__ = ["RWKV6", "RWKV6Config", "RWKV6Mixer"]

DECAYS = (-6.0, 1.0)
"""The decays of a head begin at exp(-exp(·)) of these: 0.998 to 0.07."""


class RWKV6Config(HeadsConfig, frozen=True, tag="rwkv6", kw_only=True):
    """Sizes of an RWKV-6; the decays are moved by way of `decay_rank` numbers."""

    decay_rank: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, decay_rank=self.decay_rank)

    @property
    def family(self) -> str:
        return "non-negative selective"


@final
class RWKV6Mixer(FedForwardMixer):
    """S_t = diag(w_t) S_{t-1} + k_t v_tᵀ, read as (S_{t-1} + diag(u) k_t v_tᵀ)ᵀ r_t.

    w_t = exp(-exp(w + tanh(x A) B)). The state is the last input and S.
    """

    def __init__(self, config: RWKV6Config) -> None:
        super().__init__(config.d_model, config.d_feedforward)
        width = config.d_model
        self.head_dim = config.head_dim
        self.shift = nn.Parameter(torch.empty(5, width))
        self.r_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.g_proj = nn.Linear(width, width, bias=False)
        self.decay_in = nn.Linear(width, config.decay_rank, bias=False)
        self.decay_out = nn.Linear(config.decay_rank, width)
        self.bonus = nn.Parameter(torch.empty(config.heads, config.head_dim))
        self.norm = RMSNorm(config.head_dim)
        self.out_proj = nn.Linear(width, width, bias=False)

    def forward(
        self, hidden: Float[Tensor, "batch length width"], state: LayerState | None = None
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return the outputs and the layer's next state (last input, memory)."""
        first, memory = state or (hidden.new_zeros(hidden.shape[0], 1, hidden.shape[2]), None)
        shifted = torch.cat((first, hidden), dim=1)
        before = shifted[:, :-1]
        read, key, value, gate, moved = (
            torch.lerp(hidden, before, share) for share in self.shift.unbind(0)
        )
        read, key, value = (
            rearrange(project(part), "b t (h d) -> b t h d", d=self.head_dim)
            for project, part in zip(
                (self.r_proj, self.k_proj, self.v_proj), (read, key, value), strict=True
            )
        )
        # Above 10 a decay is 0 and stays so; an exponential without end would have no gradient.
        exponent = self.decay_out(torch.tanh(self.decay_in(moved))).clamp(max=10)
        log_decay = -torch.exp(exponent)
        outputs, memory = _read_before(read, key, value, log_decay.view_as(key), memory)
        outputs = outputs + (read * self.bonus * key).sum(-1, keepdim=True) * value
        outputs = rearrange(self.norm(outputs), "b t h d -> b t (h d)")
        return self.out_proj(outputs * silu(self.g_proj(gate))), (shifted[:, -1:], memory)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the parameters; the decays of a head are spread evenly in log-log."""
        initialize_modules(self, generator)
        nn.init.uniform_(self.shift, generator=generator)
        nn.init.uniform_(self.bonus, generator=generator)
        self.decay_out.bias.copy_(torch.linspace(*DECAYS, self.head_dim).repeat(len(self.bonus)))


def _read_before(
    read: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, memory: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return what each token reads before its own write, and the last memory.

    One token that neither fades nor writes comes first, and each token reads one place earlier.
    """
    key, value, log_decay = (pad(part, (0, 0, 0, 0, 1, 0)) for part in (key, value, log_decay))
    outputs, memory = gated_linear_attention(
        pad(read, (0, 0, 0, 0, 0, 1)), key, value, log_decay, memory
    )
    return outputs[:, :-1], memory


@final
@MODELS.register("rwkv6")
class RWKV6(MixerModel):
    """A stack of RWKV-6's time mixers with gated feed-forward layers between them."""

    Config = RWKV6Config

    def make_mixer(self) -> RWKV6Mixer:
        return RWKV6Mixer(self.config)
