"""Models out of compiled weights: those of `transformers`, and the one of this package."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import msgspec
import torch
from safetensors.torch import save
from torch import Tensor, nn
from transformers.models.mamba.modeling_mamba import MambaCausalLMOutput

from statespan.compiler.folder import MARK, build_model, prepare_folder
from statespan.models import MODELS
from statespan.models import build_model as build_own_model
from statespan.records import write_atomically

__all__ = ["OwnCausalModel", "causal_model", "is_own", "sizes", "write_own_folder"]


def is_own(config: Mapping[str, Any]) -> bool:
    """Return whether a compiled config is that of a model of this package only."""
    return "model_type" not in config


def write_own_folder(
    path: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    card: str,
    files: Mapping[str, Any],
) -> None:
    """Write config, weights, card and JSON files of a model that `transformers` does not have.

    Raises:
        InputError: the folder holds something else.
        StorageError: the folder or a file in it cannot be written.
    """
    prepare_folder(path)
    contents = {"config.json": {**config, MARK: {}}, **files}
    for name, value in contents.items():
        write_atomically(path / name, json.dumps(value, indent=2).encode())
    write_atomically(path / "README.md", card.encode())
    write_atomically(path / "model.safetensors", save(dict(tensors), metadata={"format": "pt"}))


def causal_model(config: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: str) -> Any:
    """Return the model of a compiled config, with its weights, in eval mode."""
    if is_own(config):
        return OwnCausalModel(config, tensors)
    return build_model(config, tensors, dtype)


def sizes(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return layers, width, and numbers of state as the target counts them."""
    if is_own(config):
        return config["layers"], config["d_model"], config["d_state"]
    layers, width = config["num_hidden_layers"], config["hidden_size"]
    if config["model_type"] == "olmo_hybrid":
        return layers, width, config["linear_key_head_dim"]
    return layers, width, config["state_size"]


@final
class OwnCausalModel(nn.Module):
    """A model of this package behind the calls that `transformers` models have."""

    def __init__(self, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        vocab_size = len(tensors["embeddings.weight"])
        settings = {key: value for key, value in config.items() if key != MARK}
        model_config = msgspec.convert(settings, MODELS.get(config["name"]).Config)
        self.inner = build_own_model(
            model_config,
            vocab_size=vocab_size,
            num_outputs=vocab_size,
            generator=torch.Generator(),
        )
        self.inner.load_state_dict(dict(tensors), strict=True)
        self.config = _Settings(str(config["name"]), vocab_size, model_config.d_model)
        self.train(mode=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return next(self.parameters()).dtype

    def forward(
        self, input_ids: Tensor, cache_params: Any = None, use_cache: bool = False
    ) -> MambaCausalLMOutput:
        """Return the logits and, if asked for, the state as `cache_params`."""
        output = self.inner(input_ids, cache_params)
        state = {"cache_params": output.state} if use_cache else {}
        return MambaCausalLMOutput(logits=output.logits, **state)


@final
class _Settings:
    """What readers of a config ask for."""

    def __init__(self, model_type: str, vocab_size: int, hidden_size: int) -> None:
        self.model_type = model_type
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.layer_types: list[str] = []
