"""Any kind of attention of `statespan.memory` over the rows of many models at once."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from statespan.memory import Attention

__all__ = ["attend"]


def attend(
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch head length dim"],
    value: Float[Tensor, "batch head length dim"],
    attention: Attention,
) -> Float[Tensor, "batch head length dim"]:
    """Return the attention, each row by itself; `torch.func.vmap` makes its axis one of rows.

    What a kind of attention chooses depends on values, which vmap's own rules do not allow: so it
    runs below them. Differentiable once.

    Example:
        >>> import torch
        >>> from statespan.memory import SlidingAttention
        >>> query, value = torch.zeros(1, 1, 3, 1), torch.arange(3.0).view(1, 1, 3, 1)
        >>> attend(query, query, value, SlidingAttention(2)).flatten().tolist()
        [0.0, 0.5, 1.5]
    """
    outputs: Tensor = _Attend.apply(query, key, value, attention)  # type: ignore[no-untyped-call]
    return outputs


def _run(query: Tensor, key: Tensor, value: Tensor, attention: Attention) -> Tensor:
    return attention.attend(query, key, value, scaling=query.shape[-1] ** -0.5, step=0, layer=0)


def _fold(info: Any, in_dims: tuple[int | None, ...], tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """Return the tensors with the axis of vmap, first or absent, as a part of the rows."""
    stacked = [
        tensor.expand(info.batch_size, *tensor.shape) if axis is None else tensor.movedim(axis, 0)
        for tensor, axis in zip(tensors, in_dims, strict=False)
    ]
    return [tensor.flatten(0, 1) for tensor in stacked]


class _Attend(torch.autograd.Function):
    """The outputs."""

    @staticmethod
    def forward(query: Tensor, key: Tensor, value: Tensor, attention: Attention) -> Tensor:
        return _run(query, key, value, attention)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(*inputs[:3])
        ctx.attention = inputs[3]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        found = _AttendBackward.apply(  # type: ignore[no-untyped-call]
            *ctx.saved_tensors, gradients[0], ctx.attention
        )
        return (*found, None)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor, int]:
        folded = _fold(info, in_dims, arguments[:3])
        outputs = _Attend.apply(*folded, arguments[3])  # type: ignore[no-untyped-call]
        return outputs.unflatten(0, (info.batch_size, -1)), 0


class _AttendBackward(torch.autograd.Function):
    """The gradients of query, key and value, by running the attention again."""

    @staticmethod
    def forward(
        query: Tensor, key: Tensor, value: Tensor, grad: Tensor, attention: Attention
    ) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            leaves = [tensor.detach().requires_grad_() for tensor in (query, key, value)]
            outputs = _run(leaves[0], leaves[1], leaves[2], attention)
            return torch.autograd.grad(outputs, leaves, grad)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Save nothing for a second derivative, which does not exist."""

    @staticmethod
    def backward(*_: Any) -> Any:
        raise RuntimeError("attention of a hybrid is differentiable once, not twice.")

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *arguments: Any
    ) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        folded = _fold(info, in_dims, arguments[:4])
        found = _AttendBackward.apply(*folded, arguments[4])  # type: ignore[no-untyped-call]
        return tuple(each.unflatten(0, (info.batch_size, -1)) for each in found), (0,) * 3
