"""A tiny hybrid with a tokenizer of its own, and text that has something to learn."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import torch

WORDS = ("the", "sea", "was", "calm", "and", "cold", "when", "we", "sailed", "north", ".")

HYBRID: dict[str, Any] = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 48,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_chunk_size": 8,
    "num_hidden_layers": 2,
    "attn_layer_indices": [1],
    "max_position_embeddings": 16,
    "tie_word_embeddings": True,
}
LLAMA: dict[str, Any] = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "max_position_embeddings": 16,
}
MAMBA: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "state_size": 4}
FAMILIES = {"bamba": HYBRID, "llama": LLAMA, "mamba": MAMBA}


def write_model(folder: Path, family: str = "bamba", **changes: Any) -> Path:
    """Write a folder with a model of random weights and a tokenizer of eleven words."""
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = make_tokenizer()
    settings = {
        **FAMILIES[family],
        "vocab_size": len(tokenizer),
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 1,
        **changes,
    }
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate(("<pad>", "<end>", "<unk>", *WORDS))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<end>", unk_token="<unk>"
    )


def write_text(folder: Path, *, words: int = 600, files: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = Random(0)
    for number in range(files):
        text = "\n".join(" ".join(rng.choices(WORDS, k=12)) for _ in range(words // 12))
        (folder / f"{number}.txt").write_text(text, "utf-8")
    return folder


def table(model: Path, text: Path, **changes: Any) -> dict[str, Any]:
    """Return a config that runs in a second or two."""
    return {
        "model": str(model),
        "text": str(text),
        "length": 64,
        "training": {"steps": 4, "rows": 2, "batch_size": 1, "checkpoint_every": 2, "threads": 1},
        "evaluation": {
            "suite": ["perplexity"],
            "lengths": [32, 64],
            "text": str(text),
            "perplexity": {"tokens": 128, "bins": 2},
            "threads": 1,
        },
        **changes,
    }
