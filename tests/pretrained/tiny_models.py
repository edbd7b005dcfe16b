"""Tiny random models of every family of `transformers` that this package knows how to treat."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

TOKENS: dict[str, Any] = {
    "vocab_size": 32,
    "hidden_size": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ATTENTION: dict[str, Any] = {
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 48,
}
HEADS: dict[str, Any] = {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 2,
    "mamba_d_state": 8,
    "mamba_chunk_size": 8,
}
DELTA: dict[str, Any] = {
    "num_hidden_layers": 3,
    "layer_types": ["linear_attention", "linear_attention", "full_attention"],
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 16,
    "head_dim": 16,
}
EXPERTS: dict[str, Any] = {"num_experts": 2, "num_experts_per_tok": 1}
SHARED: dict[str, Any] = {
    **ATTENTION,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
    "layers_block_type": ["linear_attention", "hybrid"] * 2,
    "mamba_d_state": 8,
}

FAMILIES: dict[str, dict[str, Any]] = {
    "mamba": {"num_hidden_layers": 2, "state_size": 8, "time_step_rank": 4},
    "falcon_mamba": {"num_hidden_layers": 2, "state_size": 8, "time_step_rank": 4},
    "mamba2": {
        "num_hidden_layers": 2,
        "state_size": 8,
        "num_heads": 4,
        "head_dim": 16,
        "n_groups": 2,
        "chunk_size": 8,
    },
    "jamba": {
        **ATTENTION,
        **EXPERTS,
        "num_hidden_layers": 3,
        "attn_layer_period": 3,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
    },
    "bamba": {**ATTENTION, **HEADS, "num_hidden_layers": 3, "attn_layer_indices": [1]},
    "granitemoehybrid": {
        **ATTENTION,
        **HEADS,
        "num_hidden_layers": 3,
        "layer_types": ["mamba", "attention", "mamba"],
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
        "shared_intermediate_size": 16,
    },
    "nemotron_h": {
        **ATTENTION,
        "hybrid_override_pattern": "M*M-",
        "num_hidden_layers": 4,
        "mamba_num_heads": 4,
        "mamba_head_dim": 16,
        "n_groups": 2,
        "ssm_state_size": 8,
        "chunk_size": 8,
        "head_dim": 16,
    },
    "falcon_h1": {**ATTENTION, **HEADS, "num_hidden_layers": 2, "mamba_d_ssm": 64, "head_dim": 16},
    "zamba": {**SHARED, "n_mamba_heads": 2, "mamba_dt_rank": 4},
    "zamba2": {
        **SHARED,
        "n_mamba_heads": 4,
        "mamba_ngroups": 2,
        "mamba_headdim": 16,
        "chunk_size": 8,
        "num_mem_blocks": 1,
        "use_mem_rope": True,
        "adapter_rank": 4,
    },
    "qwen3_next": {
        **ATTENTION,
        **EXPERTS,
        **DELTA,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    },
    "qwen3_5_text": {**ATTENTION, **DELTA},
    "qwen3_5_moe_text": {
        **ATTENTION,
        **EXPERTS,
        **DELTA,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
    },
    "olmo_hybrid": {**ATTENTION, **DELTA},
}
"""The settings of each `model_type` whose mixers are sped up, beside those of `TOKENS`."""

PURE = frozenset({"mamba", "mamba2", "falcon_mamba"})
"""Models without attention: they call their cache `cache_params` and know no positions."""

LATENT: dict[str, Any] = {
    **ATTENTION,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
    "layer_types": ["linear_attention", "full_attention", "linear_attention"],
    "mlp_layer_types": ["dense", "dense", "sparse"],
    "kv_lora_rank": 12,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 16,
    "v_head_dim": 20,
    "moe_intermediate_size": 16,
    "num_local_experts": 2,
    "num_experts_per_tok": 1,
}
SPAN_FAMILIES: dict[str, dict[str, Any]] = {
    **{name: settings for name, settings in FAMILIES.items() if name not in PURE},
    "granitemoehybrid/rope": {
        **FAMILIES["granitemoehybrid"],
        "position_embedding_type": "rope",
        "attention_multiplier": 0.3,
    },
    "zamba2/nope": {**FAMILIES["zamba2"], "use_mem_rope": False},
    "zamba2/adapters": {**FAMILIES["zamba2"], "use_shared_attention_adapter": True},
    "zamba2/blocks": {
        **FAMILIES["zamba2"],
        "num_hidden_layers": 6,
        "layers_block_type": ["linear_attention", "hybrid"] * 3,
        "num_mem_blocks": 2,
    },
    "olmo_hybrid/nope": {
        **FAMILIES["olmo_hybrid"],
        "rope_parameters": {"rope_type": "default", "rope_theta": None},
    },
    "lfm2": {
        **ATTENTION,
        "num_hidden_layers": 3,
        "layer_types": ["conv", "full_attention", "conv"],
        "block_auto_adjust_ff_dim": False,
    },
    "lfm3": {
        **ATTENTION,
        "num_hidden_layers": 4,
        "layer_types": ["conv", "full_attention", "sliding_attention", "full_attention"],
        "head_dim": 16,
        "sliding_window": 8,
    },
    "kimi_linear": {**LATENT, "linear_head_dim": 16, "linear_num_heads": 2},
    "kimi_linear/low_rank": {
        **LATENT,
        "linear_head_dim": 16,
        "linear_num_heads": 2,
        "q_lora_rank": 10,
    },
    "bailing_hybrid": {**LATENT, "head_dim": 16, "n_group": 1, "topk_group": 1},
    "zaya": {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_hidden_layers": 2,
        "head_dim": 16,
        "moe_intermediate_size": 16,
        "num_experts": 2,
        "router_hidden_size": 8,
    },
    "llama": {**ATTENTION, "num_hidden_layers": 2},
    "llama/tied": {**ATTENTION, "num_hidden_layers": 2, "tie_word_embeddings": True},
    "mistral": {**ATTENTION, "num_hidden_layers": 2, "sliding_window": 8},
    "qwen3": {**ATTENTION, "num_hidden_layers": 2, "head_dim": 16},
}
"""The settings of each model with attention that may span: a `model_type`, or one and a variant."""


def tiny_model(family: str, dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """Return a model in evaluation mode, with weights that make its states matter."""
    settings = SPAN_FAMILIES.get(family) or FAMILIES[family]
    config = AutoConfig.for_model(family.partition("/")[0], **{**TOKENS, **settings, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith((".D", "dt_bias", "dt_proj.bias", "conv1d.bias", "in_proj.bias")):
                    parameter.add_(torch.randn_like(parameter) / 2)
                elif name.endswith("qk_norm.temp"):  # zero at first, so that every key looks alike
                    parameter.add_(1 + torch.rand_like(parameter))
                elif parameter.ndim > 1 and not name.endswith("A_log"):
                    parameter.mul_(2)
    return model.eval().to(dtype)


def tokens(batch: int = 2, length: int = 19, seed: int = 0) -> Tensor:
    """Return token ids, none of them special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(3, TOKENS["vocab_size"], (batch, length), generator=generator)


def cache_name(model: Any) -> str:
    """Return the name of the argument, and of the output, that holds the cache."""
    return "cache_params" if model.config.model_type in PURE else "past_key_values"


@torch.no_grad()
def in_pieces(model: Any, ids: Tensor, lengths: list[int]) -> tuple[Tensor, Any]:
    """Return the logits of `ids` given piece by piece, and the cache after them."""
    cache, begin, logits = None, 0, []
    for length in lengths:
        more = {} if cache is None else {cache_name(model): cache}
        if model.config.model_type not in PURE:
            more["position_ids"] = torch.arange(begin, begin + length)[None]
        output = model(ids[:, begin : begin + length], use_cache=True, **more)
        cache, begin = output[cache_name(model)], begin + length
        logits.append(output.logits)
    return torch.cat(logits, dim=1), cache


def states(cache: Any) -> dict[str, Tensor]:
    """Return every convolution window and recurrent state in a cache by name."""
    return {
        f"{kind}[{layer}][{index}]": state
        for layer, entry in enumerate(cache.layers)
        for kind in ("conv_states", "recurrent_states")
        for index, state in getattr(entry, kind, {}).items()
        if state is not None
    }
