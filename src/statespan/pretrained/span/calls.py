"""What a call of a decoder asks for: its documents, its cache, and what cannot be granted."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from inspect import signature, unwrap
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers.cache_utils import Cache
from transformers.generation.utils import GenerationMixin

from statespan.errors import InputError
from statespan.pretrained.accelerated import PACKING
from statespan.pretrained.packing import documents_of

__all__ = ["bound", "check_call", "documents_in", "is_generating", "is_packed", "wants_cache"]


def bound(decoder: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments of a call by name."""
    names = signature(decoder.forward).parameters
    return {**dict(zip(names, args, strict=False)), **kwargs}


def check_call(decoder: nn.Module, call: Mapping[str, Any], tokens: Tensor) -> None:
    """Refuse what an extended model cannot do, before it does anything.

    Raises:
        InputError: there are no tokens, or a prepared mask, attention in both directions or
            attention weights are asked for.
    """
    if not tokens.numel():
        raise InputError(f"the input must hold a token, got the shape {list(tokens.shape)}.")
    mask = call.get("attention_mask")
    if mask is not None and getattr(mask, "ndim", 0) != 2:
        came = f"{list(mask.shape)}" if isinstance(mask, Tensor) else f"a {type(mask).__name__}"
        raise InputError(
            "attention_mask must be (batch, length), 0 at padding, got "
            f"{came}: who sees whom is what span-expanded attention decides; "
            "statespan.disable(model) to attend by a mask of your own."
        )
    config: Any = decoder.config
    if call.get("is_causal") is False or getattr(config, "is_causal", True) is False:
        raise InputError(
            "is_causal must be left True: span-expanded attention is causal; "
            "statespan.disable(model) to attend in both directions."
        )
    if call.get("output_attentions") or getattr(config, "output_attentions", False):
        raise InputError(
            "output_attentions must be False: weights for all tokens are never formed; "
            "statespan.watch(model) tells which blocks were retrieved."
        )


def documents_in(call: Mapping[str, Any], tokens: Tensor) -> Int[Tensor, "batch length"] | None:
    """Return the number of each token's document, read off the arguments of a call."""
    cache = call.get("past_key_values")
    begins = not isinstance(cache, Cache) or not cache.get_seq_length()
    positions = call.get("position_ids") if begins else None
    packing = {name: call.get(name) for name in PACKING}
    return documents_of(tokens, call.get("attention_mask"), positions, packing)


def is_packed(documents: Int[Tensor, "batch length"] | None) -> bool:
    """Return whether some row has tokens of several documents."""
    if documents is None or not documents.numel():
        return False
    real = documents >= 0
    last = documents.where(real, -1).amax(dim=1)
    first = documents.where(real, torch.iinfo(documents.dtype).max).amin(dim=1)
    return bool((last > first).any())


def wants_cache(decoder: nn.Module, call: Mapping[str, Any]) -> bool:
    """Return whether the model would make a cache in this call, as `transformers` decides it."""
    asked = call.get("use_cache")
    config: Any = decoder.config
    wanted = getattr(config, "use_cache", False) if asked is None else asked
    checkpoints = getattr(decoder, "gradient_checkpointing", False) and decoder.training
    return bool(wanted) and not checkpoints


def is_generating() -> bool:
    """Return whether this is called from `generate`, which a model's own calls do not say."""
    code = unwrap(GenerationMixin.generate).__code__
    frame = sys._getframe()  # noqa: SLF001
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code is code:
            return True
    return False
