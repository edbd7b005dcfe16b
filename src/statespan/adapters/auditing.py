"""What of a model trains: found by one backward pass, and not by what a config says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from statespan.adapters.audit_report import Audit, AuditRow
from statespan.adapters.gradients import Gradient, gradients_of
from statespan.adapters.methods import METHODS, Method
from statespan.adapters.parts import PARTS, Part, adapted_layers, is_low_rank, parts_of
from statespan.adapters.sharing import apart
from statespan.errors import AdapterError, UnknownNameError
from statespan.pretrained.dataflow import weights_read
from statespan.pretrained.layers import named_layers
from statespan.pretrained.structure import structure

__all__ = ["audit"]

NAMES: dict[Part | None, str] = {
    "attention": "attention projections",
    "mixers": "mixers' projections",
    "embeddings": "embeddings",
    "norms": "norms",
    "convolutions": "convolutions",
    None: "everything else",
}


@dataclass(frozen=True, slots=True)
class _Weight:
    """A trainable tensor: its name, the layer that it is in, and what came back to it."""

    name: str
    path: str
    tensor: nn.Parameter
    gradient: Gradient


def audit(
    model: nn.Module, batch: Tensor | Mapping[str, Any], *, method: Method | None = None
) -> Audit:
    """Return what of `model` trains on `batch`, after one backward pass that leaves no trace.

    Every layer that an adapter is around has to train, and with a `method`, every layer of each
    part that the method trains. Zeros in an adapter's last factor, which keep gradients from its
    first at the start, are filled for the pass and put back.

    Args:
        model: a model of `transformers`, with adapters or without.
        batch: token ids, [batch, length], or the arguments of a call; without `labels`, the loss
            is that of the tokens themselves.
        method: the method that `model` is to be trained by.

    Raises:
        AdapterError: a layer that is to train does not; the message says which, and why.
        TrainingError: the loss is not finite.
        UnknownNameError: there is no method of that name.

    Example:
        >>> import torch
        >>> from transformers import LlamaConfig, LlamaForCausalLM
        >>> from statespan.adapters import adapt, hylora
        >>> sizes = {"hidden_size": 8, "intermediate_size": 8, "vocab_size": 8}
        >>> with torch.random.fork_rng():
        ...     model = LlamaForCausalLM(
        ...         LlamaConfig(**sizes, num_hidden_layers=1, num_attention_heads=2)
        ...     )
        >>> print(audit(adapt(model, hylora(model, rank=2, alpha=4)), torch.arange(8)[None]))
        part                          layers   tensors    parameters     share
        attention projections         4 of 4         8           128  21.3333%
        embeddings                    1 of 1         1            64  10.6667%
        norms                         3 of 3         3            24   4.0000%
        all                                         12           216  36.0000%
    """
    if method is not None and method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    layers = dict(named_layers(model))
    parts = parts_of(structure(model))
    weights = _weights(model, layers, batch)
    _check_promises(model, parts, weights, method)
    silent = [weight.name for weight in weights if weight.gradient != "flows"]
    return Audit(
        rows=tuple(_rows(layers, parts, weights)),
        parameters=_size(layers),
        without_gradient=tuple(silent),
        bypassed=tuple(_bypassed(model)),
        apart=tuple(apart(model)),
    )


def _weights(
    model: nn.Module, layers: Mapping[str, nn.Module], batch: Tensor | Mapping[str, Any]
) -> list[_Weight]:
    """Return every trainable tensor, under each of its names, after the backward pass."""
    named = [
        (name, weight)
        for name, weight in model.named_parameters(remove_duplicate=False)
        if weight.requires_grad
    ]
    if not named:
        raise AdapterError(f"nothing of the {type(model).__name__} trains: all of it is frozen.")
    found = gradients_of(model, batch, [weight for _, weight in named])
    return [
        _Weight(name, _owner(name, layers), weight, found[id(weight)]) for name, weight in named
    ]


def _owner(name: str, layers: Mapping[str, nn.Module]) -> str:
    """Return the path of the layer that a tensor is in, or is in an adapter around."""
    path = name.rpartition(".")[0]
    while path not in layers:
        path = path.rpartition(".")[0]
    return path


def _rows(
    layers: Mapping[str, nn.Module], parts: Mapping[str, Part], weights: list[_Weight]
) -> Iterator[AuditRow]:
    in_all = Counter(parts.get(path) for path, layer in layers.items() if _own(layer))
    seen: set[int] = set()
    for part in (*PARTS, None):
        own = [weight for weight in weights if parts.get(weight.path) == part]
        fresh = {
            id(weight.tensor): weight.tensor for weight in own if id(weight.tensor) not in seen
        }
        seen |= fresh.keys()
        if own:
            yield AuditRow(
                part=NAMES[part],
                layers=len({weight.path for weight in own}),
                layers_in_all=in_all[part],
                tensors=len(fresh),
                parameters=sum(tensor.numel() for tensor in fresh.values()),
            )


def _own(layer: nn.Module) -> list[nn.Parameter]:
    return list(layer.parameters(recurse=False))


def _size(layers: Mapping[str, nn.Module]) -> int:
    """Return how many numbers the layers hold; of those packed in 4 bits, the numbers in them."""
    tensors = {id(weight): weight for layer in layers.values() for weight in _own(layer)}
    packed: list[Any] = [getattr(weight, "quant_state", None) for weight in tensors.values()]
    return sum(
        weight.numel() if state is None else int(state.shape.numel())
        for weight, state in zip(tensors.values(), packed, strict=True)
    )


def _bypassed(model: nn.Module) -> Iterator[str]:
    for path, module in adapted_layers(model):
        place, _, name = path.rpartition(".")
        if is_low_rank(module) and name in weights_read(type(model.get_submodule(place))):
            yield path


def _check_promises(
    model: nn.Module, parts: Mapping[str, Part], weights: list[_Weight], method: Method | None
) -> None:
    promised = [path for path, _ in adapted_layers(model)]
    if method is not None:
        promised += [path for path, part in parts.items() if part in METHODS[method]]
    found: dict[str, set[Gradient]] = {path: set() for path in promised}
    for weight in weights:
        found.setdefault(weight.path, set()).add(weight.gradient)
    flowing = {parts.get(path) for path in promised if "flows" in found[path]}
    broken = {
        path: reason
        for path in promised
        if (reason := _reason(found[path], is_silent=parts.get(path) not in flowing))
    }
    if broken:
        kinds = sorted({NAMES[parts.get(path)] for path in broken})
        shown = "; ".join(f"{path} {reason}" for path, reason in list(broken.items())[:3])
        raise AdapterError(
            f"{len(broken)} of {len(found)} layers that are to train do not"
            f" ({', '.join(kinds)}): {shown}."
        )


def _reason(found: set[Gradient], *, is_silent: bool) -> str | None:
    """Return why a layer with such gradients does not train; none if it does."""
    if not found:
        return "has nothing that is trainable"
    if found == {"none"}:
        return "gets no gradient: nothing that the loss is made of goes through it"
    # Zeros may be chance (an expert that no token took), but not in every layer of a part.
    return "gets a gradient of zeros" if is_silent else None
