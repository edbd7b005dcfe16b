"""A linear layer's products of matrices by a compiled kernel, where torch's own are slower.

Torch multiplies with MKL in most of its builds, which has half of an AMD processor's vectors rest.
There the projections around a scan, the larger part of a Mamba-2 layer, take half of the time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from statespan.models.ops.operator import is_plain
from statespan.native import call, is_native, kernel_level, num_threads

__all__ = ["linear", "multiply"]

LEAST_ROWS = 32
"""With fewer rows, packing the weights costs more than torch's products."""


def linear(
    inputs: Float[Tensor, "*batch columns"],
    weight: Float[Tensor, "rows columns"],
    bias: Float[Tensor, " rows"] | None = None,
) -> Float[Tensor, "*batch rows"]:
    """Return `inputs` times `weight` transposed, plus `bias`, as `torch.nn.functional.linear` does.

    The results differ by roundings. What is not a matter of float32 on the CPU, of autograd alone
    and of many rows is torch's, and so are all errors. A gradient that nobody needs costs nothing;
    gradients of gradients are torch's.

    Example:
        >>> import torch
        >>> linear(torch.ones(1, 2), torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [[3.0, 7.0]]
    """
    if not _takes(inputs, weight, bias):
        return functional.linear(inputs, weight, bias)
    return _Linear.apply(inputs, weight, bias)  # type: ignore[no-any-return, no-untyped-call]


def multiply(
    left: Float[Tensor, "row inner"], right: Float[Tensor, "inner column"]
) -> Float[Tensor, "row column"]:
    """Return the product of two matrices of `is_native`, none of whose sizes is 0, by the kernel.

    Sums go along `inner` in order, however many threads there are. Not differentiable.
    """
    left, right = (each if 1 in each.stride() else each.contiguous() for each in (left, right))
    (rows, inner), columns = left.shape, right.shape[1]
    products = left.new_empty(rows, columns)
    call(
        "matrix_product", products, left, right, *left.stride(), *right.stride(),
        rows, columns, inner, num_threads(rows * columns * inner),
    )  # fmt: skip
    return products


def _takes(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    return (
        is_plain(inputs, weight, bias)
        and inputs.numel() >= LEAST_ROWS * inputs.shape[-1] > 0
        and weight.shape == (weight.shape[0], inputs.shape[-1])
        and (bias is None or bias.shape == weight.shape[:1])
        and weight.shape[0] > 0
        and is_native(inputs, weight, bias)
        and _is_preferred(kernel_level())
        and not torch.is_autocast_enabled("cpu")
    )


@cache
def _is_preferred(level: str | None) -> bool:
    """Return whether the kernels of this level multiply faster than torch does here."""
    answer = torch.zeros((), dtype=torch.int64)
    if level is not None:
        call("prefers_these_products", answer)
    return bool(answer)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        outputs = multiply(inputs.reshape(-1, inputs.shape[-1]), weight.t())
        if bias is not None:
            outputs += bias
        return outputs.view(*inputs.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        inputs, weight = ctx.saved_tensors
        by_torch = torch.is_grad_enabled() or not is_plain(*grads, inputs, weight)
        product = torch.matmul if by_torch else multiply
        grad = grads[0].reshape(-1, len(weight))
        needs_inputs, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            product(grad, weight).view(inputs.shape) if needs_inputs else None,
            product(grad.t(), inputs.reshape(-1, inputs.shape[-1])) if needs_weight else None,
            grad.sum(0) if needs_bias else None,
        )
