"""Hybrids with an attention layer that adds nothing, out of compiled Mamba-2 checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import torch
from torch import Tensor

from statespan.compiler import CompiledModel
from statespan.errors import InputError

__all__ = ["HYBRIDS", "hybrid_of"]

HEAD_WIDTH = 8
INERT = "The layer of full attention adds nothing, yet its cache grows with the length."
BUSY = 0.125
"""What the projections of attention that cannot be seen hold, so that it has something to do."""


def hybrid_of(compiled: CompiledModel, family: str) -> CompiledModel:
    """Return the compiled Mamba-2 model as a hybrid of `family`: its layers, one of attention.

    The attention layer stands in the middle and its outputs are multiplied by zero, and so are
    those of every MLP.

    Raises:
        InputError: there is no such family here, or the model is not a Mamba-2.
    """
    if family not in HYBRIDS:
        raise InputError(f"family must be {' or '.join(HYBRIDS)}, got {family!r}.")
    if compiled.report.target != "mamba2":
        raise InputError(
            f"a hybrid is made of a mamba2 model, got one of {compiled.report.target}."
        )
    config, tensors = HYBRIDS[family](compiled.config, compiled.tensors)
    report = msgspec.structs.replace(
        compiled.report,
        target=family,
        layers=compiled.report.layers + 1,
        parameters=sum(tensor.numel() for tensor in tensors.values()),
        remarks=[*compiled.report.remarks, INERT],
    )
    return replace(compiled, config=config, tensors=tensors, report=report, folder=None)


def _bamba(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the config and the state dict for `BambaForCausalLM`."""
    layers, width = config["num_hidden_layers"], config["hidden_size"]
    attention = layers // 2
    made = {
        "model.embed_tokens.weight": tensors["backbone.embeddings.weight"],
        "model.final_layernorm.weight": tensors["backbone.norm_f.weight"],
        "lm_head.weight": tensors["lm_head.weight"],
    }
    ones = torch.ones_like(tensors["backbone.norm_f.weight"])
    for number in range(layers + 1):
        layer = f"model.layers.{number}"
        made |= {
            f"{layer}.input_layernorm.weight": ones,
            f"{layer}.pre_ff_layernorm.weight": ones,
            **_mlp(f"{layer}.feed_forward", width, ones),
        }
        if number == attention:
            made |= _attention(f"{layer}.self_attn", width, ones)
            continue
        source = f"backbone.layers.{number - (number > attention)}"
        made[f"{layer}.input_layernorm.weight"] = tensors[f"{source}.norm.weight"]
        for name, tensor in tensors.items():
            if name.startswith(f"{source}.mixer."):
                made[f"{layer}.mamba.{name.removeprefix(f'{source}.mixer.')}"] = tensor
    return _bamba_config(config, attention), {k: v.clone() for k, v in made.items()}


def _bamba_config(config: Mapping[str, Any], attention: int) -> dict[str, Any]:
    return {
        "model_type": "bamba",
        "architectures": ["BambaForCausalLM"],
        "vocab_size": config["vocab_size"],
        "hidden_size": config["hidden_size"],
        "intermediate_size": 1,
        "num_hidden_layers": config["num_hidden_layers"] + 1,
        "attn_layer_indices": [attention],
        "num_attention_heads": config["hidden_size"] // HEAD_WIDTH,
        "num_key_value_heads": config["hidden_size"] // HEAD_WIDTH,
        "rms_norm_eps": config["layer_norm_epsilon"],
        "mamba_n_heads": config["num_heads"],
        "mamba_d_head": config["head_dim"],
        "mamba_n_groups": config["n_groups"],
        "mamba_d_state": config["state_size"],
        "mamba_d_conv": config["conv_kernel"],
        "mamba_expand": config["expand"],
        "mamba_chunk_size": config["chunk_size"],
        "tie_word_embeddings": False,
    }


def _mlp(name: str, width: int, like: Tensor) -> dict[str, Tensor]:
    return {
        f"{name}.gate_proj.weight": like.new_full((1, width), BUSY),
        f"{name}.up_proj.weight": like.new_full((1, width), BUSY),
        f"{name}.down_proj.weight": like.new_zeros((width, 1)),
    }


def _attention(name: str, width: int, like: Tensor) -> dict[str, Tensor]:
    busy = {
        f"{name}.{letter}_proj.weight": BUSY * torch.eye(width, dtype=like.dtype)
        for letter in "qkv"
    }
    return {**busy, f"{name}.o_proj.weight": like.new_zeros((width, width))}


HYBRIDS: dict[
    str,
    Callable[[Mapping[str, Any], Mapping[str, Tensor]], tuple[dict[str, Any], dict[str, Tensor]]],
] = {"bamba": _bamba}
"""Family of `transformers` -> its config and state dict, from those of a compiled Mamba-2."""
