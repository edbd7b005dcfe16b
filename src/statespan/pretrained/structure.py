"""What a model of `transformers` is made of, found by what its modules do and not by names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from torch import Tensor, nn

from statespan.errors import InputError
from statespan.pretrained.attentions import Attention, attentions_of
from statespan.pretrained.dataflow import weights_read
from statespan.pretrained.layers import named_layers, names_used, unwrapped

__all__ = ["Attention", "Convolution", "Mixer", "Structure", "structure"]

MixerKind = Literal["convolution", "delta_rule", "recurrence", "state_space"]

STATES: Final = frozenset({"update_conv_state", "update_recurrent_state", "set_linear_cache"})
"""The methods of a cache, one of them MiniMax's own, that a module with a state leaves it with."""


@dataclass(frozen=True, slots=True)
class Mixer:
    """One module that mixes tokens through a state and not by attention.

    Attributes:
        path: where it is in the model.
        kind: what its state obeys.
        projections: the paths of its linear maps, each applied by being called.
        bypassed: the paths of those whose weight is handed to a kernel, at least on some devices,
            so that what is wrapped around them is not called.
    """

    path: str
    kind: MixerKind
    projections: tuple[str, ...]
    bypassed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Convolution:
    """One convolution over time; `is_depthwise` if no channel sees another."""

    path: str
    is_depthwise: bool


@dataclass(frozen=True, slots=True)
class Structure:
    """What a model is made of. Paths are those of `model.get_submodule`, adapters around or not.

    Attributes:
        attentions: its attention modules, in order, and likewise `mixers`.
        convolutions: its convolutions over time, those in attention modules included.
        norms: the paths of its norms that have a weight.
        embeddings: the paths of its tables of embeddings, that of the tokens first.
        head: the path of what makes logits; none if there is none.
        is_tied: the head's weight is that of the first table.
        shared: the paths of modules with the very same weights, a group each: the blocks of Zamba.
    """

    attentions: tuple[Attention, ...]
    mixers: tuple[Mixer, ...]
    convolutions: tuple[Convolution, ...]
    norms: tuple[str, ...]
    embeddings: tuple[str, ...]
    head: str | None
    is_tied: bool
    shared: tuple[tuple[str, ...], ...]


def structure(model: nn.Module) -> Structure:
    """Return what `model`, one of `transformers`, is made of; with adapters or accelerated, too.

    Nothing is run, so a model on the meta device will do.

    Raises:
        InputError: `model` is not a module of torch.

    Example:
        >>> import torch
        >>> from transformers import BambaConfig, BambaForCausalLM
        >>> with torch.device("meta"):
        ...     model = BambaForCausalLM(BambaConfig(num_hidden_layers=2, attn_layer_indices=[1]))
        >>> (attention,) = structure(model).attentions
        >>> attention.path, attention.num_heads, attention.num_kv_heads, attention.position
        ('model.layers.1.self_attn', 32, 8, 'partial rotary')
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}.")
    layers = dict(named_layers(model))
    embeddings, head = _embeddings(model, layers)
    attentions = tuple(attentions_of(layers))
    inside = tuple(f"{attention.path}." for attention in attentions)
    tied = head is not None and _weight(layers[head]) is _weight(layers[embeddings[0]])
    return Structure(
        attentions=attentions,
        mixers=tuple(_mixers(layers, inside)),
        convolutions=tuple(
            Convolution(path, layer.groups == layer.in_channels)
            for path, layer in layers.items()
            if isinstance(layer, nn.Conv1d)
        ),
        norms=tuple(path for path, layer in layers.items() if _is_norm(layer)),
        embeddings=embeddings,
        head=head,
        is_tied=tied,
        shared=_shared(layers, {*embeddings, head}),
    )


def _embeddings(model: Any, layers: Mapping[str, nn.Module]) -> tuple[tuple[str, ...], str | None]:
    """Return the paths of the tables, that of the tokens first, and that of the head."""
    paths = {id(layer): path for path, layer in layers.items()}
    tables = [path for path, layer in layers.items() if isinstance(layer, nn.Embedding)]
    ends = []
    for name in ("get_input_embeddings", "get_output_embeddings"):
        found = getattr(model, name, None)
        layer = None if found is None else found()
        ends.append(None if layer is None else paths.get(id(unwrapped(layer))))
    first, head = ends
    return tuple(dict.fromkeys([*([] if first is None else [first]), *tables])), head


def _mixers(layers: Mapping[str, nn.Module], inside: tuple[str, ...]) -> Iterator[Mixer]:
    """Yield the modules with a state or a convolution over time that are in no attention module."""
    for path, layer in layers.items():
        is_mixer = STATES & names_used(type(layer)) or _has_convolution(layer)
        if not is_mixer or f"{path}.".startswith(inside):
            continue
        linear = [
            name
            for name, part in layers.items()
            if name.startswith(f"{path}.") and isinstance(part, nn.Linear)
        ]
        bypassed = tuple(name for name in linear if _is_bypassed(name, layers))
        called = tuple(name for name in linear if name not in bypassed)
        yield Mixer(path, _kind(names_used(type(layer))), called, bypassed)


def _has_convolution(layer: nn.Module) -> bool:
    return any(isinstance(unwrapped(child), nn.Conv1d) for child in layer.children())


def _is_bypassed(path: str, layers: Mapping[str, nn.Module]) -> bool:
    owner, _, name = path.rpartition(".")
    return name in weights_read(type(layers[owner]))


def _kind(names: frozenset[str]) -> MixerKind:
    if any("delta" in name for name in names):
        return "delta_rule"
    if any("scan" in name for name in names):
        return "state_space"
    return "convolution" if names & STATES == {"update_conv_state"} else "recurrence"


def _is_norm(layer: nn.Module) -> bool:
    weights = list(layer.parameters())
    if not weights or any(layer.children()) or any(weight.ndim != 1 for weight in weights):
        return False
    return any("norm" in name or name == "rsqrt" for name in names_used(type(layer)))


def _weight(layer: nn.Module) -> Tensor | None:
    return layer._parameters.get("weight")  # noqa: SLF001


def _shared(layers: Mapping[str, nn.Module], ends: set[str | None]) -> tuple[tuple[str, ...], ...]:
    groups: dict[tuple[int, ...], list[str]] = {}
    for path, layer in layers.items():
        weights = tuple(id(weight) for weight in layer.parameters(recurse=False))
        if weights and path not in ends:
            groups.setdefault(weights, []).append(path)
    return tuple(tuple(paths) for paths in groups.values() if len(paths) > 1)
