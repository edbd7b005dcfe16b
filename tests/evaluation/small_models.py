"""A tokenizer made on the spot, and a tiny random model that goes with it."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from statespan.evaluation import LanguageModel, default_prose

VOCABULARY = 1024


@cache
def bytes_tokenizer(*, leading: bool = False) -> Any:
    """Return a byte-level BPE of 1,024 tokens, trained on the shipped novel's beginning."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<begin>", "<end>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator([default_prose()[:50_000]], trainer)
    if leading:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<begin> $A <end>", special_tokens=[("<begin>", 0), ("<end>", 1)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<begin>", eos_token="<end>"
    )


def words_tokenizer(text: str) -> dict[str, list[str]]:
    """Call each word a token."""
    return {"input_ids": text.split()}


def tiny_llama(vocabulary: int = VOCABULARY) -> Any:
    """Return a random model of 84 thousand parameters."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        bos_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(0)
        model = LlamaForCausalLM(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(4)
    return model


def tiny(*, leading: bool = False) -> LanguageModel:
    """Return the model with its tokenizer."""
    return LanguageModel(tiny_llama(), bytes_tokenizer(leading=leading), "tiny")


def save_tiny(folder: Path) -> Path:
    """Write the model and its tokenizer, and return the folder."""
    model = tiny()
    model.model.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder
