"""A model as a probe saved it, with what its outputs mean: opened to be asked, not trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load

from statespan.errors import InputError, StorageError
from statespan.models import MODELS, SequenceModel, build_model
from statespan.records import read_bytes, to_struct
from statespan.training.readouts import SetReadout, build_readout
from statespan.training.vocabulary import Vocabulary

__all__ = ["READOUT", "TASK", "TrainedModel", "read_trained_model"]

WEIGHTS, READOUT, TASK = "model.safetensors", "readout.json", "task.json"
"""Files beside each other: the second is of a language, the third of a task."""


@final
@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model in evaluation mode, and the meaning of its outputs."""

    model: SequenceModel
    readout: SetReadout


class _Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """What `readout.json` says."""

    alphabet: list[str]
    loss: str
    answer_sets: list[list[bool]]
    model: dict[str, Any]


def read_trained_model(folder: Path) -> TrainedModel:
    """Return the model that a probe saved in `folder`: `model/` in its run directory.

    Nothing is unpickled.

    Raises:
        InputError: the folder holds no such model.
        StorageError: a file in it cannot be read, or does not fit the others.
    """
    if (folder / TASK).is_file():
        raise InputError(f"the model in {folder} is of a task; one of a language is needed.")
    if not (folder / READOUT).is_file() or not (folder / WEIGHTS).is_file():
        raise InputError(f"{folder} holds no model of a probe: {READOUT} or {WEIGHTS} is missing.")
    try:
        meaning = msgspec.json.decode(read_bytes(folder / READOUT), type=_Meaning)
        name = str(meaning.model.get("name"))
        config = to_struct(meaning.model, MODELS.get(name).Config, where=f"{folder / READOUT}")
        vocabulary = Vocabulary(tuple(meaning.alphabet))
        readout = build_readout(meaning.loss, vocabulary, torch.tensor(meaning.answer_sets))
        model = build_model(
            config,
            vocab_size=vocabulary.size,
            num_outputs=readout.num_outputs,
            generator=torch.Generator().manual_seed(0),
        )
        model.load_state_dict(load(read_bytes(folder / WEIGHTS)))
    except (msgspec.MsgspecError, SafetensorError, RuntimeError, ValueError) as error:
        raise StorageError(f"the model in {folder} cannot be opened: {error}") from error
    return TrainedModel(model.eval(), readout)
