"""What mixes at each position by itself: a gated feed-forward layer, alone or after a mixer."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from statespan.models.mamba import Mixer
from statespan.models.model import LayerState, RMSNorm

__all__ = ["FedForwardMixer", "FeedForward"]


class FeedForward(nn.Module):
    """A gated feed-forward layer (SwiGLU; Shazeer 2020, arXiv:2002.05202, equation 6)."""

    def __init__(self, d_model: int, d_feedforward: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(d_model, d_feedforward, bias=False)
        self.up_proj = nn.Linear(d_model, d_feedforward, bias=False)
        self.down_proj = nn.Linear(d_feedforward, d_model, bias=False)

    def forward(
        self, hidden: Float[Tensor, "batch length width"]
    ) -> Float[Tensor, "batch length width"]:
        """Return the outputs, position by position."""
        outputs: Tensor = self.down_proj(silu(self.gate_proj(hidden)) * self.up_proj(hidden))
        return outputs


class FedForwardMixer(Mixer):
    """A mixer that a feed-forward layer of inner width `d_feedforward` follows; 0 is none."""

    def __init__(self, d_model: int, d_feedforward: int) -> None:
        super().__init__()
        self.mlp_norm = RMSNorm(d_model) if d_feedforward else None
        self.mlp = FeedForward(d_model, d_feedforward) if d_feedforward else None

    def forward_block(
        self, hidden: Float[Tensor, "batch length width"], state: LayerState | None, norm: RMSNorm
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return the stream with the mixer's outputs and then the feed-forward layer's added."""
        hidden, state = super().forward_block(hidden, state, norm)
        if self.mlp is not None and self.mlp_norm is not None:
            hidden = hidden + self.mlp(self.mlp_norm(hidden))
        return hidden, state
