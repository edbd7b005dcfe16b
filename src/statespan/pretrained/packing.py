"""Which document each token is of, read off what `transformers` hands a mixer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int, Shaped
from torch import Tensor

from statespan.errors import InputError

__all__ = ["documents_of"]


def documents_of(
    tokens: Shaped[Tensor, "batch length *width"],
    mask: Tensor | object | None,
    positions: Int[Tensor, "batch length"] | None,
    packing: Mapping[str, Any],
) -> Int[Tensor, "batch length"] | None:
    """Return the number of each token's document, -1 for padding, or none if all is one document.

    `mask` is 0 at padding; a mask longer than the tokens is one of the whole past, and its end
    counts. Documents are told apart by `packing["seq_idx"]` (their numbers), by
    `packing["cu_seq_lens_q"]` (where each begins in one packed row), by the numbers in `mask` if
    they are not all 1, or where `positions`, if there is no mask, do not go on by one.

    Raises:
        InputError: `seq_idx` or `cu_seq_lens_q` do not fit `tokens`.
    """
    documents = _packed(tokens, positions if mask is None else None, packing)
    if not isinstance(mask, Tensor) or mask.ndim != 2:
        return documents
    numbers = mask[:, mask.shape[1] - tokens.shape[1] :].long().expand(tokens.shape[:2])
    if not torch.compiler.is_compiling() and bool((numbers == 1).all()):
        return documents
    return numbers - 1 if documents is None else torch.where(numbers == 0, -1, documents)


def _packed(tokens: Tensor, positions: Tensor | None, packing: Mapping[str, Any]) -> Tensor | None:
    numbers, bounds = packing.get("seq_idx"), packing.get("cu_seq_lens_q")
    shape = tokens.shape[:2]
    if numbers is not None:
        if numbers.ndim != 2 or numbers.shape[1] != shape[1]:
            raise InputError(
                f"seq_idx must have a number for each token, {list(shape)}, "
                f"got the shape {list(numbers.shape)}."
            )
        return torch.as_tensor(numbers).expand(shape)
    if bounds is not None:
        if shape[0] != 1:
            raise InputError(
                f"cu_seq_lens_q needs all documents in one row, got a batch of {shape[0]}; "
                "number the documents of several rows by seq_idx."
            )
        places = torch.arange(shape[1], device=bounds.device, dtype=bounds.dtype)
        return torch.searchsorted(bounds, places, right=True)[None]
    if positions is None or positions.ndim != 2:  # those of images have more axes
        return None
    return _restarts(positions.expand(shape))


def _restarts(positions: Tensor) -> Tensor | None:
    begins = torch.diff(positions, prepend=positions[:, :1] - 1) != 1
    if not torch.compiler.is_compiling() and not bool(begins.any()):
        return None
    return begins.cumsum(1)
