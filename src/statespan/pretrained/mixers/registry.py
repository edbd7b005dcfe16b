"""Which class of mixer runs which forward of ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from statespan.pretrained.continuation import Continuation
from statespan.registry import Registry

__all__ = ["MIXERS", "MixerForward", "accelerates", "forward_of"]

MixerForward = Callable[[Any, Tensor, Continuation], Tensor]
"""Given a mixer, its input and what the call continues: the mixer's output."""

MIXERS: Registry[MixerForward] = Registry("mixer", "mixers")
"""Forwards by the full name of the class whose `forward` they stand for."""


def accelerates(family: str, mixer: str) -> Callable[[MixerForward], MixerForward]:
    """Return a decorator: this forward stands for that of class `mixer` in `transformers`."""
    return MIXERS.register(f"transformers.models.{family}.modeling_{family}.{mixer}")


def forward_of(cls: type[nn.Module]) -> MixerForward | None:
    """Return the forward that stands for the one that `cls` has; none if there is none.

    A subclass counts as the class that its `forward` comes from.
    """
    home = next(base for base in cls.__mro__ if "forward" in vars(base))
    name = f"{home.__module__}.{home.__qualname__}"
    return MIXERS.get(name) if name in MIXERS else None
