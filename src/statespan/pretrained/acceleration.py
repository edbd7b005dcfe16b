"""The mixers of a model of `transformers` on this package's operations, and off them again."""

from __future__ import annotations

import sys
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from torch import nn

from statespan.errors import InputError
from statespan.pretrained.accelerated import AcceleratedMixer, substitute_around
from statespan.pretrained.mixers import MIXERS, forward_of
from statespan.pretrained.substitution import Substitute, restore, substitute

__all__ = ["Acceleration", "accelerate", "decelerate"]


@dataclass(frozen=True, slots=True)
class Acceleration:
    """What one call of `accelerate` did; as a context manager it is undone at the exit.

    Attributes:
        model: the model that was given, the very object.
        replaced: the names of the mixers that run on this package's operations since that call.
        kept: the names of the mixers that go on as they were, and why.
    """

    model: nn.Module = field(repr=False)
    replaced: tuple[str, ...]
    kept: Mapping[str, str]

    def __enter__(self) -> Acceleration:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in self.replaced:
            _restore_mixer(self.model, name)

    def __str__(self) -> str:
        mixers = [self.model.get_submodule(name) for name in self.replaced]
        counts = Counter(type(mixer).__name__ for mixer in mixers)
        lines = [f"{count} × {name}: on statespan's operations" for name, count in counts.items()]
        lines += [f"{name}: as it was, for {reason}" for name, reason in self.kept.items()]
        return "\n".join(lines) or "nothing was replaced"


def accelerate(model: nn.Module) -> Acceleration:
    """Let the mixers of `model`, a model of `transformers`, run on this package's operations.

    At once and in place: the parameters stay the same objects, and so do the names in the state
    dict, what is saved, and the caches. Other models of the class are not touched. On CPU tensors
    of float32, bfloat16 or float64 the operations do the work; on every other the model's own code
    does. `decelerate` undoes it, and so does the end of a `with` block.

    A model without a mixer that is known here is left as it is, and a warning says so.

    Raises:
        InputError: `model` is not a module of torch.

    Example:
        >>> import torch
        >>> from transformers import MambaConfig, MambaForCausalLM
        >>> with torch.device("meta"):
        ...     model = MambaForCausalLM(MambaConfig(num_hidden_layers=2))
        >>> with accelerate(model) as acceleration:
        ...     print(acceleration)
        2 × MambaMixer: on statespan's operations
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}.")
    mixers = {
        name: module
        for name, module in model.named_modules()
        if forward_of(type(module)) and not isinstance(module, AcceleratedMixer)
    }
    kept = {name: reason for name, mixer in mixers.items() if (reason := _hindrance(mixer))}
    fresh = [name for name in mixers if name not in kept]
    for name in fresh:
        _substitute_mixer(model, name)
    acceleration = Acceleration(model, tuple(fresh), kept)
    if not fresh and not any(isinstance(module, AcceleratedMixer) for module in model.modules()):
        warnings.warn(_nothing(model, kept), stacklevel=2)
    return acceleration


def decelerate(model: nn.Module) -> None:
    """Undo `accelerate`: every module of `model` has its own class, and forward, again.

    A model that is not accelerated is left as it is.

    Raises:
        InputError: a module was wrapped (by FSDP, say) after it was accelerated; unwrap it first.
    """
    for name, module in model.named_modules():
        if isinstance(module, AcceleratedMixer):
            _restore_mixer(model, name)


def _hindrance(mixer: nn.Module) -> str | None:
    """Return why `mixer` cannot be given another forward, if it cannot."""
    if "forward" in vars(mixer):
        return "its forward was replaced by hand (by hooks of accelerate, or a kernel)"
    caches = vars(sys.modules.get("transformers.cache_utils", sys)).get("Cache", object)
    if "get_conv_state" not in dir(caches):
        return "the caches of this transformers keep no convolution states by layer, as 5.23 does"
    return None


def _around(model: nn.Module, name: str) -> Iterator[nn.Module]:
    """Yield the modules around `name`, from its parent to `model`."""
    while name:
        name = name.rpartition(".")[0]
        yield model.get_submodule(name)


def _substitute_mixer(model: nn.Module, name: str) -> None:
    substitute(model.get_submodule(name), AcceleratedMixer)
    for depth, module in enumerate(_around(model, name)):
        kind = substitute_around(module, is_parent=depth == 0)
        if kind is not None and not isinstance(module, Substitute):
            substitute(module, kind)


def _restore_mixer(model: nn.Module, name: str) -> None:
    mixer = model.get_submodule(name)
    vars(mixer).pop("handed", None)
    for module in (mixer, *_around(model, name)):
        if isinstance(module, Substitute):
            restore(module)


def _nothing(model: nn.Module, kept: Mapping[str, str]) -> str:
    reasons = "; ".join(f"{name}: {reason}" for name, reason in kept.items())
    known = ", ".join(name.rpartition(".")[2] for name in MIXERS.names())
    return (
        f"nothing was replaced: {type(model).__name__} has no mixer that can be sped up"
        f" ({reasons or f'there is none of {known}'})."
    )
