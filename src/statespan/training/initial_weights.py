"""Weights that a training starts from: of a compiled checkpoint, or of an earlier probe.

A folder holds `model.safetensors`, and says what it is in `readout.json` (as a probe writes it) or
in `config.json` (as `transformers` does, with the alphabet that the compiler adds). Nothing else is
opened, and nothing is unpickled.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, final, get_args

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from statespan.errors import ConfigError, StorageError
from statespan.languages import Alphabet
from statespan.models import MODELS, ModelConfig, architecture
from statespan.records import WeightsFrom, read_bytes, to_struct
from statespan.training.readouts import READOUTS, ClassReadout
from statespan.training.vocabulary import Vocabulary

__all__ = [
    "InitialWeights",
    "has_token_outputs",
    "load_initial_weights",
    "read_architecture",
    "read_initial_weights",
    "read_maker",
]

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
READOUT = "readout.json"
MAKER = "made_by"
MARK = "statespan"
"""The key of `config.json` under which the compiler says what is its own."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "mamba": {
        "hidden_size": 768,
        "state_size": 16,
        "num_hidden_layers": 32,
        "conv_kernel": 4,
        "expand": 2,
        "time_step_rank": "auto",
    },
    "mamba2": {
        "hidden_size": 4096,
        "state_size": 128,
        "num_hidden_layers": 64,
        "conv_kernel": 4,
        "expand": 2,
        "head_dim": 64,
        "n_groups": 8,
    },
}
"""What `transformers` leaves out of a config where it is this."""

FIXED: dict[str, Any] = {
    "hidden_act": "silu",
    "layer_norm_epsilon": 1e-5,
    "n_groups": 1,
    "use_bias": False,
    "use_conv_bias": True,
}
"""What our models have no choice in."""


@final
@dataclass(frozen=True, slots=True)
class InitialWeights:
    """Weights, and what they are for.

    Attributes:
        model: the architecture.
        alphabet: the symbols, in the order of their token ids.
        content: a safetensors file, in float32, whose metadata says who made them.
    """

    model: ModelConfig
    alphabet: Alphabet
    content: bytes


class _Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """What `readout.json` says."""

    alphabet: list[str]
    loss: str
    model: dict[str, Any]


def read_architecture(folder: Path) -> ModelConfig:
    """Return the architecture of the weights in `folder`.

    Raises:
        ConfigError: there is no such folder, or it does not say what its weights are.
        StorageError: a file in it cannot be read.
    """
    if not folder.is_dir():
        raise ConfigError(f"initialize_from must be a folder with weights, got {folder}.")
    if (folder / READOUT).is_file():
        return _own_architecture(_read_readout(folder).model, f"{folder / READOUT}: model")
    if (folder / CONFIG).is_file():
        table = _read_json(folder / CONFIG)
        if "model_type" in table:
            return _transformers_architecture(table, folder / CONFIG)
        table.pop(MARK, None)
        return _own_architecture(table, str(folder / CONFIG))
    raise ConfigError(f"{folder} holds neither {READOUT} nor {CONFIG}: what are its weights?")


def read_initial_weights(folder: Path) -> InitialWeights:
    """Return the weights in `folder`, in float32 whatever they are stored in.

    Raises:
        ConfigError: the folder does not hold the weights of a model of ours with one output a
            token, or they do not fit what it says of them.
        StorageError: a file in it cannot be read.
    """
    model = read_architecture(folder)
    alphabet = _read_alphabet(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise ConfigError(f"{folder} holds no {WEIGHTS}; weights are read from that alone.")
    try:
        stored = load(read_bytes(path))
    except SafetensorError as error:
        raise StorageError(f"{path} is no safetensors file: {error}.") from error
    tensors = {name: value.float().contiguous() for name, value in stored.items()}
    _check_tensors(tensors, model, Vocabulary(alphabet).size, path)
    maker: WeightsFrom = "probe" if (folder / READOUT).is_file() else "compiler"
    content = save(tensors, metadata={"format": "pt", MAKER: maker})
    return InitialWeights(model, alphabet, content)


def read_maker(path: Path) -> WeightsFrom:
    """Return who made the initial weights that were saved as `path`; "random" if it is not there.

    Raises:
        StorageError: the file cannot be read, or does not say it.
    """
    if not path.is_file():
        return "random"
    try:
        with safe_open(path, "pt") as file:
            maker = (file.metadata() or {}).get(MAKER)
    except (SafetensorError, OSError) as error:
        raise StorageError(f"the initial weights {path} cannot be read: {error}.") from error
    if maker not in get_args(WeightsFrom):
        raise StorageError(f"{path} does not say who made the weights in it.")
    return cast("WeightsFrom", maker)


def load_initial_weights(path: Path, model: nn.Module) -> None:
    """Put the weights in the safetensors file `path` into `model`.

    Raises:
        StorageError: the file cannot be read, or is of another model.
    """
    try:
        model.load_state_dict(load(read_bytes(path)))
    except (SafetensorError, RuntimeError) as error:
        raise StorageError(f"the initial weights {path} cannot be used: {error}") from error


def has_token_outputs(loss: str) -> bool:
    """Return whether the loss of that name has one output a token, and not one a set of them."""
    return not issubclass(READOUTS.get(loss), ClassReadout)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_bytes(path))
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}.") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} must hold an object, got {value!r}.")
    return value


