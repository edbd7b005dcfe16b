"""The layers of a cache that hold what span-expanded attention needs of the past."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import (
    Cache,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
)

from statespan.errors import InputError
from statespan.memory import Attention, SpanState
from statespan.pretrained.span.passes import HERE

__all__ = ["REPLACED", "SpanHybridLayer", "SpanLayer", "adopt", "check_cache"]


class SpanLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """One layer's keys and values, kept by a `SpanState` and not by this object.

    What the attention gets from `update` is the new tokens alone: it adds them to the state itself,
    since only it has their queries, and, where keys are made of latent vectors, the keys.
    """

    is_running: bool = False
    """Whether a forward pass of an extended model is under way with this layer."""

    def hold(self, state: SpanState) -> SpanLayer:
        """Begin with `state`, an empty one; return the layer itself."""
        self.state = state
        return self

    def update(
        self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.is_running:
            raise InputError(
                "this cache was filled by span-expanded attention, which is not on (any more) in "
                "the model that continues it; statespan.enable(model, …) again, or begin with a "
                "new cache."
            )
        if not self.is_initialized:
            # No tokens, but rows: so all that stock code does with them is right, and for nothing.
            empty = key_states.new_empty(*key_states.shape[:2], 0, key_states.shape[3])
            self.dtype, self.device = empty.dtype, empty.device
            self.keys = self.values = empty
            self.is_initialized = True
        HERE.cache = self
        return key_states, value_states

    def get_seq_length(self) -> int:
        return self.state.length

    def reset(self) -> None:
        super().reset()
        self.state.reset()

    def reorder_cache(self, beam_idx: Any) -> None:
        super().reorder_cache(beam_idx)
        if self.get_seq_length():
            self.state.reorder(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        if self.get_seq_length():
            self.state.repeat(repeats)
        super().batch_repeat_interleave(repeats)

    def batch_select_indices(self, indices: Tensor) -> None:
        super().batch_select_indices(indices)
        if self.get_seq_length():
            self.state.select(indices)

    def crop(self, tokens_to_remove: int) -> None:
        super().crop(tokens_to_remove)  # refuses what is not negative
        if tokens_to_remove:
            self.state.crop(max(0, self.get_seq_length() + tokens_to_remove))


class SpanHybridLayer(SpanLayer, LinearAttentionAndFullAttentionLayer):  # type: ignore[misc,no-untyped-call,override]
    """The same beside the states of a mixer, for layers that have both."""


REPLACED: dict[type[Any], type[SpanLayer]] = {
    DynamicLayer: SpanLayer,
    DynamicSlidingWindowLayer: SpanLayer,
    LinearAttentionAndFullAttentionLayer: SpanHybridLayer,
    LinearAttentionAndSlidingWindowAttentionLayer: SpanHybridLayer,
}
"""Which layer of ours stands for which stock one: these very classes, and no subclasses."""


def check_cache(cache: object, kinds: Mapping[int, type[Any]]) -> None:
    """Check that a cache is one that layers of ours can be put in.

    Args:
        cache: what the model was given.
        kinds: the classes of the layers that the model itself would use.

    Raises:
        InputError: it is static, of another model, or no cache at all.
    """
    if not isinstance(cache, Cache):
        raise InputError(
            f"past_key_values must be a cache of transformers, got {type(cache).__name__}."
        )
    if _is_lazy(cache):
        return
    for number, kind in kinds.items():
        found = cache.layers[number] if number < len(cache.layers) else None
        # A cache that was made without a config keeps all of what slides.
        if not isinstance(found, SpanLayer) and type(found) not in {kind, DynamicLayer}:
            raise InputError(
                "span-expanded attention needs a DynamicCache(config=model.config), got a "
                f"{type(cache).__name__} whose layer {number} is "
                f"{'missing' if found is None else f'a {type(found).__name__}'}. In generate, "
                "leave cache_implementation out."
            )


def adopt(
    cache: Cache,
    layers: Collection[int],
    config: Attention,
    *,
    model_config: Any,
    step: int = 0,
    offload: torch.device | str | None = None,
) -> tuple[SpanLayer, ...]:
    """Put layers of ours in the place of the empty stock ones at `layers` of `cache`.

    Returns:
        The layers of ours, new or not.

    Raises:
        InputError: something else has filled the cache, or another config.
    """
    if _is_lazy(cache):
        cache.layers.extend(DynamicCache(config=model_config).layers)
    far = "cpu" if offload is None and cache.offloading else offload
    adopted: list[SpanLayer] = []
    for number in layers:
        found: Any = cache.layers[number]
        if isinstance(found, SpanLayer):
            _check_config(found, config)
        else:
            _check_empty(found)
            state = SpanState(config, layer=number, step=step, offload=far)
            found = cache.layers[number] = _successor(found).hold(state)
        adopted.append(found)
    return tuple(adopted)


def _is_lazy(cache: Cache) -> bool:
    """Return whether a cache makes its layers when they are used first, as one without config."""
    return not cache.layers and cache.layer_class_to_replicate is DynamicLayer


def _successor(stock: Any) -> SpanLayer:
    kind = REPLACED[type(stock)]
    if not issubclass(kind, SpanHybridLayer):
        return kind()
    made = kind(number_of_states=stock.number_of_states)
    made.record_past = stock.record_past
    return made


def _check_config(layer: SpanLayer, config: Attention) -> None:
    if layer.state.config != config:
        raise InputError(
            f"this cache was filled with {layer.state.config}, and the model now attends with "
            f"{config}; begin with a new cache, or enable the former again."
        )


def _check_empty(layer: DynamicLayer) -> None:
    if layer.get_seq_length():
        raise InputError(
            f"this cache was filled by stock attention ({layer.get_seq_length()} tokens), which "
            "keeps no summaries of blocks; compute the past again with a new cache while "
            "span-expanded attention is on, or continue it with statespan.disable(model)."
        )
