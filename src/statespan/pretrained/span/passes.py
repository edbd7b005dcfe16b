"""One forward pass of an extended model: what travels through it in the place of a mask."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeAlias

from jaxtyping import Int
from torch import Tensor

from statespan.errors import InputError
from statespan.memory import Attention, Choice

if TYPE_CHECKING:
    from statespan.pretrained.span.cache import SpanLayer

__all__ = ["HERE", "Here", "Pass", "Watcher"]

Watcher: TypeAlias = Callable[[int, list[Choice]], None]
"""Takes the number of a layer and what it has chosen in one pass."""


@dataclass(frozen=True, eq=False, slots=True)
class Pass:
    """What every attention layer has to know of one forward pass.

    The model hands it from layer to layer as if it were a mask, and gradient checkpointing hands it
    to the layers that it runs again; so they see the same step, whatever has happened since.

    Attributes:
        config: what the pass attends with.
        documents: the number of each token's document, negative for padding; none if each row is
            one document.
        step: the number of the training step, from which chunk sizes are drawn; 0 in evaluation.
        slides: all attention of the model slides, and is extended beyond its window.
        watchers: who is told what was chosen.
    """

    config: Attention
    documents: Int[Tensor, "batch length"] | None = None
    step: int = 0
    slides: bool = False
    watchers: tuple[Watcher, ...] = ()

    @classmethod
    def __torch_function__(cls, *_: object) -> NoReturn:
        """Say why another attention was handed a pass: as a mask, to PyTorch's operation."""
        raise InputError(
            "a pass with span-expanded attention cannot be run again by another one: with gradient "
            "checkpointing, call backward before statespan.disable(model)."
        )

    def __getitem__(self, _: object) -> NoReturn:
        """Likewise, as a mask that is cut to the number of keys (eager attention)."""
        self.__torch_function__()


class Here(threading.local):
    """What one thread is in the middle of: it links the hooks, the cache and the attention.

    Attributes:
        current: the pass under way, for the mask; none outside one.
        layer: the number of the attention layer that was entered last.
        cached: the layers of the cache of the pass under way.
        cache: the one of them that was given the keys and values of the attention to come.
    """

    def __init__(self) -> None:
        self.current: Pass | None = None
        self.layer = 0
        self.cached: tuple[SpanLayer, ...] = ()
        self.cache: SpanLayer | None = None

    def enter(self, current: Pass, cached: tuple[SpanLayer, ...]) -> None:
        """Begin a pass."""
        self.current, self.cached = current, cached
        for layer in cached:
            layer.is_running = True

    def leave(self) -> None:
        """Forget the pass, at its end or where it failed."""
        for layer in self.cached:
            layer.is_running = False
        self.current, self.cached, self.cache = None, (), None

    def take_cache(self) -> SpanLayer | None:
        """Return the cache's layer of the attention to come, once."""
        taken, self.cache = self.cache, None
        return taken


HERE = Here()
