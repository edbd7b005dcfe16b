"""The parts of a model that methods tell apart, and the adapters around them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

from torch import nn

from statespan.pretrained.layers import named_layers, unwrapped
from statespan.pretrained.structure import Structure

__all__ = ["PARTS", "Part", "adapted_layers", "has_adapters", "is_low_rank", "parts_of"]

Part = Literal["attention", "mixers", "embeddings", "norms", "convolutions"]
PARTS: tuple[Part, ...] = get_args(Part)


def parts_of(found: Structure) -> dict[str, Part]:
    """Return the part that each layer belongs to, by its path.

    Of mixers, that is the linear maps, and a head that is tied to the embeddings is one of them.
    """
    parts: dict[str, Part] = {}
    for mixer in found.mixers:
        parts |= dict.fromkeys((*mixer.projections, *mixer.bypassed), "mixers")
    for attention in found.attentions:
        parts |= dict.fromkeys(attention.projections, "attention")
    tied = (found.head,) if found.is_tied and found.head is not None else ()
    parts |= dict.fromkeys((*found.embeddings, *tied), "embeddings")
    parts |= dict.fromkeys(found.norms, "norms")
    return parts | dict.fromkeys((item.path for item in found.convolutions), "convolutions")


def adapted_layers(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the path of every layer that an adapter is around, and what is around it."""
    for path, layer in named_layers(model):
        module = model.get_submodule(path)
        if module is not layer:
            yield path, module


def has_adapters(model: nn.Module) -> bool:
    """Return whether an adapter of PEFT is around any layer of `model`."""
    return any(True for _ in adapted_layers(model))


def is_low_rank(module: nn.Module) -> bool:
    """Return whether `module` adds to a layer's output, where others take the layer's place."""
    layer: Any = module
    return "base_layer" in dict(layer.named_children()) and unwrapped(layer) is not layer
