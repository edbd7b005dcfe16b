"""A small hybrid of Mamba-2 and attention from random weights: a Bamba of `transformers`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from statespan.errors import ConfigError
from statespan.records import write_atomically
from statespan.records.storage import storage_error

__all__ = [
    "HybridConfig",
    "build_hybrid",
    "hybrid_weights",
    "load_weights",
    "round_weights",
    "save_hybrid",
]

AtLeast1: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]

BLOCK = re.compile(r"model\.layers\.\d+\.(mamba|self_attn)\.")

DELTA = (1e-3, 1e-1)
DECAY = (1.0, 16.0)
"""Ranges of Δ and -A at first, as in Mamba-2 (Dao and Gu 2024)."""


class HybridConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The sizes of a hybrid: blocks of Mamba-2, some of them attention instead.

    Each block is a mixer, or attention, and a gated feed-forward network. Half of the dimensions of
    a head of attention have rotary positions. Embeddings and head are one matrix.

    Attributes:
        attention_layers: which blocks are attention, counted from 0.
        heads: of attention; `key_value_heads` of them have keys and values of their own.
        mixer_head_dim: width of a head of Mamba-2, whose heads are 2 · d_model wide together.
        d_state: width of the state of each channel.
    """

    layers: AtLeast1 = 10
    attention_layers: list[Annotated[int, msgspec.Meta(ge=0)]] = msgspec.field(
        default_factory=lambda: [5]
    )
    d_model: AtLeast1 = 128
    d_feedforward: AtLeast1 = 256
    heads: AtLeast1 = 4
    key_value_heads: AtLeast1 = 4
    mixer_head_dim: AtLeast1 = 32
    d_state: AtLeast1 = 32

    def __post_init__(self) -> None:
        if any(layer >= self.layers for layer in self.attention_layers):
            raise ConfigError(
                f"model.attention_layers must be below model.layers, {self.layers}, got "
                f"{self.attention_layers}."
            )
        if set(self.attention_layers) >= set(range(self.layers)):
            raise ConfigError("model.attention_layers must leave a block for Mamba-2, got all.")
        quarter = self.d_model // 4 if self.d_model % 4 == 0 else 1
        for name, what, whole, part in (
            ("heads", "a quarter of model.d_model", quarter, self.heads),
            ("mixer_head_dim", "twice model.d_model", 2 * self.d_model, self.mixer_head_dim),
            ("key_value_heads", "model.heads", self.heads, self.key_value_heads),
        ):
            if whole % part:
                raise ConfigError(f"model.{name} must divide {what}, got {part} and {whole}.")


def build_hybrid(
    config: HybridConfig,
    *,
    vocab_size: int,
    context: int,
    end_id: int,
    pad_id: int,
    generator: torch.Generator,
) -> Any:
    """Return a `BambaForCausalLM` with random weights drawn from `generator` alone."""
    transformers: Any = import_module("transformers")
    settings = transformers.BambaConfig(
        vocab_size=vocab_size,
        hidden_size=config.d_model,
        intermediate_size=config.d_feedforward,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        num_key_value_heads=config.key_value_heads,
        attn_layer_indices=config.attention_layers,
        mamba_n_heads=2 * config.d_model // config.mixer_head_dim,
        mamba_d_head=config.mixer_head_dim,
        mamba_n_groups=1,
        mamba_d_state=config.d_state,
        mamba_expand=2,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=end_id,
        eos_token_id=end_id,
        pad_token_id=pad_id,
        architectures=["BambaForCausalLM"],
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):  # `transformers` draws from the global generator
        model = transformers.BambaForCausalLM(settings)
    _initialize(model, config, generator)
    return model


@torch.no_grad()
def _initialize(model: nn.Module, config: HybridConfig, generator: torch.Generator) -> None:
    for name, parameter in model.named_parameters():
        _, _, kind = name.rpartition(".")
        if kind == "A_log":
            parameter.uniform_(*DECAY, generator=generator).log_()
        elif kind == "dt_bias":
            _spread_delta(parameter, generator)
        elif "conv1d" in name:
            bound = 1 / math.sqrt(model.get_parameter(name.replace("bias", "weight")).shape[-1])
            parameter.uniform_(-bound, bound, generator=generator)
        elif parameter.ndim > 1:
            is_last = name.endswith(("out_proj.weight", "o_proj.weight", "down_proj.weight"))
            fan = parameter.shape[-1] * (2 * config.layers if is_last else 1)
            parameter.normal_(0, 1 / math.sqrt(fan), generator=generator)
    _match_queries(model, config)


