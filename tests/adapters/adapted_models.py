"""Tiny models with adapters that act, as after training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statespan.adapters import adapt, hylora
from tests.pretrained.tiny_models import tiny_model, tokens

RANK = 4


def adapted(family: str, *, changes: dict[str, Any] | None = None, **options: Any) -> Any:
    """Return a tiny model that `adapt` put the adapters of `hylora` into."""
    model = tiny_model(family, **(changes or {}))
    return adapt(model, hylora(model, **{"rank": RANK, "alpha": 2 * RANK, **options}))


def disturb(model: Any, seed: int = 0) -> Any:
    """Add noise to all that trains of a model, and return it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) / 10)
    return model


@torch.no_grad()
def logits(model: Any, ids: Tensor | None = None) -> Tensor:
    output: Tensor = model(tokens() if ids is None else ids, use_cache=False).logits
    return output


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Compare with errors measured in the largest number that is expected."""
    scale = expected.abs().max().item()
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * scale)
