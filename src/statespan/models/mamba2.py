"""Mamba-2 (Dao and Gu 2024, arXiv:2405.21060): one decay a head, matrix-valued states."""

from __future__ import annotations

from typing import Any, final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from statespan.errors import ConfigError
from statespan.models.mamba import Mixer, MixerModel, initialize_time_step
from statespan.models.model import (
    MODELS,
    LayerState,
    ModelConfig,
    RMSNorm,
    check_at_least,
    initialize_linear,
)
from statespan.models.ops import causal_convolution, state_space_dual

__all__ = ["Mamba2", "Mamba2Config", "Mamba2Mixer"]


class Mamba2Config(ModelConfig, frozen=True, tag="mamba2", kw_only=True):
    """Sizes of a Mamba-2: heads of width `head_dim`, each with a head_dim × d_state state."""

    d_state: int = 64
    d_conv: int = 4
    expand: int = 2
    head_dim: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, d_state=self.d_state, expand=self.expand, head_dim=self.head_dim)
        check_at_least(2, d_conv=self.d_conv)
        if self.d_inner % self.head_dim:
            raise ConfigError(
                f"head_dim must divide expand · d_model, got {self.head_dim} and {self.d_inner}."
            )

    @property
    def family(self) -> str:
        return "non-negative selective"

    @property
    def d_inner(self) -> int:
        """The number of channels of a layer."""
        return self.expand * self.d_model

    @property
    def num_heads(self) -> int:
        """The number of heads of a layer."""
        return self.d_inner // self.head_dim


class Mamba2Mixer(Mixer):
    """One Mamba-2 layer: projection, convolution, dual scan, gated norm, projection."""

    def __init__(self, config: Mamba2Config) -> None:
        super().__init__()
        self.sizes = [config.d_inner, config.d_state, config.d_state]
        convolved = sum(self.sizes)
        self.head_dim = config.head_dim
        width = config.d_inner + convolved + config.num_heads
        self.in_proj = nn.Linear(config.d_model, width, bias=False)
        self.conv1d = nn.Conv1d(convolved, convolved, config.d_conv, groups=convolved)
        self.dt_bias = nn.Parameter(torch.empty(config.num_heads))
        self.A_log = nn.Parameter(torch.empty(config.num_heads))
        self.D = nn.Parameter(torch.empty(config.num_heads))
        self.norm = RMSNorm(config.d_inner)
        self.out_proj = nn.Linear(config.d_inner, config.d_model, bias=False)

    def forward(
        self, hidden: Float[Tensor, "batch length width"], state: LayerState | None = None
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return the outputs and the layer's next state (last inputs, scan state)."""
        past, scan_state = state if state is not None else (None, None)
        sizes = [self.sizes[0], sum(self.sizes), len(self.dt_bias)]
        gate, inputs, step = self.in_proj(hidden).split(sizes, dim=-1)
        inputs, past = causal_convolution(
            inputs, self.conv1d.weight[:, 0], self.conv1d.bias, past, activation="silu"
        )
        values, write, read = torch.split(inputs, self.sizes, dim=-1)
        outputs, scan_state = state_space_dual(
            rearrange(values, "b t (h p) -> b t h p", p=self.head_dim),
            step,
            -torch.exp(self.A_log),
            write,
            read,
            scan_state,
            skip=self.D,
            delta_bias=self.dt_bias,
            softplus=True,
        )
        outputs = rearrange(outputs, "b t h p -> b t (h p)")
        return self.out_proj(self.norm(outputs * silu(gate))), (past, scan_state)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the parameters as the paper's code does (A uniform in [1, 16])."""
        for linear in (self.in_proj, self.conv1d, self.out_proj):
            initialize_linear(linear, generator)
        initialize_time_step(self.dt_bias, generator)
        self.A_log.uniform_(1, 16, generator=generator).log_()
        nn.init.ones_(self.D)
        nn.init.ones_(self.norm.weight)


@final
@MODELS.register("mamba2")
class Mamba2(MixerModel):
    """A stack of Mamba-2 layers; the weights open in `transformers.Mamba2ForCausalLM`."""

    Config = Mamba2Config

    def make_mixer(self) -> Mamba2Mixer:
        return Mamba2Mixer(self.config)

    def transformers_config(self) -> dict[str, Any]:
        return {
            "model_type": "mamba2",
            "architectures": ["Mamba2ForCausalLM"],
            "head_dim": self.config.head_dim,
            "num_heads": self.config.num_heads,
            "n_groups": 1,
            **self.common_transformers_config(),
        }
