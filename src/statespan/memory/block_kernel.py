"""Attention to retrieved blocks by a compiled kernel, which gathers and copies nothing.

It takes a query at a time, whose blocks are read where they lie. Where few queries share their
blocks, as they do if each token chooses by itself, that is much faster than to gather them.
"""

from __future__ import annotations

from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from statespan.memory.plan import Plan
from statespan.native import call, float_bits, is_native, num_parts, num_threads

__all__ = ["attend_blocks", "attend_blocks_backward", "takes_blocks"]

LONGEST_STRIDE: Final = 64
"""Tokens of a decision, at most: with more, products of matrices are worth gathered keys."""


def takes_blocks(query: Float[Tensor, "batch head length dim"], plan: Plan) -> bool:
    """Return whether the kernel takes the retrieved blocks of a plan."""
    return (
        plan.blocks is not None
        and plan.blocks.shape[3] > 0
        and plan.layout.stride <= LONGEST_STRIDE
        and query.device.type == "cpu"
        and query.dtype in {torch.float32, torch.bfloat16}
        and is_native()
    )


def attend_blocks(
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch kv_head length dim"],
    value: Float[Tensor, "batch kv_head length value_dim"],
    plan: Plan,
    out: Float[Tensor, "batch head length value_dim"],
    lse: Float[Tensor, "batch head length 1"],
    *,
    scaling: float,
) -> None:
    """Merge the attention to the retrieved blocks into `out` and `lse`, which have no gaps."""
    threads = num_threads(_work(plan))
    sizes = _sizes(query, key, value, out, plan, scaling, parts=1)
    call("block_attention_forward", query, key, value, _index(plan), out, lse, sizes, threads)


def attend_blocks_backward(
    grad: Float[Tensor, "batch head length value_dim"],
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch kv_head length dim"],
    value: Float[Tensor, "batch kv_head length value_dim"],
    plan: Plan,
    out: Float[Tensor, "batch head length value_dim"],
    lse: Float[Tensor, "batch head length 1"],
    gradients: tuple[Tensor, Tensor, Tensor],
    *,
    scaling: float,
) -> None:
    """Add the gradients of what the retrieved blocks gave.

    Args:
        grad: the gradient of the output; as `query`, `key` and `value`, it may have any strides
            but for its last axis.
        query: as given to `attend_blocks`, as are `key`, `value` and the plan.
        key: likewise.
        value: likewise.
        plan: likewise.
        out: the output of all parts, and `lse` their log-sum-exp.
        lse: without gaps, as `out` is.
        gradients: those of query, key and value, to add to: float32, without gaps, the last two of
            whole blocks.
        scaling: what products of queries and keys are multiplied by.
    """
    assert plan.blocks is not None
    of_query, of_key, of_value = gradients
    threads = num_threads(2 * _work(plan))
    # A head of keys has one thread, or where those are too few, copies of its gradients.
    parts = num_parts(threads, plan.shape.batch * plan.shape.kv_heads, plan.blocks.shape[2])
    more = [each.new_zeros(parts - 1, *each.shape) for each in (of_key, of_value)]
    sizes = _sizes(query, key, value, grad, plan, scaling, parts=parts, rows=of_key.shape[2])
    call(
        "block_attention_backward", query, key, value, _index(plan), out, lse, grad, of_query,
        of_key, of_value, *more, sizes, threads,
    )  # fmt: skip
    for total, each in zip((of_key, of_value), more, strict=True):
        for part in each:
            total.add_(part)


def _index(plan: Plan) -> Int[Tensor, "batch decider decision choice"]:
    assert plan.blocks is not None
    return plan.blocks.int().contiguous()


def _work(plan: Plan) -> int:
    """Return the multiply-adds of a forward pass."""
    assert plan.blocks is not None
    shape, keys = plan.shape, plan.blocks.shape[3] * plan.layout.block
    queries = plan.blocks.shape[2] * plan.layout.stride * shape.batch * shape.heads
    return queries * keys * (shape.dim + shape.value_dim)


def _sizes(
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch kv_head length dim"],
    value: Float[Tensor, "batch kv_head length value_dim"],
    grad: Float[Tensor, "batch head length value_dim"],
    plan: Plan,
    scaling: float,
    *,
    parts: int,
    rows: int = 0,
) -> Int[Tensor, " number"]:
    """Return the sizes and strides as kernels/block_attention.c reads them."""
    assert plan.blocks is not None
    shape, layout = plan.shape, plan.layout
    _, deciders, decisions, choices = plan.blocks.shape
    numbers = [
        shape.batch, shape.heads, shape.kv_heads, deciders, decisions, choices, layout.block,
        layout.stride, layout.first_decision * layout.stride, shape.length, rows, layout.local,
        shape.dim, shape.value_dim, int(query.dtype is torch.bfloat16), parts, float_bits(scaling),
    ]  # fmt: skip
    for tensor in (query, key, value, grad):
        numbers += tensor.stride()[:3]
    return torch.tensor(numbers, dtype=torch.int64)
