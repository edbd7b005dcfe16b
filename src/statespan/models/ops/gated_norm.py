"""A gated root-mean-square norm, as after the scan of a Mamba-2 block."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import silu

from statespan.errors import InputError
from statespan.models.ops.checks import check_dtypes, check_shape, computing_dtype
from statespan.models.ops.gated_norm_kernel import GatedNormKernel
from statespan.models.ops.operator import (
    Kind,
    empty_gradients,
    gradients_by_recomputation,
    make_operation,
    rows_per_member,
)
from statespan.native import is_native

__all__ = ["gated_norm"]


def gated_norm(
    hidden: Float[Tensor, "batch length channel"],
    gate: Float[Tensor, "batch length channel"],
    weight: Float[Tensor, " channel"],
    epsilon: float,
    groups: int = 1,
) -> Float[Tensor, "batch length channel"]:
    """Return `hidden` times silu of `gate`, normalized a group of channels at a time.

    With u = x ∘ silu(z), y = u / sqrt(mean(u²) + `epsilon`) ∘ `weight` (Dao and Gu 2024, section
    7.2), where x is `hidden`, z is `gate`, and the mean is over each of the `groups` equal parts of
    a token's channels. bfloat16 is computed in float32; the result has the dtype of `hidden`.
    Differentiable once.

    Raises:
        InputError: a shape, dtype or device does not fit, `epsilon` is negative, or `groups` does
            not divide the channels; the message names the argument.

    Example:
        >>> import torch
        >>> hidden, gate = torch.tensor([[[1.0, 7.0]]]), torch.full((1, 1, 2), 50.0)
        >>> gated_norm(hidden, gate, torch.tensor([5.0, 10.0]), 1e-5).round().tolist()
        [[[1.0, 14.0]]]
    """
    check_dtypes(hidden=hidden, gate=gate, weight=weight)
    check_shape("hidden", hidden, None, None, None)
    check_shape("gate", gate, *hidden.shape)
    channel = hidden.shape[2]
    check_shape("weight", weight, channel)
    if not epsilon >= 0:
        raise InputError(f"epsilon must be at least 0, got {epsilon}.")
    if groups < 1 or channel % groups:
        raise InputError(f"groups must divide the {channel} channels of hidden, got {groups}.")
    dtype = computing_dtype(hidden)
    (outputs,) = _gated_norm(hidden.to(dtype), gate.to(dtype), weight.to(dtype), epsilon, groups)
    return outputs.to(hidden.dtype)  # type: ignore[no-any-return]


def _forward(
    hidden: Tensor, gate: Tensor, weight: Tensor, epsilon: float, groups: int
) -> tuple[Tensor, Tensor]:
    """Return outputs, and what each group of a token's was scaled by [row, length, group].

    Rows: hidden and gate [row, length, channel]. Members: weight [member, channel].
    """
    if is_native(hidden, gate, weight):
        return GatedNormKernel(hidden, gate, weight, groups).forward(epsilon)
    return _composite(hidden, gate, weight, epsilon, groups)


def _backward(
    hidden: Tensor,
    gate: Tensor,
    weight: Tensor,
    epsilon: float,
    groups: int,
    scales: Tensor,
    grad_outputs: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of the tensors that `_forward` takes."""
    if not is_native(hidden, gate, weight):
        arguments = (hidden, gate, weight, epsilon, groups)
        return gradients_by_recomputation(  # type: ignore[return-value]
            _composite, arguments, grad_outputs
        )
    if grad_outputs is None:
        grad_outputs = hidden.new_zeros(1, 1, hidden.shape[2]).expand_as(hidden)
    return GatedNormKernel(hidden, gate, weight, groups).backward(scales, grad_outputs)


def _composite(
    hidden: Tensor, gate: Tensor, weight: Tensor, epsilon: float, groups: int
) -> tuple[Tensor, Tensor]:
    """Return outputs and scales, of torch's own differentiable functions."""
    weight = weight.repeat_interleave(rows_per_member(len(hidden), weight), 0)
    size = hidden.shape[2] // groups
    gated = (hidden * silu(gate)).reshape(*hidden.shape[:2], groups, size)
    scales = torch.rsqrt(gated.square().mean(-1, keepdim=True) + epsilon)
    outputs = (gated * scales).flatten(2) * weight[:, None]
    return outputs.contiguous(), scales.squeeze(-1).contiguous()


def _fake(hidden: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    groups = rest[3]
    return hidden.new_empty(hidden.shape), hidden.new_empty(*hidden.shape[:2], groups)


_KINDS: tuple[Kind, ...] = ("row", "row", "member", "fixed", "fixed")

_gated_norm = make_operation(
    "gated_norm", _forward, _backward, kinds=_KINDS, fake=_fake,
    fake_backward=empty_gradients(3), num_results=1,
)  # fmt: skip
