"""One backward pass that leaves a model as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from statespan.adapters.parts import adapted_layers, is_low_rank
from statespan.errors import InputError, TrainingError

__all__ = ["Gradient", "call_arguments", "gradients_of", "in_mode"]

Gradient = Literal["none", "zero", "flows"]
"""No path from the loss; a path, but zeros came back; or some number that is none."""


def gradients_of(
    model: nn.Module, batch: Tensor | Mapping[str, Any], weights: Sequence[nn.Parameter]
) -> dict[int, Gradient]:
    """Return what comes back to each weight, by its `id`, from the loss of `model` on `batch`.

    Raises:
        InputError: `batch` is not one that the model can be called with.
        TrainingError: the loss is not finite.
    """
    arguments = call_arguments(model, batch)
    if "labels" not in arguments:
        arguments["labels"] = arguments["input_ids"]
    unique = {id(weight): weight for weight in weights}
    # In evaluation, other kernels may run than those that a training step goes through.
    training = in_mode(model, training=True)
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), _opened(model), training:
        loss: Tensor = model(**arguments).loss
        if not loss.isfinite():
            raise TrainingError(f"the loss on the batch is {loss.item()}, so that nothing trains.")
        if not loss.requires_grad:
            return dict.fromkeys(unique, "none")
        found = torch.autograd.grad(loss, list(unique.values()), allow_unused=True)
    return {key: _kind(gradient) for key, gradient in zip(unique, found, strict=True)}


def call_arguments(model: nn.Module, batch: Tensor | Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call of `model`: of ids alone, or those that were given.

    Raises:
        InputError: there are no token ids, or ids that the model has no embedding for.
    """
    arguments = {"input_ids": batch} if isinstance(batch, Tensor) else dict(batch)
    ids = arguments.get("input_ids")
    if not isinstance(ids, Tensor) or ids.ndim != 2 or ids.is_floating_point():
        raise InputError(
            "batch must be token ids, [batch, length], or hold them as input_ids, got"
            f" {type(ids).__name__}{f' {list(ids.shape)}' if isinstance(ids, Tensor) else ''}."
        )
    table: Any = model.get_input_embeddings()  # type: ignore[operator]
    size = table.weight.shape[0]
    if ids.numel() == 0 or not 0 <= int(ids.min()) <= int(ids.max()) < size:
        raise InputError(f"batch must hold ids from 0 to {size - 1}, those of the model's tokens.")
    return {"use_cache": False, **arguments}


def _kind(gradient: Tensor | None) -> Gradient:
    if gradient is None:
        return "none"
    return "flows" if bool(gradient.any()) else "zero"


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Let `model` be in training, or in evaluation, and each module in its own mode again after."""
    before = {module: module.training for module in model.modules()}
    try:
        model.train(training)
        yield
    finally:
        for module, mode in before.items():
            module.training = mode


@contextmanager
def _opened(model: nn.Module) -> Iterator[None]:
    """Fill the factors of adapters that are all zeros, as one of two is before any training."""
    factors = [
        weight
        for _, module in adapted_layers(model)
        if is_low_rank(module)
        for name, weight in module.named_parameters()
        if not name.startswith("base_layer.") and not weight.any()
    ]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in factors:
            weight.copy_(torch.randn(weight.shape, generator=generator) / 50)
    try:
        yield
    finally:
        with torch.no_grad():
            for weight in factors:
                weight.zero_()
