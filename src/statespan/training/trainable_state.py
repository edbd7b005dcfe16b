"""What of a model trains, with its optimizer, on the disk: one file, replaced whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from statespan.errors import StorageError, TrainingError
from statespan.records import write_atomically

__all__ = ["load_trainable", "read_state", "save_trainable"]

State = TypeVar("State", bound=msgspec.Struct)

STATE = "state"
"""The key of the JSON in the header of the file."""


def save_trainable(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer | None,
    state: msgspec.Struct,
    *,
    writes: bool = True,
) -> None:
    """Write what trains of `model`, the optimizer and `state` as JSON to `path`, whole or not.

    A weight that is in several places is written once. Weights that are shared out among processes
    are gathered, for which all of them must call this; only those that `writes` write.

    Raises:
        TrainingError: a number is not finite; what was at `path` stays.
        StorageError: it could not be written; what was at `path` stays.
    """
    tensors = {name: _whole(value) for name, value in _tensors(model, optimizer)}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise TrainingError(
                f"{name} is not finite; the checkpoint before it is kept in {path}. A lower "
                "training.learning_rate may help."
            )
    if writes:
        content = msgspec.json.encode(state).decode()
        write_atomically(path, save(tensors, metadata={STATE: content, "format": "pt"}))


def read_state(path: Path, kind: type[State]) -> State:
    """Return the state in the checkpoint `path`.

    Raises:
        StorageError: the file cannot be read, or is no such checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return msgspec.json.decode(file.metadata()[STATE], type=kind)
    except (OSError, SafetensorError, KeyError, TypeError, msgspec.MsgspecError) as error:
        raise _unreadable(path, error) from error


def load_trainable(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None
) -> None:
    """Put what `save_trainable` wrote into `model`, and into `optimizer`.

    Raises:
        StorageError: the file cannot be read, or is of another model, or of one that trains
            something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    weights = dict(_weights(model))
    given = {name for name in tensors if name.startswith("model.")}
    known = {f"model.{name}" for name in weights}
    for name in sorted(given ^ known):
        place = "is only in it" if name in given else "is missing"
        raise StorageError(f"the checkpoint {path} is of another model: {name} {place}.")
    for name, weight in weights.items():
        _put(weight.data, tensors[f"model.{name}"], path, name)
        if optimizer is not None:
            _load_optimizer(optimizer, weight, name, tensors)


def _load_optimizer(
    optimizer: torch.optim.Optimizer,
    weight: nn.Parameter,
    name: str,
    tensors: Mapping[str, Tensor],
) -> None:
    ends = f".{name}"
    found = {
        key.removeprefix("optimizer.").removesuffix(ends): value
        for key, value in tensors.items()
        if key.startswith("optimizer.") and key.endswith(ends)
    }
    state: dict[str, Any] = {}
    for key in ("step", "exp_avg", "exp_avg_sq"):
        if key in found:
            state[key] = found[key] if key == "step" else _like(weight, found[key])
    if state:
        optimizer.state[weight] = state


def _tensors(
    model: nn.Module, optimizer: torch.optim.Optimizer | None
) -> Iterator[tuple[str, Tensor]]:
    states = {} if optimizer is None else optimizer.state
    for name, weight in _weights(model):
        yield f"model.{name}", weight.detach()
        for key, value in states.get(weight, {}).items():
            yield f"optimizer.{key}.{name}", value


def _weights(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield what trains, each weight once, under the name that it has without wrappers."""
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            yield name.replace("_checkpoint_wrapped_module.", "").removeprefix("module."), weight


def _whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor, on the CPU, also where processes have a part of it each."""
    gather = getattr(tensor, "full_tensor", None)
    found = tensor if gather is None else cast("Tensor", gather())
    return found.detach().cpu().contiguous()


def _like(weight: Tensor, value: Tensor) -> Tensor:
    """Return `value` where, and shared out as, `weight` is."""
    mesh = getattr(weight, "device_mesh", None)
    if mesh is None:
        return value.to(weight.device)
    from torch.distributed.tensor import distribute_tensor  # noqa: PLC0415

    return distribute_tensor(value.to(weight.device), mesh, cast("Any", weight).placements)


@torch.no_grad()
def _put(weight: Tensor, value: Tensor, path: Path, name: str) -> None:
    if weight.shape != value.shape:
        raise StorageError(
            f"the checkpoint {path} is of another model: {name} has the shape "
            f"{list(value.shape)} in it, and {list(weight.shape)} here."
        )
    weight.copy_(_like(weight, value))


def _unreadable(path: Path, error: Exception) -> StorageError:
    return StorageError(f"cannot read the checkpoint {path}: {error}")
