"""A hybrid: recurrent layers of any architecture here, and attention between them.

As Jamba (Lieber et al. 2024, arXiv:2403.19887) and its like: every so many layers one is attention,
without positions, to all tokens, to the last ones, or span-expanded (Nunez et al. 2024,
arXiv:2412.13328).
"""

from __future__ import annotations

from typing import Any, Literal, final

import msgspec
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

from statespan.errors import ConfigError
from statespan.memory import SpanAttention
from statespan.models.attend import attend
from statespan.models.feed_forward import FedForwardMixer
from statespan.models.linear_attention import HeadsConfig
from statespan.models.mamba import Mixer, MixerModel
from statespan.models.model import (
    MODELS,
    LayerState,
    ModelConfig,
    check_at_least,
    initialize_modules,
)
from statespan.records import to_struct

__all__ = ["AttentionMixer", "Hybrid", "HybridConfig"]


class HybridConfig(HeadsConfig, frozen=True, tag="hybrid", kw_only=True):
    """Which layers a hybrid has, and their sizes.

    Layers `every`, 2 · every and so on are attention of `heads` heads with a feed-forward layer;
    the others are of the architecture `recurrent`, `sizes` being what its config says beside layers
    and d_model. Attention is "full"; "sliding", to the last `window` tokens; or "span", to the own
    chunk of `window` tokens and to the `top_k` blocks of `block` tokens that the query chooses.
    """

    recurrent: str = "mamba"
    sizes: dict[str, Any] = msgspec.field(default_factory=dict)
    every: int = 2
    attention: Literal["full", "sliding", "span"] = "full"
    window: int = 32
    block: int = 8
    top_k: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(1, every=self.every, window=self.window, block=self.block, top_k=self.top_k)
        if self.every > self.layers:
            raise ConfigError(
                f"every must be at most layers, or no layer is attention, got {self.every} and "
                f"{self.layers}."
            )
        self.recurrent_config()
        self.span()

    @property
    def family(self) -> str | None:
        is_known = self.attention == "full"
        selective = self.recurrent_config().family == "non-negative selective"
        return "hybrid" if is_known and selective else None

    def recurrent_config(self) -> ModelConfig:
        """Return the config of the recurrent layers.

        Raises:
            ConfigError: `recurrent` is no stack of mixers, or `sizes` does not fit it.
            UnknownNameError: no architecture has the name `recurrent`.
        """
        model_class = MODELS.get(self.recurrent)
        if not issubclass(model_class, MixerModel) or model_class is Hybrid:
            raise ConfigError(
                "recurrent must be an architecture whose layers are recurrent mixers, as mamba is, "
                f"got {self.recurrent!r}."
            )
        if taken := {"layers", "d_model", "name"} & self.sizes.keys():
            raise ConfigError(f"sizes must leave {min(taken)} to the hybrid, got {self.sizes}.")
        table = {**self.sizes, "layers": self.layers, "d_model": self.d_model}
        return to_struct(table, model_class.Config, where="model.sizes")

    def span(self) -> SpanAttention:
        """Return what a layer of span-expanded attention looks back at."""
        return SpanAttention(
            chunk=self.window,
            block=self.block if self.attention == "span" else self.window,
            top_k=self.top_k,
            selection="token",
            summary="bound",
        )


@final
class AttentionMixer(FedForwardMixer):
    """Causal softmax attention without positions; the state is the keys and values of the past."""

    def __init__(self, config: HybridConfig) -> None:
        super().__init__(config.d_model, config.d_feedforward)
        width = config.d_model
        self.heads = config.heads
        self.window = config.window if config.attention == "sliding" else None
        self.span = config.span() if config.attention == "span" else None
        self.in_proj = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width, bias=False)

    def forward(
        self, hidden: Float[Tensor, "batch length width"], state: LayerState | None = None
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return the outputs and the layer's next state (keys, values)."""
        query, key, value = rearrange(
            self.in_proj(hidden), "b t (n h d) -> n b h t d", n=3, h=self.heads
        ).unbind(0)
        if state is not None:
            key, value = (torch.cat(pair, dim=2) for pair in zip(state, (key, value), strict=True))
        if self.span is None:
            seen = self._seen(query.shape[2], key.shape[2], key.device)
            outputs = scaled_dot_product_attention(query, key, value, attn_mask=seen)
        else:
            # Each token chooses by its own query, so that those of earlier ones are not missed.
            past = key.shape[2] - query.shape[2]
            outputs = attend(pad(query, (0, 0, past, 0)), key, value, self.span)[:, :, past:]
        if self.window is not None:
            kept = min(self.window - 1, key.shape[2])
            key, value = (part[:, :, part.shape[2] - kept :] for part in (key, value))
        return self.out_proj(rearrange(outputs, "b h t d -> b t (h d)")), (key, value)

    def _seen(self, length: int, total: int, device: torch.device) -> Tensor:
        """Return which token sees which key [length, total]; the last key is the last token's."""
        age = torch.arange(total - length, total, device=device)[:, None]
        age = age - torch.arange(total, device=device)
        return (age >= 0) if self.window is None else (age >= 0) & (age < self.window)

    def initialize(self, generator: torch.Generator) -> None:
        """Draw all linear layers."""
        initialize_modules(self, generator)


@final
@MODELS.register("hybrid")
class Hybrid(MixerModel):
    """A stack of recurrent layers, every few of them attention."""

    Config = HybridConfig

    def make_mixers(self) -> list[Mixer]:
        numbers = range(1, self.config.layers + 1)
        return [
            self.make_mixer() if number % self.config.every else AttentionMixer(self.config)
            for number in numbers
        ]

    def make_mixer(self) -> Mixer:
        """Return a recurrent layer, made by a model of its architecture."""
        model_class = MODELS.get(self.config.recurrent)
        assert issubclass(model_class, MixerModel), "checked by the config"
        with torch.device("meta"):
            model = model_class(self.config.recurrent_config(), vocab_size=1, num_outputs=1)
        return model.make_mixer()
