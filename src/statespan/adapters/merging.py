"""Adapters merged into the weights that they are around, and the logits compared."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from statespan.adapters.few_bits import is_quantized
from statespan.adapters.gradients import call_arguments, in_mode
from statespan.adapters.parts import adapted_layers, is_low_rank
from statespan.adapters.sharing import apart, groups, tie
from statespan.errors import AdapterError, InputError
from statespan.pretrained.structure import structure

__all__ = ["merge"]


def merge(
    model: nn.Module,
    batch: Tensor | Mapping[str, Any] | None = None,
    *,
    tolerance: float | None = None,
) -> nn.Module:
    """Return the model inside `model`, one of PEFT, with its adapters merged into its weights.

    The logits before and after are compared; where they differ, every weight is put back. A weight
    that is in several places (Zamba, Zamba2) gets what its one adapter adds once, where PEFT adds
    it as often as it is there, and stays one weight, as does that of a tied head.

    Args:
        model: what `adapt` returned, or PEFT loaded.
        batch: token ids, [batch, length], or the arguments of a call, to compare the logits on; by
            default ids drawn from a generator with a seed of its own.
        tolerance: how far the logits may be apart, in the largest of them; by default a thousand
            roundings of the model's dtype, and an eighth at most.

    Raises:
        InputError: `model` is not one of PEFT.
        AdapterError: the adapters cannot be merged: they are not of LoRA, around weights in 8 or 4
            bits, merged already, different around one weight, or the logits are not the same, as
            when a layer is never called, and so its adapter never acts.
    """
    adapters = _mergeable(model)
    arguments = call_arguments(model, _sample(model) if batch is None else batch)
    shared = [paths for paths in groups(model) if paths not in apart(model)]
    tie(model, shared)
    later = {path: paths[0] for paths in shared for path in paths[1:]}
    before = _logits(model, arguments)
    originals = {path: _copies(adapters[path]) for path in adapters if path not in later}
    try:
        _merge(adapters, later)
        _compare(before, _logits(model, arguments), tolerance)
    except Exception as error:
        _undo(adapters, originals)
        if isinstance(error, (NotImplementedError, RuntimeError, ValueError)):
            raise AdapterError(f"the adapters cannot be merged: {error}") from error
        raise
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*adapters (are already|were) merged")
        merged: nn.Module = model.merge_and_unload()  # type: ignore[operator]
    return merged


def _mergeable(model: Any) -> dict[str, Any]:
    """Return the layers with adapters of LoRA by path, after a look at all that stops a merge."""
    import peft  # noqa: PLC0415

    if not isinstance(model, peft.PeftModel):
        raise InputError(f"model must be a peft.PeftModel, got {type(model).__name__}.")
    configs = model.peft_config.values()
    others = [type(item).__name__ for item in configs if not isinstance(item, peft.LoraConfig)]
    if others:
        raise AdapterError(f"the adapters must be of LoRA to be merged, got {', '.join(others)}.")
    if is_quantized(model.get_base_model()):
        raise AdapterError(
            "the model is in 8 or 4 bits, which a merge would round to; load it whole, load the"
            " adapter into that, and merge there."
        )
    adapters = {path: module for path, module in adapted_layers(model) if is_low_rank(module)}
    merged = [path for path, module in adapters.items() if module.merged]
    if merged:
        raise AdapterError(f"{merged[0]} is merged already; unmerge the adapters first.")
    found = structure(model)
    different = [paths for paths in apart(model) if found.head not in paths]
    if different:
        raise AdapterError(
            f"{' and '.join(different[0])} have one weight and different adapters, so that no one"
            " weight is right for both; train with `statespan.adapt`, which gives them one."
        )
    return adapters


def _sample(model: Any) -> Tensor:
    size = model.get_input_embeddings().weight.shape[0]
    ids = torch.randint(size, (2, 32), generator=torch.Generator().manual_seed(0))
    return ids.to(next(model.parameters()).device)


@torch.no_grad()
def _logits(model: nn.Module, arguments: Mapping[str, Any]) -> Tensor:
    with in_mode(model, training=False):
        logits: Tensor = model(**arguments).logits
    return logits


def _copies(module: Any) -> dict[str, Tensor]:
    weights = module.get_base_layer().named_parameters()
    return {name: weight.detach().clone() for name, weight in weights}


def _merge(adapters: Mapping[str, Any], later: Mapping[str, str]) -> None:
    for path, module in adapters.items():
        if path not in later:
            module.merge(safe_merge=True)
    for path, first in later.items():
        if path in adapters:
            adapters[path].merged_adapters.extend(adapters[first].merged_adapters)


def _compare(before: Tensor, after: Tensor, tolerance: float | None) -> None:
    allowed = min(1000 * torch.finfo(before.dtype).eps, 1 / 8) if tolerance is None else tolerance
    scale = before.abs().max().item()
    error = (after - before).abs().max().item()
    if not error <= allowed * scale:
        raise AdapterError(
            f"merged, the logits differ by {error:.2g} where the largest is {scale:.2g}; a layer"
            " with an adapter is not called, but its weight is read as it is: look at"
            " `statespan.audit`. Every weight is as it was."
        )


def _undo(adapters: Mapping[str, Any], originals: Mapping[str, Mapping[str, Tensor]]) -> None:
    for path, module in adapters.items():
        module.merged_adapters.clear()
        for name, weight in module.get_base_layer().named_parameters():
            if path in originals:
                weight.data.copy_(originals[path][name])
