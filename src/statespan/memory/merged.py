"""Attention in parts, merged by their log-sum-exps: one differentiable operation."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from statespan.memory.attend import attend, attend_backward, merge_into
from statespan.memory.block_kernel import attend_blocks, attend_blocks_backward, takes_blocks
from statespan.memory.dtypes import computing_dtype
from statespan.memory.parts import Part
from statespan.memory.plan import Plan

__all__ = ["merged_attention"]


def merged_attention(
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch kv_head length dim"],
    value: Float[Tensor, "batch kv_head length value_dim"],
    plan: Plan,
    *,
    scaling: float,
) -> Float[Tensor, "batch head length value_dim"]:
    """Return the attention whose parts a plan lists; no gradient flows into the choice of blocks.

    Beside its output it takes little memory: a part at a time is gathered, and again for the
    gradients.
    """
    out: Tensor = _Merged.apply(query, key, value, plan, scaling)  # type: ignore[no-untyped-call]
    return out


class _Merged(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, plan: Plan, scaling: float
    ) -> Tensor:
        out = query.new_empty(*query.shape[:3], value.shape[3])
        lse = query.new_empty(*query.shape[:3], 1, dtype=computing_dtype(query))
        fused = takes_blocks(query, plan)
        for part in plan.parts(retrieved=not fused):
            _forward(part, query, key, value, out, lse, scaling)
        if fused:
            attend_blocks(query, key, value, plan, out, lse, scaling=scaling)
        # Through the saved tensors, so that checkpointing does not keep the blocks.
        ctx.save_for_backward(query, key, value, out, lse, plan.blocks)
        ctx.layout, ctx.shape, ctx.scaling = plan.layout, plan.shape, scaling
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out, lse, blocks = ctx.saved_tensors
        plan = Plan(ctx.layout, ctx.shape, blocks)
        grad = grad if grad.stride(-1) == 1 else grad.contiguous()
        dtype, size = computing_dtype(query), plan.layout.block
        # The first parts write to every token of the document.
        of_query = query.new_empty(query.shape, dtype=dtype)
        length = -(-key.shape[2] // size) * size
        of_key, of_value = (
            tensor.new_empty(*tensor.shape[:2], length, tensor.shape[3], dtype=dtype)
            for tensor in (key, value)
        )
        fused = takes_blocks(query, plan)
        for part in plan.parts(retrieved=not fused):
            logits = part.logits(ctx.scaling, query)
            changes = attend_backward(
                part.queries.take(grad),
                part.queries.take(query),
                part.keys.take(key),
                part.keys.take(value),
                part.queries.take(out),
                part.queries.take(lse)[..., 0],
                logits,
            )
            part.queries.add(of_query, changes[0], first=part.first)
            part.keys.add(of_key, changes[1], first=part.first)
            part.keys.add(of_value, changes[2], first=part.first)
            del changes, logits  # before the next part takes its memory
        if fused:
            every = (of_query, of_key, of_value)
            attend_blocks_backward(
                grad, query, key, value, plan, out, lse, every, scaling=ctx.scaling
            )
        tokens = key.shape[2]
        gradients = (of_query, of_key[:, :, :tokens], of_value[:, :, :tokens])
        return (*(gradient.to(query.dtype) for gradient in gradients), None, None)


def _forward(
    part: Part,
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch kv_head length dim"],
    value: Float[Tensor, "batch kv_head length value_dim"],
    out: Float[Tensor, "batch head length value_dim"],
    lse: Float[Tensor, "batch head length 1"],
    scaling: float,
) -> None:
    """Put what one part gives into `out` and `lse`, or merge it with what is there."""
    given, given_lse = attend(
        part.queries.take(query),
        part.keys.take(key),
        part.keys.take(value),
        part.logits(scaling, query),
    )
    outs, lses = part.queries.view(out), part.queries.view(lse)
    more_out = part.queries.untake(given, outs)
    more_lse = part.queries.untake(given_lse[..., None], lses)
    if part.first:
        outs.copy_(more_out)
        lses.copy_(more_lse)
    else:
        merge_into(outs, lses[..., 0], more_out, more_lse[..., 0])
