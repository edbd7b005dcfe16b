"""A causal softmax transformer, with rotary, learned or no positions."""

from __future__ import annotations

from typing import Any, Literal

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from statespan.errors import ConfigError, LengthError
from statespan.models.feed_forward import FeedForward
from statespan.models.model import (
    MODELS,
    Embeddings,
    Inputs,
    LayerState,
    ModelConfig,
    ModelState,
    Output,
    RMSNorm,
    SequenceModel,
    check_at_least,
    initialize_linear,
)

__all__ = ["Transformer", "TransformerConfig"]

ROTARY_BASE = 10_000.0


class TransformerConfig(ModelConfig, frozen=True, tag="transformer", kw_only=True):
    """Sizes of a transformer.

    `positions` is "rotary" (Su et al. 2021), "learned" (at most `max_length` tokens) or "none".
    """

    heads: int = 4
    d_feedforward: int = 256
    positions: Literal["none", "learned", "rotary"] = "none"
    max_length: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(
            1, heads=self.heads, d_feedforward=self.d_feedforward, max_length=self.max_length
        )
        if self.d_model % (2 * self.heads):
            raise ConfigError(
                f"d_model must be an even multiple of heads, got {self.d_model} and {self.heads}."
            )

    @property
    def max_tokens(self) -> int | None:
        return self.max_length if self.positions == "learned" else None

    @property
    def family(self) -> str:
        return "transformer" if self.positions == "none" else "transformer with positions"


class Attention(nn.Module):
    """Causal softmax attention over all that came before."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        width = config.d_model
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width, bias=False)
        self.o_proj = nn.Linear(width, width, bias=False)

    def forward(
        self,
        hidden: Float[Tensor, "batch length width"],
        rotation: tuple[Tensor, Tensor] | None,
        state: LayerState | None,
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return the outputs, and all keys and values so far."""
        query, key, value = (
            rearrange(project(hidden), "b t (h d) -> b h t d", h=self.heads)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        if rotation is not None:
            query, key = (_rotate(tensor, *rotation) for tensor in (query, key))
        if state is not None:
            key, value = torch.cat((state[0], key), dim=2), torch.cat((state[1], value), dim=2)
        length, total = query.shape[2], key.shape[2]
        seen = torch.ones(length, total, dtype=torch.bool, device=key.device).tril(total - length)
        outputs = scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return self.o_proj(rearrange(outputs, "b h t d -> b t (h d)")), (key, value)


def _rotate(
    tensor: Float[Tensor, "batch head length dim"],
    cosine: Float[Tensor, "length dim"],
    sine: Float[Tensor, "length dim"],
) -> Float[Tensor, "batch head length dim"]:
    first, second = tensor.chunk(2, dim=-1)
    return tensor * cosine + torch.cat((-second, first), dim=-1) * sine


class DecoderLayer(nn.Module):
    """Attention and feed-forward, each behind a norm, beside a residual stream."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.d_model)
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config.d_model)
        self.mlp = FeedForward(config.d_model, config.d_feedforward)

    def forward(
        self,
        hidden: Float[Tensor, "batch length width"],
        rotation: tuple[Tensor, Tensor] | None,
        state: LayerState | None,
    ) -> tuple[Float[Tensor, "batch length width"], LayerState]:
        """Return the residual stream after this layer, and all keys and values so far."""
        attended, state = self.self_attn(self.input_layernorm(hidden), rotation, state)
        hidden = hidden + attended
        return hidden + self.mlp(self.post_attention_layernorm(hidden)), state


class Decoder(nn.Module):
    """Embeddings, layers and a final norm, with the names that `transformers` gives a Llama."""

    def __init__(self, config: TransformerConfig, *, vocab_size: int) -> None:
        super().__init__()
        self.embed_tokens = Embeddings(vocab_size, config.d_model)
        if config.positions == "learned":
            self.embed_positions = nn.Embedding(config.max_length, config.d_model)
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.d_model)


@MODELS.register("transformer")
class Transformer(SequenceModel):
    """A causal transformer; with rotary positions the weights open in `LlamaForCausalLM`."""

    Config = TransformerConfig

    def __init__(self, config: ModelConfig, *, vocab_size: int, num_outputs: int) -> None:
        super().__init__(config, vocab_size=vocab_size, num_outputs=num_outputs)
        self.model = Decoder(self.config, vocab_size=vocab_size)
        self.lm_head = nn.Linear(config.d_model, num_outputs, bias=False)

    def forward(self, tokens: Inputs, state: ModelState | None = None) -> Output:
        past = 0 if state is None else state[0][0].shape[2]
        positions = torch.arange(past, past + tokens.shape[1], device=tokens.device)
        hidden = self.model.embed_tokens(tokens)
        rotation = None
        if self.config.positions == "learned":
            hidden = hidden + self._embed_positions(positions)
        elif self.config.positions == "rotary":
            rotation = self._rotation(positions, hidden.dtype)
        states: list[LayerState] = []
        for index, layer in enumerate(self.model.layers):
            hidden, layer_state = layer(hidden, rotation, None if state is None else state[index])
            states.append(layer_state)
        return Output(self.lm_head(self.model.norm(hidden)), tuple(states))

    def initialize(self, generator: torch.Generator) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                initialize_linear(module, generator)
            elif isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02, generator=generator)
            elif isinstance(module, RMSNorm):
                nn.init.ones_(module.weight)

    def transformers_config(self) -> dict[str, Any] | None:
        config: TransformerConfig = self.config
        if config.positions != "rotary":
            return None
        return {
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "vocab_size": self.vocab_size,
            "hidden_size": config.d_model,
            "intermediate_size": config.d_feedforward,
            "num_hidden_layers": config.layers,
            "num_attention_heads": config.heads,
            "max_position_embeddings": config.max_length,
            "rms_norm_eps": self.model.norm.epsilon,
            "rope_parameters": {"rope_type": "default", "rope_theta": ROTARY_BASE},
            "tie_word_embeddings": False,
        }

    def _embed_positions(self, positions: Int[Tensor, " length"]) -> Float[Tensor, "length width"]:
        limit = self.config.max_length
        if len(positions) and int(positions[-1]) >= limit:
            raise LengthError(
                f"learned positions reach max_length {limit}, got {int(positions[-1]) + 1} tokens."
            )
        embedded: Tensor = self.model.embed_positions(positions)
        return embedded

    def _rotation(
        self, positions: Int[Tensor, " length"], dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        dim = self.config.d_model // self.config.heads
        exponents = torch.arange(0, dim, 2, dtype=torch.float32, device=positions.device) / dim
        angles = positions[:, None].float() / ROTARY_BASE**exponents
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(dtype), angles.sin().to(dtype)
