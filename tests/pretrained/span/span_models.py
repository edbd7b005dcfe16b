"""Tiny models of every family with attention that may span, and how they are compared."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statespan.memory import SpanAttention
from statespan.pretrained import accelerate
from statespan.pretrained.structure import structure
from tests.pretrained.tiny_models import FAMILIES, SPAN_FAMILIES, tiny_model, tokens

EVERY = list(SPAN_FAMILIES)
LATENT = [name for name in EVERY if name.startswith(("kimi", "bailing"))]
CAUSAL = ("previous", "running", "token")
LENGTH = 45


def span_model(family: str, **changes: Any) -> Any:
    """Return a model all of whose attention, but for Lfm3's, looks back to the beginning."""
    whole = {"sliding_window": None} if family == "mistral" else {}
    return tiny_model(family, **{**whole, **changes})


def fast_model(family: str) -> Any:
    """Return such a model, with mixers that carry their state exactly, where that can be."""
    model = span_model(family)
    if family.partition("/")[0] in FAMILIES:
        accelerate(model)
    return model


def span(family: str = "", **changes: Any) -> SpanAttention:
    """Return a small configuration that suits the family."""
    summary = "key" if family in LATENT else "attention"
    sizes = {"chunk": 16, "block": 8, "top_k": 2, "selection": "previous", "summary": summary}
    return SpanAttention(**{**sizes, **changes})


def logits(model: Any, ids: Tensor, **arguments: Any) -> Tensor:
    """Return the logits of one pass without a cache."""
    with torch.no_grad():
        output: Tensor = model(ids, **{"use_cache": False, **arguments}).logits
    return output


def assert_same(outputs: Tensor, expected: Tensor) -> None:
    """Check that logits are equal up to rounding, as seen beside how much they vary."""
    error = (outputs - expected).abs().max() / expected.std()
    assert error < 2e-5, float(error)


def assert_different(outputs: Tensor, expected: Tensor) -> None:
    """Check that logits differ by more than rounding."""
    assert (outputs - expected).abs().max() > 1e-3 * expected.std()


def positions(mask: Tensor) -> Tensor:
    """Return the position of each token among the real ones of its row."""
    return (mask.cumsum(1) - 1).clamp_min(0)


__all__ = [
    "CAUSAL", "EVERY", "LATENT", "LENGTH", "assert_different", "assert_same", "fast_model",
    "logits", "positions", "span", "span_model", "structure", "tokens",
]  # fmt: skip
