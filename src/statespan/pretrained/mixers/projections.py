"""The projections of mixers, which are what remains of a layer's time behind a fast recurrence."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from statespan.models.ops import linear
from statespan.pretrained.mixers.bare import is_torchs

__all__ = ["project"]


def project(projection: Any, hidden: Tensor) -> Tensor:
    """Return projection(hidden), by this package's products where it is torch's own and bare."""
    if is_torchs(projection):
        return linear(hidden, projection.weight, projection.bias)
    return projection(hidden)  # type: ignore[no-any-return]
