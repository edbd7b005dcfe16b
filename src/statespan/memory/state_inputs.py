"""What may be given to a state, and what may not be asked of its outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from statespan.errors import InputError

__all__ = ["check_tokens", "without_backward"]


def check_tokens(query: Tensor, key: Tensor, value: Tensor, real: Tensor | None) -> None:
    """Check that queries, keys and values are of the same tokens.

    Raises:
        InputError: they are not, or `real` has no mark for each of them.
    """
    if query.ndim != 4:
        raise InputError(
            f"query must have the axes [batch, heads, length, width], got {list(query.shape)}."
        )
    rows, length = query.shape[0], query.shape[2]
    for name, tensor in (("key", key), ("value", value)):
        if tensor.ndim != 4 or (tensor.shape[0], tensor.shape[2]) != (rows, length):
            raise InputError(
                f"{name} must have the batch and length of query: [{rows}, any, {length}, any], "
                f"got {list(tensor.shape)}."
            )
    if real is not None and (list(real.shape) != [rows, length] or real.dtype != torch.bool):
        raise InputError(
            f"real must be bool of [{rows}, {length}], got {real.dtype} of {list(real.shape)}."
        )


def without_backward(output: Tensor, *sources: Tensor) -> Tensor:
    """Return an output whose backward pass is an error, if there would be one for its sources."""
    if not torch.is_grad_enabled() or not any(source.requires_grad for source in sources):
        return output
    severed: Tensor = _WithoutBackward.apply(output, *sources)  # type: ignore[no-untyped-call]
    return severed


class _WithoutBackward(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, output: Tensor, *sources: Tensor) -> Tensor:
        del context, sources
        return output.view_as(output)

    @staticmethod
    @once_differentiable
    def backward(context: Any, *grads: Tensor) -> Any:
        del context, grads
        raise InputError(
            "no gradient flows through a continued SpanState, as that of the tokens before would "
            "be missing: give all tokens in one call, or decode under torch.no_grad()."
        )
