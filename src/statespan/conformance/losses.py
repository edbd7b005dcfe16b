"""What a model of `transformers` says once a part of its state was lost: for diagnoses."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from statespan.compiler.quiet import quiet_transformers
from statespan.conformance.protocol import Tokens

__all__ = ["Lost", "logits_after_loss"]

Lost: TypeAlias = Literal["recurrent state", "state", "last inputs of the convolution"]
"""Which part of what a layer keeps is lost; `state` is all of it."""


@torch.inference_mode()
def logits_after_loss(model: PreTrainedModel, tokens: Tokens, place: int, lost: Lost) -> Tensor:
    """Return the logits, [position, token], if a part of the state is zero before `place`.

    The model reads one token at a time, the way that its certificate is about.
    """
    cache: Any = DynamicCache(config=model.config)
    name = "cache_params" if model.config.model_type.startswith("mamba") else "past_key_values"
    logits = []
    with quiet_transformers():
        for position, token in enumerate(tokens):
            if position == place:
                _clear(cache, lost)
            output = model(torch.tensor([[token]]), use_cache=True, **{name: cache})
            logits.append(output.logits[0, -1].float())
    return torch.stack(logits)


def _clear(cache: Any, lost: Lost) -> None:
    """Set a part of what each recurrent layer keeps to zero."""
    for layer in cache.layers:
        parts = vars(layer)
        kept: list[dict[int, Tensor | None]] = []
        if lost != "last inputs of the convolution":
            kept.append(parts.get("recurrent_states", {}))
        if lost != "recurrent state":
            kept.append(parts.get("conv_states", {}))
        for state in (state for states in kept for state in states.values()):
            if state is not None:
                state.zero_()