def _match_queries(model: nn.Module, config: HybridConfig) -> None:
    """Let each query be the key of its head, so that a token first looks at what is like it.

    Recall is learned much sooner from there ("mimetic initialization", arXiv 2305.09828).
    """
    group = config.heads // config.key_value_heads
    for layer in config.attention_layers:
        attention = f"model.layers.{layer}.self_attn"
        keys = model.get_parameter(f"{attention}.k_proj.weight")
        heads = keys.view(config.key_value_heads, -1, config.d_model)
        queries = heads.repeat_interleave(group, dim=0).flatten(0, 1)
        model.get_parameter(f"{attention}.q_proj.weight").copy_(queries)


def _spread_delta(bias: Tensor, generator: torch.Generator) -> None:
    """Let Δ, the softplus of `bias`, be spread over its range evenly on a logarithmic scale."""
    low, high = map(math.log, DELTA)
    delta = bias.uniform_(low, high, generator=generator).exp()
    bias.copy_(delta + torch.log(-torch.expm1(-delta)))


def hybrid_weights(model: nn.Module) -> bytes:
    """Return a hybrid's safetensors file in bfloat16, without the head, which is the embedding."""
    weights = {
        name: parameter.detach().bfloat16().contiguous()
        for name, parameter in model.named_parameters()
    }
    return save(weights, metadata={"format": "pt"})


@torch.no_grad()
def load_weights(model: nn.Module, content: bytes, source: str) -> None:
    """Put weights that `save_hybrid` wrote into a hybrid; `source` names them in an error.

    A block that is attention there and a mixer here, or the other way round, keeps its own.

    Raises:
        ConfigError: they are of no hybrid with these sizes.
    """
    wanted = dict(model.named_parameters())
    try:
        found = load(content)
    except SafetensorError as error:
        raise ConfigError(f"{source} is no safetensors file: {error}.") from error
    exchanged = _blocks(wanted) ^ _blocks(found)
    for name in sorted(wanted.keys() | found.keys()):
        if _block(name) in exchanged:
            continue
        need, came = (
            tuple(weights[name].shape) if name in weights else "nothing"
            for weights in (wanted, found)
        )
        if need != came:
            raise ConfigError(f"{source} does not fit the model: {name} is {need}, got {came}.")
    for name, parameter in wanted.items():
        if _block(name) not in exchanged:
            parameter.copy_(found[name])


def _block(name: str) -> str | None:
    """Return the attention or the mixer that a parameter is of, as the start of its name."""
    match = BLOCK.match(name)
    return match and match[0]


def _blocks(names: Iterable[str]) -> set[str | None]:
    return {_block(name) for name in names} - {None}


@torch.no_grad()
def round_weights(model: nn.Module) -> None:
    """Round every parameter to the nearest bfloat16, as `save_hybrid` does; the dtypes stay."""
    for parameter in model.parameters():
        parameter.copy_(parameter.bfloat16())


def save_hybrid(model: Any, folder: Path, *, files: Sequence[tuple[str, bytes]] = ()) -> None:
    """Write a folder that `transformers` opens: bfloat16 weights, their config, and `files`.

    Raises:
        StorageError: a file cannot be written; each is there whole or not at all.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise storage_error(folder, "create", error) from error
    settings = {**model.config.to_dict(), "dtype": "bfloat16"}
    write_atomically(
        folder / "config.json", json.dumps(settings, indent=2, sort_keys=True).encode()
    )
    ids = {name: settings[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    write_atomically(folder / "generation_config.json", json.dumps(ids, indent=2).encode())
    for name, content in files:
        write_atomically(folder / name, content)
    write_atomically(folder / "model.safetensors", hybrid_weights(model))
