"""Checks of an operation's arguments: each error names the argument, the need and what came."""

from __future__ import annotations

import torch
from torch import Tensor

from statespan.errors import InputError

__all__ = ["check_documents", "check_dtypes", "check_shape", "computing_dtype"]


def check_shape(name: str, tensor: Tensor | None, *sizes: int | None) -> None:
    """Check the shape of `tensor`; a size of None may be any, and a tensor of None is none.

    Raises:
        InputError: the number of axes or a size is another one.
    """
    if tensor is None or tensor.shape == sizes:
        return
    fits = tensor.ndim == len(sizes) and all(
        size is None or size == came for size, came in zip(sizes, tensor.shape, strict=True)
    )
    if not fits:
        wanted = "[" + ", ".join("any" if size is None else str(size) for size in sizes) + "]"
        raise InputError(f"{name} must have the shape {wanted}, got {list(tensor.shape)}.")


def check_dtypes(*, allow_complex: bool = False, **tensors: Tensor | None) -> None:
    """Check that all tensors are of one device, and of floats or, if allowed, complex numbers.

    Raises:
        InputError: one is not; the message names it.
    """
    given = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    first, reference = next(iter(given.items()))
    for name, tensor in given.items():
        if not (tensor.is_floating_point() or (allow_complex and tensor.is_complex())):
            raise InputError(f"{name} must be of floating point, got {tensor.dtype}.")
        if tensor.device != reference.device:
            raise InputError(
                f"{name} must be on the device of {first}, {reference.device}, got {tensor.device}."
            )


def check_documents(documents: Tensor | None, batch: int, length: int) -> None:
    """Check that `documents` is of integers and of shape [batch, length].

    Raises:
        InputError: it is not.
    """
    check_shape("documents", documents, batch, length)
    if documents is not None and (documents.is_floating_point() or documents.dtype is torch.bool):
        raise InputError(f"documents must be of integers, got {documents.dtype}.")


def computing_dtype(inputs: Tensor) -> torch.dtype:
    """Return the dtype that an operation computes in and keeps its state in: float32 or float64."""
    return torch.float64 if inputs.dtype is torch.float64 else torch.float32
