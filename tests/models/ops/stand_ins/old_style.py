"""An autograd function of the kind that packages of GPU kernels have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Results = tuple[Tensor, ...]


class OldStyle(torch.autograd.Function):
    """`run(*tensors)`, which torch.func refuses, as it does every function without setup_context.

    Only the first `num_differentiable` results pass a gradient on.
    """

    @staticmethod
    def forward(
        ctx: Any, run: Callable[..., Results], num_differentiable: int, *tensors: Tensor | None
    ) -> Results:
        ctx.run, ctx.num_differentiable = run, num_differentiable
        ctx.save_for_backward(*tensors)
        return run(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        with torch.enable_grad():
            leaves = [t if t is None else t.detach().requires_grad_() for t in saved]
            results = ctx.run(*leaves)[: ctx.num_differentiable]
        wanted = [leaf for leaf in leaves if leaf is not None]
        given = gradients[: ctx.num_differentiable]
        found = iter(torch.autograd.grad(results, wanted, given, allow_unused=True))
        return None, None, *(None if leaf is None else next(found) for leaf in leaves)


def apply(
    run: Callable[..., Results], *tensors: Tensor | None, num_differentiable: int = 2
) -> Results:
    return OldStyle.apply(run, num_differentiable, *tensors)
