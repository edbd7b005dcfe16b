"""Which attention layers of a model can look back at blocks, which are left, what is refused."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from inspect import isclass
from typing import Any

from torch import nn
from transformers.cache_utils import Cache, DynamicCache
from transformers.modeling_utils import PreTrainedModel

from statespan.errors import ConfigError, InputError
from statespan.memory import Attention, SpanAttention
from statespan.memory.span_attention import check_config
from statespan.pretrained.span.cache import REPLACED
from statespan.pretrained.structure import Attention as AttentionLayer
from statespan.pretrained.structure import Structure, structure

__all__ = ["Plan", "check_suits", "model_of", "plan_extension"]


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """What is to be extended in one model.

    Attributes:
        model: the model of `transformers`, without what adapters are wrapped around it.
        decoder: the part of it that makes masks and caches.
        layers: the attention layers to be extended: those that attend to the whole past or, where
            there are none, all, which slide.
        modules: the modules of these, by their number in the cache.
        kinds: the classes of the layers that stock caches have there.
        kept: the paths of attention layers that stay as they are, and why.
        mixing: the paths of what carries a state from token to token, beside attention, each with
            the modules from the decoder down to it.
    """

    model: PreTrainedModel
    decoder: PreTrainedModel
    layers: tuple[AttentionLayer, ...]
    modules: Mapping[int, nn.Module]
    kinds: Mapping[int, type[Any]]
    kept: Mapping[str, str]
    mixing: Mapping[str, tuple[nn.Module, ...]]

    @property
    def paths(self) -> tuple[str, ...]:
        """Where the layers to be extended are in the model that was given."""
        return tuple(layer.path for layer in self.layers)

    @property
    def window(self) -> int | None:
        """How far back the layers to be extended see by themselves; none if to the beginning."""
        return min(
            (layer.sliding_window for layer in self.layers if layer.sliding_window), default=None
        )


def plan_extension(model: nn.Module) -> Plan:
    """Return what `enable` would do to `model`.

    Raises:
        InputError: it is none of `transformers`, or none that can be extended; the message says
            what to do instead.
    """
    outer = model_of(model)
    decoder: PreTrainedModel = outer.get_decoder()  # type: ignore[no-untyped-call]
    prefix = next(path for path, module in model.named_modules() if module is decoder)
    prefix = prefix and f"{prefix}."
    parts = structure(model)
    found = [layer for layer in parts.attentions if layer.path.startswith(prefix)]
    _check_decoder(decoder, found, parts)
    layers = [layer for layer in found if layer.sliding_window is None] or found
    numbered = _numbered(decoder, layers, prefix)
    return Plan(
        model=outer,
        decoder=decoder,
        layers=tuple(layers),
        modules={number: model.get_submodule(layer.path) for number, layer in numbered.items()},
        kinds=_kinds(decoder, numbered),
        kept={
            layer.path: f"it slides over {layer.sliding_window} tokens"
            for layer in found
            if layer not in layers
        },
        mixing=dict(_mixing(model, parts, prefix)),
    )


def check_suits(plan: Plan, config: Attention) -> None:
    """Check that the layers of a model can attend with `config`.

    Raises:
        ConfigError: the layers slide, and a chunk is longer than their window.
        InputError: values are not as wide as queries, and blocks are summarized by values.
    """
    longest = max(config.chunks) if isinstance(config, SpanAttention) else 0
    if plan.window is not None and longest > plan.window:
        raise ConfigError(
            f"every attention layer of {type(plan.decoder).__name__} slides over {plan.window} "
            f"tokens, so chunk must be at most {plan.window}, got {longest}; or let the model "
            "attend to the whole past first, by model.config.sliding_window = None."
        )
    for layer in plan.layers:
        check_config(config, layer.key_width, layer.value_width)


def model_of(model: nn.Module) -> PreTrainedModel:
    """Return the model of `transformers` that is in `model`, within adapters, say.

    Raises:
        InputError: there is none.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}.")
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            return module
    raise InputError(
        f"model must be a model of transformers, got {type(model).__name__}; for tensors alone "
        "there is statespan.memory.span_attention."
    )


def _check_decoder(
    decoder: PreTrainedModel, layers: list[AttentionLayer], parts: Structure
) -> None:
    name = type(decoder).__name__
    if not layers:
        raise InputError(f"{name} has no attention layer, so there is nothing to extend.")
    if any(not layer.is_causal for layer in layers):
        raise InputError(f"{name} attends in both directions; span-expanded attention is causal.")
    if parts.mixers and all(layer.sliding_window for layer in layers):
        raise InputError(
            f"all attention of {name} slides, and a recurrence carries what is older, so there is "
            "no attention to the whole past that blocks could stand for; use the model as it is."
        )
    own = _own_cache(decoder)
    if own is not None:
        raise InputError(
            f"{name} takes no cache but its own, {own}, so that nothing could be decoded; "
            "use the model as it is, or statespan.memory.span_attention in code of your own."
        )
    if not decoder._can_set_attn_implementation():  # noqa: SLF001
        raise InputError(
            f"{name} does not go through the AttentionInterface of transformers, so its attention "
            "cannot be exchanged; use statespan.memory.span_attention in code of your own."
        )


def _own_cache(decoder: PreTrainedModel) -> str | None:
    """Return the name of a class of caches that is defined where the decoder is."""
    home = type(decoder).__module__
    for member in vars(sys.modules[home]).values():
        if isclass(member) and issubclass(member, Cache) and member.__module__ == home:
            return member.__name__
    return None


def _numbered(
    decoder: nn.Module, layers: list[AttentionLayer], prefix: str
) -> dict[int, AttentionLayer]:
    """Return the layers by their numbers in a cache: their depths in the decoder."""
    numbered: dict[int, AttentionLayer] = {}
    for layer in layers:
        found = re.search(r"\d+", layer.path.removeprefix(prefix))
        number = int(found[0]) if found else 0
        if number in numbered:
            raise InputError(
                f"{type(decoder).__name__} has two attention modules at depth {number}; only "
                "decoders with one a layer can be extended."
            )
        numbered[number] = layer
    return numbered


def _kinds(
    decoder: PreTrainedModel, numbered: Mapping[int, AttentionLayer]
) -> dict[int, type[Any]]:
    """Return the classes of the cache's layers that hold the layers' keys and values."""
    stock = dict(enumerate(DynamicCache(config=decoder.config).layers))
    kinds: dict[int, type[Any]] = {}
    for number, layer in numbered.items():
        kinds[number] = type(stock.get(number))
        if kinds[number] not in REPLACED:
            raise InputError(
                f"{layer.path} keeps its past as {kinds[number].__name__}, which is not keys and "
                "values alone, so its attention cannot be exchanged; use the model as it is."
            )
    return kinds


def _mixing(
    model: nn.Module, parts: Structure, prefix: str
) -> Iterator[tuple[str, tuple[nn.Module, ...]]]:
    found = [part.path for part in parts.mixers] + [part.path for part in parts.convolutions]
    for path in found:
        if path.startswith(prefix):
            names = path.removeprefix(prefix).split(".")
            above = [prefix + ".".join(names[: end + 1]) for end in range(len(names))]
            yield path, tuple(model.get_submodule(name) for name in above)
