"""Which query sees which key, by the definition: loops over tokens, one decision at a time.

Axes: `head`, the heads of the queries; `kv_head`, those of keys and values; `length`, time.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from statespan.memory.rules import Place
from statespan.memory.selection import Selector

__all__ = ["visible_keys"]


@torch.no_grad()
def visible_keys(
    query: Float[Tensor, "head length dim"],
    key: Float[Tensor, "kv_head length dim"],
    value: Float[Tensor, "kv_head length value_dim"],
    selector: Selector,
    *,
    scaling: float,
) -> Bool[Tensor, "head length length"]:
    """Return which query of one document sees which key; memory and time grow with the square."""
    heads, length, _ = query.shape
    layout = selector.layout
    mask = torch.zeros(heads, length, length, dtype=torch.bool, device=query.device)
    for token in range(length):
        start = token // layout.chunk * layout.chunk
        if layout.local:
            start = max(min(start, token - layout.local + 1), 0)
        mask[:, token, start : token + 1] = True
    summaries: list[Tensor] = []
    if selector.rule.reads_scores:
        summaries = _summaries(query, key, value, selector, scaling)
    groups = _groups(heads, heads // key.shape[0], selector.share)
    for decider, group in enumerate(groups):
        for decision in range(-(-length // layout.stride)):
            asked = [_asked(query[head], decision, selector) for head in group]
            scores = [0.0] * layout.num_blocks(length)
            for block, summary in enumerate(summaries):
                scores[block] = sum(float(asked[i] @ summary[h]) for i, h in enumerate(group))
            rows = slice(decision * layout.stride, (decision + 1) * layout.stride)
            for block in _blocks(scores, decider, decision, selector, query.device):
                columns = slice(block * layout.block, (block + 1) * layout.block)
                mask[group, rows, columns] = True
    return mask


def _groups(heads: int, members: int, share: str) -> list[list[int]]:
    """Return the heads that choose together."""
    size = {"head": 1, "kv_group": members, "layer": heads}[share]
    return [list(range(first, first + size)) for first in range(0, heads, size)]


def _summaries(
    query: Float[Tensor, "head length dim"],
    key: Float[Tensor, "kv_head length dim"],
    value: Float[Tensor, "kv_head length value_dim"],
    selector: Selector,
    scaling: float,
) -> list[Float[Tensor, "head width"]]:
    """Return the summary of each complete block, made of that block alone."""
    size, heads, found = selector.layout.block, query.shape[0], []
    for begin in range(0, query.shape[1] - size + 1, size):
        asking, keys, values = (
            tensor[None, :, None, begin : begin + size] for tensor in (query, key, value)
        )
        summary = selector.summary.summarize(
            asking, keys, values, scaling=scaling, num_heads=heads, seed=selector.seed,
            layer=selector.layer,
        )[0, :, 0]  # fmt: skip
        found.append(summary.repeat_interleave(heads // len(summary), dim=0))
    return found


def _asked(
    query: Float[Tensor, "length dim"], decision: int, selector: Selector
) -> Float[Tensor, " width"]:
    """Return what a decision of one head asks with."""
    layout = selector.layout
    first = decision * layout.stride
    start = first // layout.chunk * layout.chunk
    begin, end = {
        "chunk": (start, start + layout.chunk),
        "previous": (max(start - layout.chunk, 0), start),
        "running": (start, first + 1),
        "token": (first, first + 1),
    }[selector.selection]
    summed = query[begin:end].sum(dim=0)
    return selector.summary.map_queries(summed[None, None, None])[0, 0, 0]


def _blocks(
    scores: list[float], decider: int, decision: int, selector: Selector, device: torch.device
) -> list[int]:
    """Return the blocks that one decision sees, kept or chosen."""
    layout = selector.layout
    start = decision * layout.stride // layout.chunk * layout.chunk
    past = [block for block in range(len(scores)) if (block + 1) * layout.block <= start]
    kept, others = past[: layout.keep_first], past[layout.keep_first :]
    numbers = torch.tensor(scores, dtype=torch.float64, device=device)
    candidates = torch.zeros_like(numbers, dtype=torch.bool)
    candidates[others] = True
    at = (torch.tensor([index], device=device) for index in (decider, decision))
    place = Place(selector.seed, selector.step, selector.layer, *at)
    chosen = selector.rule.choose(
        numbers[None, None], candidates[None, None], top_k=selector.top_k, place=place
    )
    return [*kept, *chosen.flatten().nonzero().flatten().tolist()]
