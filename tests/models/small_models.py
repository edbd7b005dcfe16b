"""Every registered architecture in sizes that are quick to check: what the laws run over.

A new architecture is here by being registered: its config's fields get the sizes below, and
`VARIANTS` adds the settings that change what its layers do.
"""

from __future__ import annotations

from typing import Any

import msgspec
import torch

from statespan.models import MODELS, ModelConfig, SequenceModel, architecture, build_model

__all__ = ["CONFIGS", "VOCAB", "draw_tokens", "make", "one_layer"]

VOCAB = 7

SIZES: dict[str, int] = {
    "layers": 2,
    "d_model": 16,
    "d_state": 4,
    "d_hidden": 24,
    "heads": 2,
    "head_dim": 8,
    "d_feedforward": 24,
    "decay_rank": 4,
}

VARIANTS: dict[str, list[dict[str, Any]]] = {
    "mamba": [{}, {"layers": 3, "d_model": 10, "d_state": 3, "dt_rank": 4}],
    "s4d": [{"spectrum": "complex"}, {"spectrum": "real"}],
    "deltanet": [{"max_rate": 1}, {"max_rate": 2}],
    "gated-deltanet": [{"max_rate": 1}, {"max_rate": 2}],
    "deltaproduct": [{}, {"factors": 3, "gated": False}, {"factors": 1}],
    "gla": [{}, {"d_feedforward": 0}],
    "hybrid": [
        {"window": 4, "block": 2, "recurrent": recurrent, "sizes": sizes, "attention": attention}
        for recurrent, sizes, attention in (
            ("mamba", {"d_state": 4}, "full"),
            ("deltanet", {"heads": 2}, "sliding"),
            ("rg-lru", {}, "span"),
        )
    ],
    "transformer": [{"positions": name} for name in ("none", "learned", "rotary")],
}


def _small(name: str, changes: dict[str, Any]) -> ModelConfig:
    config = MODELS.get(name).Config
    fields = {field.name for field in msgspec.structs.fields(config)}
    return config(**{key: size for key, size in SIZES.items() if key in fields} | changes)


CONFIGS: dict[str, list[ModelConfig]] = {
    name: [_small(name, changes) for changes in VARIANTS.get(name, [{}])] for name in MODELS.names()
}


def one_layer(config: ModelConfig) -> ModelConfig:
    """Return the same with one layer; a hybrid has two kinds of them at the least."""
    if architecture(config) == "hybrid":
        return config
    return msgspec.structs.replace(config, layers=1)


def make(config: ModelConfig, seed: int = 0) -> SequenceModel:
    """Return a model whose weights are large enough for the state to matter."""
    model = build_model(
        config, vocab_size=VOCAB, num_outputs=VOCAB, generator=torch.Generator().manual_seed(seed)
    )
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(2)
    return model


def draw_tokens(length: int, batch: int = 3) -> torch.Tensor:
    """Return random token ids."""
    return torch.randint(0, VOCAB, (batch, length), generator=torch.Generator().manual_seed(1))
