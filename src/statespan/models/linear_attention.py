"""What layers with a matrix state a head share: projections, norm, gate, feed-forward.

A member says how the state, a matrix [key, value] a head, moves from token to token, and what is
read from it. Queries, keys and values are as wide as a head, d_model / heads.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from statespan.errors import ConfigError
from statespan.models.feed_forward import FedForwardMixer
from statespan.models.model import (
    LayerState,
    ModelConfig,
    RMSNorm,
    check_at_least,
    initialize_modules,
)
from statespan.models.ops import causal_convolution

__all__ = ["HeadsConfig", "LinearAttentionMixer"]


class HeadsConfig(ModelConfig, frozen=True, kw_only=True):
    """Sizes of a model whose layers have `heads` heads, each of width d_model / heads.

    A feed-forward layer of inner width `d_feedforward` follows each of them; 0 is none.
    """

    heads: int = 4
    d_feedforward: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, heads=self.heads)
        check_at_least(0, d_feedforward=self.d_feedforward)
        if self.d_model % self.heads:
            raise ConfigError(
                f"d_model must be a multiple of heads, got {self.d_model} and {self.heads}."
            )

    @property
    def head_dim(self) -> int:
        """The width of a head."""
        return self.d_model // self.heads


class LinearAttentionMixer(FedForwardMixer):
    """A layer with a matrix state a head: projections, the recurrence, norm, gate, projection.

    Keys and values are written `num_writes` times a token; queries, keys and values pass a causal
    convolution of `d_conv` tokens and silu first, if that is not 0.
    """

    def __init__(self, config: HeadsConfig, *, d_conv: int = 0, num_writes: int = 1) -> None:
        super().__init__(config.d_model, config.d_feedforward)
        width = config.d_model
        self.head_dim = config.head_dim
        self.sizes = [width, num_writes * width, num_writes * width]
        inner = sum(self.sizes)
        self.in_proj = nn.Linear(width, inner + width, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, d_conv, groups=inner) if d_conv else None
        self.norm = RMSNorm(config.head_dim)
        self.out_proj = nn.Linear(width, width, bias=False)

    def forward(
        self, hidden: Float[Tensor, "batch length width"], state: LayerState | None = None
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return the outputs and the next state: the last inputs if convolved, then the rest."""
        inputs, gate = torch.split(self.in_proj(hidden), [sum(self.sizes), self.sizes[0]], dim=-1)
        inputs, window, state = self._convolve(inputs, state)
        query, key, value = (
            rearrange(part, "b t (h d) -> b t h d", d=self.head_dim)
            for part in torch.split(inputs, self.sizes, dim=-1)
        )
        outputs, state = self.recur(hidden, query, key, value, state)
        outputs = rearrange(self.norm(outputs), "b t h d -> b t (h d)")
        return self.out_proj(outputs * silu(gate)), (*window, *state)

    @abstractmethod
    def recur(
        self,
        hidden: Float[Tensor, "batch length width"],
        query: Float[Tensor, "batch length head dim"],
        key: Float[Tensor, "batch length writes dim"],
        value: Float[Tensor, "batch length writes dim"],
        state: LayerState | None,
    ) -> tuple[Float[Tensor, "batch length head dim"], LayerState]:
        """Return what is read from the states, and the next state.

        `hidden` is the layer's input, of which decays and rates are made.
        """

    def initialize(self, generator: torch.Generator) -> None:
        """Draw all linear layers and the convolution; what a member adds is the member's."""
        initialize_modules(self, generator)

    def _convolve(
        self, inputs: Tensor, state: LayerState | None
    ) -> tuple[Tensor, LayerState, LayerState | None]:
        """Return the convolved inputs, the next window, and the state without its window."""
        if self.conv1d is None:
            return inputs, (), state
        past, rest = (None, None) if state is None else (state[0], state[1:])
        inputs, past = causal_convolution(
            inputs, self.conv1d.weight[:, 0], self.conv1d.bias, past, activation="silu"
        )
        return inputs, (past,), rest
