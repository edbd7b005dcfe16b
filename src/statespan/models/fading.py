"""A decay a head by the input, as Mamba-2 has it (Dao and Gu 2024, arXiv:2405.21060)."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from statespan.models.mamba import initialize_time_step

__all__ = ["Fading"]


@final
class Fading(nn.Module):
    """The logarithm of the decay, -exp(a) softplus(W x + b): one a head and step, never above 0."""

    def __init__(self, d_model: int, heads: int) -> None:
        super().__init__()
        self.dt_proj = nn.Linear(d_model, heads)
        self.A_log = nn.Parameter(torch.empty(heads))

    def forward(
        self, hidden: Float[Tensor, "batch length width"]
    ) -> Float[Tensor, "batch length head"]:
        """Return the logarithms."""
        return -torch.exp(self.A_log) * softplus(self.dt_proj(hidden))

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the bias and a as Mamba-2's; the linear map is for the layer around to draw."""
        initialize_time_step(self.dt_proj.bias, generator)
        self.A_log.uniform_(1, 16, generator=generator).log_()
