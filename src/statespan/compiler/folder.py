"""A compiled checkpoint on disk: a plain folder of `transformers`, and models out of tensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
)

from statespan.compiler.quiet import quiet_transformers
from statespan.compiler.tokenizer import build_tokenizer, special_tokens
from statespan.compiler.weights import DTYPES
from statespan.errors import InputError, StorageError
from statespan.languages import Alphabet
from statespan.records import read_bytes, write_atomically
from statespan.records.storage import storage_error
from statespan.training import BOS, EOS, PAD, Vocabulary

__all__ = [
    "build_model",
    "load_model",
    "prepare_folder",
    "read_alphabet",
    "write_folder",
]

CONFIG = "config.json"
GENERATION_CONFIG = "generation_config.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
CARD = "README.md"
OWN_FILES = {
    GENERATION_CONFIG,
    TOKENIZER,
    TOKENIZER_CONFIG,
    "statespan.json",
    "certificate.json",
    "verification.json",
}
"""What is removed before another checkpoint is written over one."""

RESERVED = (CONFIG, GENERATION_CONFIG, TOKENIZER, TOKENIZER_CONFIG)

MARK = "statespan"
"""The key of `config.json` by which a compiled checkpoint is known."""

SPECIAL_IDS = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
GENERATION = {**SPECIAL_IDS, "do_sample": True, "top_k": 0}
"""Draw among all symbols that may follow, each as likely."""


def write_folder(
    path: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    alphabet: Alphabet,
    *,
    card: str,
    files: Mapping[str, Any],
) -> None:
    """Write a checkpoint that `transformers` opens, and the JSON `files` (name to value) beside it.

    Each file is written whole or not at all, the weights last. Where `path` holds a compiled
    checkpoint already, its weights and all its JSON files are removed first.

    Raises:
        InputError: the folder holds something else, or config, tensors and files do not fit.
        StorageError: the folder or a file in it cannot be written.
    """
    contents = _contents(config, tensors, alphabet, card, files)
    prepare_folder(path)
    for name, content in contents.items():
        write_atomically(path / name, content)


def _contents(
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    alphabet: Alphabet,
    card: str,
    files: Mapping[str, Any],
) -> dict[str, bytes]:
    marked = {**config, MARK: {**config.get(MARK, {}), "alphabet": list(alphabet)}}
    model_config = _model_config(marked, _common_dtype(tensors))
    size = Vocabulary(alphabet).size
    if model_config.vocab_size != size:
        raise InputError(
            f"config['vocab_size'] must be {size} for {len(alphabet)} symbols, got "
            f"{model_config.vocab_size}."
        )
    generation = {**GENERATION, "transformers_version": transformers.__version__}
    return {
        CONFIG: model_config.to_json_string().encode(),
        GENERATION_CONFIG: _to_json(generation),
        TOKENIZER: build_tokenizer(alphabet).to_str(pretty=True).encode(),
        TOKENIZER_CONFIG: _to_json(_tokenizer_config(alphabet)),
        CARD: card.encode(),
        **{_check_name(name): _to_json(value) for name, value in files.items()},
        WEIGHTS: save(dict(tensors), metadata={"format": "pt"}),
    }


def _tokenizer_config(alphabet: Alphabet) -> dict[str, Any]:
    bos, eos, pad = special_tokens(alphabet)
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": pad,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }


def _to_json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _check_name(name: str) -> str:
    if Path(name).name != name or not name.endswith(".json") or name in RESERVED:
        raise InputError(
            f"a file beside the checkpoint needs a name that ends in .json, without a folder and "
            f"none of {', '.join(RESERVED)}; got {name!r}."
        )
    return name


def _common_dtype(tensors: Mapping[str, Tensor]) -> str:
    dtypes = {tensor.dtype for tensor in tensors.values()}
    names = [name for name, dtype in DTYPES.items() if dtypes == {dtype}]
    if not names:
        found = ", ".join(sorted(map(str, dtypes))) or "no tensor"
        raise InputError(f"all tensors must have one dtype, {' or '.join(DTYPES)}; got {found}.")
    return names[0]


def prepare_folder(path: Path) -> None:
    """Make `path` ready for a new checkpoint: it is there, and holds no weights.

    Raises:
        InputError: the folder holds something else than a compiled checkpoint.
        StorageError: it cannot be made, or it is a file.
    """
    if path.exists() and not path.is_dir():
        raise StorageError(f"cannot write a checkpoint to {path}: it is a file, not a folder.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        found = [entry for entry in path.iterdir() if entry.suffix != ".partial"]
        if found and not _is_compiled(path):
            raise InputError(
                f"the folder {path} is not empty and holds no compiled checkpoint: name another "
                "folder, or empty this one."
            )
        # Without weights, what an interrupted write leaves behind cannot be taken for a checkpoint.
        (path / WEIGHTS).unlink(missing_ok=True)
        for entry in found:
            if entry.name in OWN_FILES:
                entry.unlink()
    except OSError as error:
        raise storage_error(path, "write a checkpoint to", error) from error


def _is_compiled(path: Path) -> bool:
    try:
        return MARK in json.loads((path / CONFIG).read_bytes())
    except (OSError, ValueError, TypeError):
        return False


def read_alphabet(path: Path) -> Alphabet:
    """Return the symbols of the compiled checkpoint in `path`, in the order of their token ids.

    Raises:
        StorageError: there is no such folder, or it holds no compiled checkpoint.
    """
    _check_folder(path, CONFIG)
    content = read_bytes(path / CONFIG)
    try:
        return tuple(map(str, json.loads(content)[MARK]["alphabet"]))
    except (ValueError, TypeError, KeyError) as error:
        raise StorageError(f"{path / CONFIG} is not that of a compiled checkpoint.") from error


def load_model(path: Path) -> PreTrainedModel:
    """Return the model in the folder `path`, in eval mode and in the dtype of its config.

    Nothing is looked up on a network, and no global random state is changed.

    Raises:
        StorageError: there is no such folder, or what it holds is no complete checkpoint.
    """
    _check_folder(path, CONFIG, WEIGHTS)
    try:
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path, local_files_only=True, dtype="auto", output_loading_info=True
            )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise StorageError(f"cannot load the checkpoint in {path}: {error}") from error
    model, info = loaded
    wrong = _wrong_names(info)
    if wrong:
        raise StorageError(f"the checkpoint in {path} does not fit its config: {wrong}.")
    return _ready(model)


def build_model(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], dtype: str
) -> PreTrainedModel:
    """Return the model of `config` with copies of `tensors`, in eval mode, without a disk.

    `dtype` is "float32" or "bfloat16"; the tensors must have it. No global random state is
    changed.

    Raises:
        InputError: no such dtype, no such architecture, or tensors that do not fit the config.
    """
    if dtype not in DTYPES or _common_dtype(tensors) != dtype:
        raise InputError(f"dtype must be {' or '.join(DTYPES)}, as the tensors; got {dtype!r}.")
    model_config = _model_config(config, dtype)
    model_class = _model_class(model_config)
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    try:
        with quiet_transformers(), torch.random.fork_rng(devices=[]):
            model, info = model_class.from_pretrained(
                None,
                config=model_config,
                state_dict=copies,
                dtype=DTYPES[dtype],
                output_loading_info=True,
            )
    except (ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"the tensors do not fit the config: {error}") from error
    wrong = _wrong_names(info)
    if wrong:
        raise InputError(f"the tensors do not fit the config: {wrong}.")
    model.generation_config = GenerationConfig(**GENERATION)  # type: ignore[no-untyped-call]
    return _ready(model)


def _ready(model: Any) -> PreTrainedModel:
    assert isinstance(model, PreTrainedModel)
    model.train(mode=False)
    return model


def _model_class(config: PretrainedConfig) -> Any:
    return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


def _model_config(config: Mapping[str, Any], dtype: str) -> PretrainedConfig:
    settings = {**config, **SPECIAL_IDS, "dtype": dtype}
    model_type = str(settings.pop("model_type", None))
    try:
        model_config = AutoConfig.for_model(model_type, **settings)
        model_config.architectures = [_model_class(model_config).__name__]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"config is that of no language model of transformers: {error}") from error
    assert isinstance(model_config, PretrainedConfig)
    return model_config


def _check_folder(path: Path, *names: str) -> None:
    if not path.is_dir():
        raise StorageError(f"there is no folder {path}.")
    for name in names:
        if not (path / name).is_file():
            raise StorageError(
                f"the folder {path} holds no complete checkpoint: {name} is missing."
            )


def _wrong_names(info: Mapping[str, Any]) -> str:
    kinds = {"missing": "missing_keys", "unexpected": "unexpected_keys", "shape": "mismatched_keys"}
    return "; ".join(
        f"{kind}: {', '.join(sorted(map(str, info[key])))}"
        for kind, key in kinds.items()
        if info[key]
    )
