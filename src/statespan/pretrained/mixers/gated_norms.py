"""The gated norms of Mamba-2's mixers on this package's operation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statespan.models.ops import gated_norm
from statespan.pretrained.mixers.bare import is_bare

__all__ = ["GATED_NORMS", "normalize_gated"]

GATED_NORMS = frozenset(
    f"transformers.models.{family}.modeling_{family}.{norm}"
    for family, norm in (
        ("bamba", "BambaRMSNormGated"),
        ("granitemoehybrid", "GraniteMoeHybridRMSNormGated"),
        ("mamba2", "MambaRMSNormGated"),
        ("nemotron_h", "NemotronHRMSNormGated"),
        ("zamba2", "Zamba2RMSNormGated"),
    )
)
"""Full names of the classes whose arithmetic is that of the operation, but for roundings."""


def normalize_gated(norm: Any, outputs: Tensor, gate: Tensor) -> Tensor:
    """Return norm(outputs, gate), by the operation where it is sure to be the same.

    That is where `norm` is of one of `GATED_NORMS` itself, with the forward that this came with and
    without hooks. In float64 these classes compute in float32, so they are called.
    """
    if not _is_known(norm) or torch.float64 in (outputs.dtype, norm.weight.dtype):
        return norm(outputs, gate)  # type: ignore[no-any-return]
    groups = outputs.shape[-1] // norm.group_size
    normed = gated_norm(outputs, gate, norm.weight, norm.variance_epsilon, groups)
    return normed.to(torch.promote_types(outputs.dtype, norm.weight.dtype))


def _is_known(norm: Any) -> bool:
    cls = type(norm)
    is_named = f"{cls.__module__}.{cls.__qualname__}" in GATED_NORMS
    is_own = getattr(cls.forward, "__module__", None) == cls.__module__
    return is_named and is_own and is_bare(norm)
