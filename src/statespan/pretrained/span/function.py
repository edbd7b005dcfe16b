"""The attention function that an extended model calls in each of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from statespan.errors import InputError
from statespan.memory import span_attention
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
    if not isinstance(attention_mask, Pass):
        stock: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
        return stock
    _check(module, query, key, dropout=dropout, extras=kwargs)
    cache = HERE.take_cache()
    if cache is None:
        outputs = _attend_at_once(query, key, value, attention_mask, scaling)
    else:
        outputs = _continue(cache, query, key, value, attention_mask, scaling)
    return outputs.transpose(1, 2).contiguous(), None


def _attend_at_once(
    query: Tensor, key: Tensor, value: Tensor, current: Pass, scaling: float | None
) -> Tensor:
    documents = current.documents
    where = {
        "scaling": scaling,
        "documents": None if documents is None else documents.to(query.device),
        "step": current.step,
        "layer": HERE.layer,
    }
    outputs: Tensor = span_attention(query, key, value, current.config, **where)
    return outputs


def _continue(
    cache: SpanLayer,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    current: Pass,
    scaling: float | None,
) -> Tensor:
    documents = current.documents
    real = None if documents is None else (documents >= 0).to(query.device)
    outputs: Tensor = cache.state.extend(query, key, value, scaling=scaling, real=real)
    return outputs


def _check(
    module: nn.Module, query: Tensor, key: Tensor, *, dropout: float, extras: Mapping[str, Any]
) -> None:
    """Refuse what the model asks of its attention and this one cannot do."""
    for name, what in UNKNOWN.items():
        if extras.get(name) is not None:
            raise InputError(
                f"{type(module).__name__} {what}, which span-expanded attention does not do; "
                "use the model as it is, by statespan.disable(model)."
            )
    if dropout:
        raise InputError(
            f"attention dropout must be 0 with span-expanded attention, got {dropout}; set "
            "model.config.attention_dropout = 0 before the model is made, or attention_dropout = 0 "
            "in its attention modules."
        )
    if query.shape[2] != key.shape[2]:
        raise InputError(
            f"{type(module).__name__} attends to {key.shape[2]} keys with {query.shape[2]} "
            "queries outside a cache that statespan.enable put in; leave past_key_values to the "
            "model."
        )
