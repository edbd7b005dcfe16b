"""Checkpoints: model and optimizer in one safetensors file, replaced whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from statespan.errors import StorageError, TrainingError
from statespan.records import write_atomically

__all__ = ["Checkpoint", "checkpoint_step", "load_checkpoint", "save_checkpoint"]


@final
@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a training stands: the number of steps done."""

    step: int


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Checkpoint
) -> None:
    """Write model, optimizer state and step to `path`, whole or not at all.

    Raises:
        TrainingError: a number is not finite; what was at `path` stays.
        StorageError: it could not be written; what was at `path` stays.
    """
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = value
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise TrainingError(
                f"{name} is not finite after step {checkpoint.step}; the checkpoint before it is "
                f"kept in {path}. A lower training.learning_rate may help."
            )
    content = save(
        {name: value.detach().contiguous() for name, value in tensors.items()},
        metadata={"step": str(checkpoint.step)},
    )
    write_atomically(path, content)


def checkpoint_step(path: Path) -> int:
    """Return the number of steps done at the checkpoint in `path`, 0 if there is none.

    Raises:
        StorageError: the file is no checkpoint.
    """
    return _read(path)[0] if path.exists() else 0


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> Checkpoint:
    """Put the state in `path` into `model` and `optimizer`, and return where it stands.

    Raises:
        StorageError: the file cannot be read, or is of another model.
    """
    step, tensors = _read(path)
    prefix = "model."
    weights = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise StorageError(f"the checkpoint {path} is of another model: {error}") from error
    for name, parameter in model.named_parameters():
        state = {
            key: tensors[f"optimizer.{key}.{name}"]
            for key in ("step", "exp_avg", "exp_avg_sq")
            if f"optimizer.{key}.{name}" in tensors
        }
        if state:
            optimizer.state[parameter] = state
    return Checkpoint(step)


def _read(path: Path) -> tuple[int, dict[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            step = int(file.metadata()["step"])
            return step, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise StorageError(f"cannot read the checkpoint {path}: {error}") from error