def _read_readout(folder: Path) -> _Meaning:
    return to_struct(_read_json(folder / READOUT), _Meaning, where=str(folder / READOUT))


def _read_alphabet(folder: Path) -> Alphabet:
    if (folder / READOUT).is_file():
        meaning = _read_readout(folder)
        if not has_token_outputs(meaning.loss):
            raise ConfigError(
                f"the outputs of the model in {folder} are sets of next symbols (it was trained "
                f"with the loss {meaning.loss}); initialize_from needs one output a token, as the "
                "loss symbols has."
            )
        return tuple(meaning.alphabet)
    sources = (_read_json(folder / CONFIG).get(MARK), _beside(folder / f"{MARK}.json"))
    for source in sources:
        symbols = source.get("alphabet") if isinstance(source, Mapping) else None
        if isinstance(symbols, list) and all(isinstance(symbol, str) for symbol in symbols):
            return tuple(symbols)
    raise ConfigError(
        f"{folder} does not say which symbols its token ids stand for: it was written neither by "
        "the compiler nor by a probe."
    )


def _beside(path: Path) -> dict[str, Any]:
    return _read_json(path) if path.is_file() else {}


def _own_architecture(table: Mapping[str, Any], where: str) -> ModelConfig:
    name = table.get("name")
    if not isinstance(name, str):
        raise ConfigError(f"{where} must have the name of a model, got {name!r}.")
    return to_struct(table, MODELS.get(name).Config, where=where)


def _transformers_architecture(table: Mapping[str, Any], path: Path) -> ModelConfig:
    name = table.get("model_type")
    if not isinstance(name, str) or name not in DEFAULTS:
        raise ConfigError(f"{path} must be of {' or '.join(DEFAULTS)}, got model_type {name!r}.")
    full = {**FIXED, **DEFAULTS[name], **table}
    for key, needed in FIXED.items():
        if full[key] != needed:
            raise ConfigError(f"{path}: {key} must be {needed!r} here, got {full[key]!r}.")
    sizes = {
        "name": name,
        "layers": full["num_hidden_layers"],
        "d_model": full["hidden_size"],
        "d_state": full["state_size"],
        "d_conv": full["conv_kernel"],
        "expand": full["expand"],
    }
    if name == "mamba2":
        sizes["head_dim"] = full["head_dim"]
    else:
        rank, width = full["time_step_rank"], full["hidden_size"]
        sizes["dt_rank"] = math.ceil(width / 16) if rank == "auto" else rank
    return to_struct(sizes, MODELS.get(name).Config, where=str(path))


def _check_tensors(
    tensors: Mapping[str, Tensor], config: ModelConfig, vocab_size: int, path: Path
) -> None:
    with torch.device("meta"):
        model_class = MODELS.get(architecture(config))
        model = model_class(config, vocab_size=vocab_size, num_outputs=vocab_size)
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            need, came = (shapes.get(name, "nothing") for shapes in (wanted, found))
            raise ConfigError(f"{path} does not fit its model: {name} must be {need}, got {came}.")
        if not torch.isfinite(tensors[name]).all():
            raise ConfigError(f"{path}: {name} is not finite.")
