"""The layers of a model under their own names, whether or not adapters are wrapped around them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from functools import cache
from types import CodeType
from typing import Any

from torch import nn

__all__ = ["method_of", "named_layers", "names_used", "unwrapped"]


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the layer that the adapters of `peft` are wrapped around, or `module` itself."""
    tuners: Any = sys.modules.get("peft.tuners.tuners_utils")
    wrappers: Any = sys.modules.get("peft.utils.other")
    while tuners is not None and wrappers is not None:
        if isinstance(module, tuners.BaseTunerLayer):
            module = module.get_base_layer()
        elif isinstance(module, wrappers.AuxiliaryTrainingWrapper):
            module = module.original_module
        else:
            break
    return module


def named_layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the path of every module of `model` and the layer there, without adapters' own parts.

    A module that is in two places is yielded once, at the first, as `named_modules` does.
    """
    wrapped: list[str] = []
    for path, module in model.named_modules():
        if any(path.startswith(prefix) for prefix in wrapped):
            continue
        layer = unwrapped(module)
        if layer is not module:
            wrapped.append(f"{path}.")
        yield path, layer


def method_of(cls: type, name: str) -> Callable[..., Any] | None:
    """Return a method that `cls` has beyond those of every module, without decorators around it."""
    method: Any = inspect.unwrap(getattr(cls, name, None))  # type: ignore[arg-type]
    is_everyones = name != "forward" and name in vars(nn.Module)
    return method if inspect.isfunction(method) and not is_everyones else None


def names_used(cls: type) -> frozenset[str]:
    """Return every global and attribute that `forward`, and own methods on its way, go by.

    Example:
        >>> "layer_norm" in names_used(nn.LayerNorm)
        True
    """
    found: frozenset[str] = _names_used(cls)
    return found


@cache
def _names_used(cls: Any) -> frozenset[str]:
    names: set[str] = set()
    rest = ["forward"]
    while rest:
        method = method_of(cls, rest.pop())
        if method is not None:
            found = set(_names_in(method.__code__)) - names
            names |= found
            rest += found
    return frozenset(names)


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names_in(constant)
