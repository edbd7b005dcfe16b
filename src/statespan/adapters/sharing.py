"""One adapter for one weight, in models that run the same weight in several places."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import nn

from statespan.adapters.parts import adapted_layers
from statespan.errors import AdapterError
from statespan.pretrained.structure import structure

__all__ = ["apart", "groups", "share_adapters", "tie"]


def share_adapters(model: nn.Module) -> None:
    """Let the adapters around one weight of `model` be one, as `adapt` does for new ones.

    The blocks of Zamba and Zamba2 run the same weights in several layers, and PEFT puts an adapter
    of its own around each of those. A checkpoint that was saved of `adapt`'s model holds the one
    adapter as often; loaded with PEFT, it computes the same, but would go apart in training.

    Raises:
        AdapterError: the adapters around one weight differ already; they stay as they are.
    """
    found = apart(model)
    if found:
        raise AdapterError(
            f"the adapters of {' and '.join(found[0])} must be equal, for the weight is one; got"
            " different ones, as are trained without `adapt`."
        )
    tie(model, groups(model))


def tie(model: nn.Module, shared: Iterable[tuple[str, ...]]) -> None:
    """Let the adapters around the layers of each group hold the parameters of the first."""
    for paths in shared:
        first, *others = (_own_parameters(model.get_submodule(path)) for path in paths)
        for path, own in zip(paths[1:], others, strict=True):
            for name in first.keys() & own.keys():
                place, _, last = f"{path}.{name}".rpartition(".")
                setattr(model.get_submodule(place), last, first[name])


def apart(model: nn.Module) -> list[tuple[str, ...]]:
    """Return the groups of paths with one weight whose adapters are not equal."""
    return [paths for paths in groups(model) if not _are_equal(model, paths)]


def groups(model: nn.Module) -> Iterator[tuple[str, ...]]:
    """Yield the groups of paths with one weight and an adapter around it; a tied head's first."""
    found = structure(model)
    adapted = {path for path, _ in adapted_layers(model)}
    tied = [(found.embeddings[0], found.head)] if found.is_tied and found.head else []
    for paths in (*tied, *found.shared):
        if adapted & set(paths):
            yield paths


def _own_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the adapter's own parameters by name, without those of the layer inside."""
    return {
        name: weight
        for name, weight in module.named_parameters()
        if not name.startswith(("base_layer.", "original_module."))
    }


def _are_equal(model: nn.Module, paths: tuple[str, ...]) -> bool:
    first, *others = (_own_parameters(model.get_submodule(path)) for path in paths)
    return all(
        first.keys() == own.keys()
        and all(first[name] is own[name] or torch.equal(first[name], own[name]) for name in own)
        for own in others
    )
