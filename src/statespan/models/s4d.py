"""S4D (Gu et al. 2022, arXiv:2206.11893): a diagonal recurrence that is the same at every step."""

from __future__ import annotations

import math
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, glu

from statespan.errors import ConfigError
from statespan.models.mamba import Mixer, MixerModel
from statespan.models.model import (
    MODELS,
    LayerState,
    ModelConfig,
    check_at_least,
    initialize_modules,
)
from statespan.models.ops import diagonal_recurrence

__all__ = ["S4D", "S4DConfig", "S4DMixer"]


class S4DConfig(ModelConfig, frozen=True, tag="s4d", kw_only=True):
    """Sizes of an S4D: `d_state` real numbers a channel, d_model channels.

    With the `spectrum` "complex" they are d_state / 2 complex ones and A begins as S4D-Lin; with
    "real" A is real and begins as S4D-Real.
    """

    d_state: int = 16
    spectrum: Literal["complex", "real"] = "complex"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, d_state=self.d_state)
        if self.spectrum == "complex" and self.d_state % 2:
            raise ConfigError(f"d_state must be even with a complex spectrum, got {self.d_state}.")

    @property
    def family(self) -> str:
        return "time-invariant complex" if self.spectrum == "complex" else "fixed real decay"

    @property
    def num_modes(self) -> int:
        """The numbers of a channel's state, real or complex."""
        return self.d_state // 2 if self.spectrum == "complex" else self.d_state


@final
class S4DMixer(Mixer):
    """h_t = exp(ΔA) h_{t-1} + (exp(ΔA) - 1) / A x_t, y_t = Re(C h_t) + D x_t, then GELU and GLU.

    Discretized by zero-order hold; B is 1, as C alone has all its freedom.
    """

    def __init__(self, config: S4DConfig) -> None:
        super().__init__()
        shape = (config.d_model, config.num_modes)
        self.is_complex = config.spectrum == "complex"
        self.log_dt = nn.Parameter(torch.empty(config.d_model))
        self.A_log = nn.Parameter(torch.empty(shape))
        self.A_imag = nn.Parameter(torch.empty(shape)) if self.is_complex else None
        self.C = nn.Parameter(torch.empty(2 if self.is_complex else 1, *shape))
        self.D = nn.Parameter(torch.empty(config.d_model))
        self.out_proj = nn.Linear(config.d_model, 2 * config.d_model)

    def forward(
        self, hidden: Float[Tensor, "batch length width"], state: LayerState | None = None
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return the outputs and the layer's next state [batch, width · modes], maybe complex."""
        rate = -torch.exp(self.A_log)
        if self.A_imag is not None:
            rate = torch.complex(rate, self.A_imag)
        exponent = torch.exp(self.log_dt)[:, None] * rate
        decay = torch.exp(exponent)
        scale = torch.expm1(exponent) / rate
        inputs = (hidden[..., None] * scale).flatten(-2)
        states, last = diagonal_recurrence(
            inputs, decay.flatten().expand_as(inputs), None if state is None else state[0]
        )
        states = states.view(*hidden.shape, scale.shape[1])
        if self.A_imag is None:
            outputs = (states * self.C[0]).sum(-1)
        else:
            outputs = 2 * (states.real * self.C[0] - states.imag * self.C[1]).sum(-1)
        return glu(self.out_proj(gelu(outputs + self.D * hidden))), (last,)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the parameters: A = -1/2 + iπn or -(n + 1), steps log-uniform in [0.001, 0.1]."""
        initialize_modules(self, generator)
        nn.init.uniform_(self.log_dt, math.log(1e-3), math.log(1e-1), generator=generator)
        modes = torch.arange(self.A_log.shape[1])
        if self.A_imag is None:
            self.A_log.copy_((modes + 1).log().expand_as(self.A_log))
        else:
            self.A_log.fill_(math.log(0.5))
            self.A_imag.copy_((math.pi * modes).expand_as(self.A_imag))
        nn.init.normal_(self.C, std=0.5**0.5 if self.A_imag is not None else 1, generator=generator)
        nn.init.normal_(self.D, generator=generator)


@final
@MODELS.register("s4d")
class S4D(MixerModel):
    """A stack of S4D layers."""

    Config = S4DConfig

    def make_mixer(self) -> S4DMixer:
        return S4DMixer(self.config)
