"""The attention function that an extended model calls in each of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from statespan.errors import InputError
from statespan.memory import Choice, chosen_blocks, span_attention
from statespan.pretrained.span.cache import SpanLayer
from statespan.pretrained.span.passes import HERE, Pass

__all__ = ["attend"]

UNKNOWN = {
    "softcap": "caps its scores (softcap)",
    "s_aux": "lets tokens attend to a sink (s_aux)",
    "position_bias": "adds a bias to its scores (position_bias)",
    "cache": "pages its cache",
}
"""What other attention functions do that this one does not, by the argument that asks for it."""


def attend(
    module: nn.Module,
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch kv_head length dim"],
    value: Float[Tensor, "batch kv_head length value_dim"],
    attention_mask: Pass | Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Float[Tensor, "batch length head value_dim"], None]:
    """Return what each token attends to, by the pass that came as the mask, and no weights.

    A layer whose mask is a stock one, since it slides or its model is not extended, attends as
    `transformers` does.
    """
    _check_extras(module, kwargs)
    if not isinstance(attention_mask, Pass):
        stock: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
        return stock
    cache = HERE.take_cache()
    _check(module, query, key, dropout=dropout)
    query, key, value = _of_one_dtype(query, key, value)
    attend_here = _attend_at_once if cache is None else partial(_continue, cache)
    outputs = attend_here(query, key, value, attention_mask, scaling)
    return outputs.transpose(1, 2).contiguous(), None


def _of_one_dtype(*tensors: Tensor) -> list[Tensor]:
    """Return tensors as autocast would give them to an attention of PyTorch, if it is on.

    Rotary positions leave queries and keys in float32 there, beside values in half precision.
    """
    kind = tensors[0].device.type
    if not torch.is_autocast_enabled(kind):
        return list(tensors)
    dtype = torch.get_autocast_dtype(kind)
    return [tensor.to(dtype) for tensor in tensors]


def _attend_at_once(
    query: Tensor, key: Tensor, value: Tensor, current: Pass, scaling: float | None
) -> Tensor:
    documents, layer = current.documents, HERE.layer
    where: dict[str, Any] = {
        "scaling": scaling,
        "documents": None if documents is None else documents.to(query.device),
        "step": current.step,
        "layer": layer,
    }
    outputs: Tensor = span_attention(query, key, value, current.config, **where)
    if current.watchers and HERE.current is current:  # and not when a checkpoint is run again
        _tell(current, layer, chosen_blocks(query, key, value, current.config, **where))
    return outputs


def _continue(
    cache: SpanLayer,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    current: Pass,
    scaling: float | None,
) -> Tensor:
    documents, state = current.documents, cache.state
    begin, watched = state.length, bool(current.watchers)
    if watched and begin and not state.recording:
        raise InputError(
            f"this cache holds {begin} tokens before statespan.watch, whose queries are not "
            "there any more; begin to watch before the first of them."
        )
    state.recording = watched
    real = None if documents is None else (documents >= 0).to(query.device)
    outputs: Tensor = state.extend(query, key, value, scaling=scaling, real=real)
    if watched:
        _tell(current, HERE.layer, state.choices(begin=begin))
    return outputs


def _tell(current: Pass, layer: int, choices: list[Choice]) -> None:
    for watcher in current.watchers:
        watcher(layer, choices)


def _check_extras(module: nn.Module, extras: Mapping[str, Any]) -> None:
    """Refuse what the model asks of its attention and neither this nor the stock one does."""
    for name, what in UNKNOWN.items():
        if extras.get(name) is not None:
            raise InputError(
                f"{type(module).__name__} {what}, which span-expanded attention does not do; "
                "use the model as it is, by statespan.disable(model)."
            )


def _check(module: nn.Module, query: Tensor, key: Tensor, *, dropout: float) -> None:
    if dropout:
        raise InputError(
            f"attention dropout must be 0 with span-expanded attention, got {dropout}; set "
            "attention_dropout = 0 in the attention modules, and in the config before a model is "
            "made."
        )
    if query.shape[2] != key.shape[2]:
        raise InputError(
            f"{type(module).__name__} attends to {key.shape[2]} keys with {query.shape[2]} "
            "queries outside a cache that statespan.enable put in; leave past_key_values to the "
            "model."
        )
