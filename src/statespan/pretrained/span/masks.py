"""The mask of an extended model: no table of who sees whom, but the pass itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.masking_utils import causal_mask_function, sdpa_mask

from statespan.errors import InputError
from statespan.pretrained.span.passes import HERE, Pass

__all__ = ["span_mask"]


def span_mask(
    *, mask_function: Callable[..., Tensor], local_size: int | None = None, **arguments: Any
) -> Pass | Tensor | None:
    """Return what stands for the mask: the pass under way, in time linear in the length.

    Layers that slide, and models that are not extended, get the mask of stock attention.

    Raises:
        InputError: the model asks for a mask that is not causal, or that is overlaid by another.
    """
    current = HERE.current
    if current is None or (local_size is not None and not current.slides):
        stock: Tensor | None = sdpa_mask(
            mask_function=mask_function, local_size=local_size, **arguments
        )
        return stock
    if arguments.get("use_vmap") or _sees_ahead(mask_function, **arguments):
        raise InputError(
            "span-expanded attention is causal, and this model overlays its causal mask with "
            "another (of images, blocks of tokens, or both directions), which would be lost; "
            "statespan.disable(model) for such input."
        )
    return current


def _sees_ahead(
    mask_function: Any,
    batch_size: int,
    q_length: int,
    q_offset: int | Tensor = 0,
    device: torch.device | str = "cpu",
    **_: Any,
) -> bool:
    """Return whether some token sees the one after it; the last is not asked."""
    if mask_function is causal_mask_function:
        return False
    places = torch.arange(q_length - 1, device=device)[None] + q_offset
    rows = torch.arange(batch_size, device=device)[:, None]
    if not places.numel() or not batch_size:
        return False
    return bool(mask_function(rows, rows.new_zeros(()), places, places + 1).any())
