"""A dense transition by the input: a linear controlled differential equation in discrete time.

Its family: Muca Cirone et al. 2024 (arXiv:2402.19047), where h' = Σ_i A_i h x_i; SLiCE (Walker et
al. 2025, arXiv:2505.17761) with its blocks; the selective dense model (Terzić et al. 2024,
arXiv:2412.19350), which bounds the columns of its matrices. Blocks and bounded columns are here.
"""

from __future__ import annotations

from typing import final

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

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

__all__ = ["Dense", "DenseConfig", "DenseMixer", "dense_recurrence"]


class DenseConfig(HeadsConfig, frozen=True, tag="dense", kw_only=True):
    """Sizes of a dense recurrence: `heads` blocks of `d_state` numbers, a matrix each."""

    d_state: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, d_state=self.d_state)

    @property
    def family(self) -> str:
        return "products and dense"


def dense_recurrence(
    inputs: Float[Tensor, "batch length head state"],
    transition: Float[Tensor, "batch length head state state"],
    initial_state: Float[Tensor, "batch head state"],
) -> tuple[Float[Tensor, "batch length head state"], Float[Tensor, "batch head state"]]:
    """Return all states of h_t = A_t h_{t-1} + x_t, and the last one.

    Step by step, in torch: time and memory are linear in the length, and a step costs the starting
    of a few operations whatever its size.

    Example:
        >>> import torch
        >>> swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).expand(1, 3, 1, 2, 2)
        >>> states, last = dense_recurrence(torch.zeros(1, 3, 1, 2), swap, torch.eye(2)[:1, None])
        >>> states[0, :, 0].tolist()
        [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    """
    state = initial_state[..., None]
    states = []
    steps = zip(inputs[..., None].unbind(1), transition.unbind(1), strict=True)
    for added, matrix in steps:
        state = matrix @ state + added
        states.append(state)
    together = torch.stack(states, dim=1) if states else inputs[..., None]
    return together[..., 0], state[..., 0]


@final
class DenseMixer(FedForwardMixer):
    """h_t = A(x_t) h_{t-1} + B x_t, A(x) = I + Σ_i x_i A_i with no column's absolute sum above 1.

    A column that is above is divided by its sum. So permutations can be reached and no product of
    transitions grows: the norm that goes with absolute sums of columns is at most 1.
    """

    def __init__(self, config: DenseConfig) -> None:
        super().__init__(config.d_model, config.d_feedforward)
        self.heads, self.d_state = config.heads, config.d_state
        inner = config.heads * config.d_state
        self.transition_proj = nn.Linear(config.d_model, inner * config.d_state, bias=False)
        self.in_proj = nn.Linear(config.d_model, 2 * inner, bias=False)
        self.norm = RMSNorm(config.d_state)
        self.out_proj = nn.Linear(inner, config.d_model, bias=False)

    def forward(
        self, hidden: Float[Tensor, "batch length width"], state: LayerState | None = None
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return the outputs and the layer's next state (h)."""
        inputs, gate = self.in_proj(hidden).chunk(2, dim=-1)
        inputs = rearrange(inputs, "b t (h n) -> b t h n", h=self.heads)
        if state is None:
            state = (inputs.new_zeros(len(inputs), self.heads, self.d_state),)
        states, last = dense_recurrence(inputs, self.transition(hidden), state[0])
        outputs = rearrange(self.norm(states), "b t h n -> b t (h n)")
        return self.out_proj(outputs * silu(gate)), (last,)

    def transition(
        self, hidden: Float[Tensor, "batch length width"]
    ) -> Float[Tensor, "batch length head state state"]:
        """Return A(x) of each head and step."""
        moved = rearrange(
            self.transition_proj(hidden), "b t (h m n) -> b t h m n", h=self.heads, m=self.d_state
        )
        matrices: Tensor = moved + torch.eye(self.d_state, dtype=moved.dtype, device=moved.device)
        return matrices / matrices.abs().sum(-2, keepdim=True).clamp(min=1)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw all linear layers; those of the transition are small, so that A is near I."""
        initialize_modules(self, generator)
        self.transition_proj.weight.div_(self.d_state)


@final
@MODELS.register("dense")
class Dense(MixerModel):
    """A stack of dense recurrences with feed-forward layers between them."""

    Config = DenseConfig

    def make_mixer(self) -> DenseMixer:
        return DenseMixer(self.config)
