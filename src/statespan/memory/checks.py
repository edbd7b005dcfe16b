"""Checks of an attention's arguments: each error names the argument, the need and what came."""

from __future__ import annotations

import torch
from torch import Tensor

from statespan.errors import InputError

__all__ = ["check_attention", "check_documents", "check_scaling"]


def check_attention(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Check that queries, keys and values fit together.

    Raises:
        InputError: a number of axes, a size, a dtype or a device does not fit.
    """
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if tensor.ndim != 4:
            raise InputError(
                f"{name} must have the axes [batch, heads, length, width], "
                f"got the shape {list(tensor.shape)}."
            )
        if not tensor.is_floating_point():
            raise InputError(f"{name} must be of floating point, got {tensor.dtype}.")
        for kind, came, wanted in (
            ("dtype", tensor.dtype, query.dtype),
            ("device", tensor.device, query.device),
        ):
            if came != wanted:
                raise InputError(f"{name} must have the {kind} of query, {wanted}, got {came}.")
    batch, heads, length, dim = query.shape
    kv_heads = key.shape[1]
    _check_sizes("key", key, (batch, None, length, dim), "[batch, any, length, width] of query")
    _check_sizes("value", value, (batch, kv_heads, length, None), "batch, heads and length of key")
    if dim == 0 or (heads > 0 and (kv_heads == 0 or heads % kv_heads)):
        raise InputError(
            f"the heads of key must divide those of query and the width be at least 1, "
            f"got the shapes {list(query.shape)} of query and {list(key.shape)} of key."
        )


def _check_sizes(name: str, tensor: Tensor, sizes: tuple[int | None, ...], need: str) -> None:
    fits = all(size in (None, came) for size, came in zip(sizes, tensor.shape, strict=True))
    if not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in sizes)
        raise InputError(f"{name} must have {need}: [{wanted}], got {list(tensor.shape)}.")


def check_documents(documents: Tensor | None, query: Tensor) -> None:
    """Check that `documents` has an integer for each token, on the device of the queries.

    Raises:
        InputError: it has not.
    """
    if documents is None:
        return
    wanted = [query.shape[0], query.shape[2]]
    if list(documents.shape) != wanted:
        raise InputError(f"documents must have the shape {wanted}, got {list(documents.shape)}.")
    if documents.is_floating_point() or documents.is_complex() or documents.dtype is torch.bool:
        raise InputError(f"documents must be of integers, got {documents.dtype}.")
    if documents.device != query.device:
        raise InputError(
            f"documents must be on the device of query, {query.device}, got {documents.device}."
        )


def check_scaling(scaling: float | None, dim: int) -> float:
    """Return the scaling of logits, which is `dim**-0.5` if None is given.

    Raises:
        InputError: it is not positive and finite.
    """
    if scaling is None:
        return float(dim**-0.5)
    if not 0 < scaling < float("inf"):
        raise InputError(f"scaling must be positive and finite, got {scaling}.")
    return scaling
