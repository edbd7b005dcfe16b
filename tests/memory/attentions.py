"""What the laws of attention run over: configs, inputs, and what is compared."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import torch
from torch import Tensor

from statespan.memory import (
    Attention,
    FullAttention,
    ShiftedAttention,
    SlidingAttention,
    SpanAttention,
    mixture_of_blocks,
)
from statespan.memory.reference import reference_attention
from statespan.memory.rules import RULES
from statespan.memory.span import SELECTIONS, SHARES
from statespan.memory.summaries import SUMMARIES

Tensors = tuple[Tensor, Tensor, Tensor]


def span(**fields: Any) -> SpanAttention:
    """Return a small config: chunks of 16, blocks of 4, two of them chosen."""
    return SpanAttention(**{"chunk": 16, "block": 4, "top_k": 2} | fields)


SPANS = {
    f"{selection} {rule} {summary} {share}": span(
        selection=selection, rule=rule, summary=summary, share=share
    )
    for selection, rule, summary, share in product(
        SELECTIONS, RULES.names(), SUMMARIES.names(), SHARES
    )
    # Without scores, neither the summary nor, but for chance, the selection and share matter.
    if RULES.get(rule).reads_scores or summary == "key"
}
EXTRAS = {
    f"{selection} local {local} keep {keep}": span(
        selection=selection, summary="key", local=local, keep_first=keep
    )
    for selection, local, keep in product(SELECTIONS, (0, 1, 6, 16, 40), (0, 2))
    if local or keep
}
BASELINES: dict[str, Attention] = {
    "full": FullAttention(),
    "sliding 16": SlidingAttention(16),
    "sliding 1": SlidingAttention(1),
    "sliding 7, 3 sinks": SlidingAttention(7, sinks=3),
    "shifted": ShiftedAttention(8),
    "shifted, wrapped": ShiftedAttention(8, wrap=True),
    "mixture of blocks": mixture_of_blocks(8, top_k=3),
    "mixture of one block": mixture_of_blocks(8, top_k=1),
}
EVERY: dict[str, Attention] = SPANS | EXTRAS | BASELINES


def draw(
    length: int,
    *,
    seed: int = 0,
    batch: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    dim: int = 8,
    value_dim: int = 8,
    dtype: torch.dtype = torch.float64,
) -> Tensors:
    """Return queries, keys and values."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((heads, dim), (kv_heads, dim), (kv_heads, value_dim))
    query, key, value = (
        torch.randn(batch, number, length, width, generator=generator, dtype=torch.float64)
        for number, width in shapes
    )
    return query.to(dtype), key.to(dtype), value.to(dtype)


def with_gradients(run: Callable[..., Tensor], tensors: Tensors) -> dict[str, Tensor]:
    """Return the output, and the gradients of a fixed weighted sum of it."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in tensors]
    out = run(*leaves)
    generator = torch.Generator().manual_seed(7)
    weights = torch.randn(out.shape, generator=generator, dtype=torch.float64)
    torch.autograd.backward((out.double() * weights).sum())
    named = zip(("query", "key", "value"), leaves, strict=True)
    gradients = {name: leaf.grad for name, leaf in named if leaf.grad is not None}
    assert len(gradients) == 3
    return {"out": out.detach(), **gradients}


def expected(tensors: Tensors, config: Attention, **options: Any) -> dict[str, Tensor]:
    """Return what the definition gives."""
    return with_gradients(lambda *leaves: reference_attention(*leaves, config, **options), tensors)


def assert_close(
    actual: dict[str, Tensor], wanted: dict[str, Tensor], length: int, dtype: torch.dtype
) -> None:
    """Compare within a few roundings a key, which add up like a walk, of the largest number."""
    assert actual.keys() == wanted.keys()
    limit = 8 * torch.finfo(dtype).eps * (1 + length) ** 0.5
    for name, ours in actual.items():
        theirs = wanted[name].double()
        scale = theirs.abs().max().clamp(min=1) if theirs.numel() else 1
        torch.testing.assert_close(
            ours.double() / scale, theirs / scale, rtol=limit, atol=limit, msg=name.__add__
        )
