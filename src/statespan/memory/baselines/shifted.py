"""Shifted sparse attention (S²-Attn, LongLoRA, arXiv 2309.12307)."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from statespan.memory.sizes import check_whole
from statespan.memory.span import SpanAttention

__all__ = ["ShiftedAttention", "read_heads"]


@dataclass(frozen=True, slots=True)
class ShiftedAttention:
    """Causal attention inside groups of tokens, shifted by half a group in the last half of heads.

    With an odd number of heads, the larger half is shifted. The last group may be shorter.

    `wrap` says what becomes of the first half group of the shifted heads: a group of its own, or,
    as in LongLoRA's code, the end of the last group, whose tokens it then sees. That is not causal.

    Raises:
        ConfigError: a group that is no even number, or less than 2.

    Example:
        >>> ShiftedAttention(2048).causal, ShiftedAttention(2048, wrap=True).causal
        (True, False)
    """

    group: int
    wrap: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        check_whole("group", self.group, least=2, even=True)

    @property
    def causal(self) -> bool:
        """Whether no output depends on a later token."""
        return not self.wrap

    def attend(
        self,
        query: Float[Tensor, "batch head length dim"],
        key: Float[Tensor, "batch kv_head length dim"],
        value: Float[Tensor, "batch kv_head length value_dim"],
        *,
        scaling: float,
        step: int = 0,
        layer: int = 0,
    ) -> Float[Tensor, "batch head length value_dim"]:
        """Return the attention; each row is a document without padding."""
        del step, layer
        half, shift = query.shape[1] // 2, self.group // 2
        straight, moved = (
            read_heads(query, key, value, first, last)
            for first, last in ((0, half), (half, query.shape[1]))
        )
        outputs = [self._grouped(straight, scaling)]
        if self.wrap:
            rolled = [tensor.roll(-shift, dims=2) for tensor in moved]
            outputs.append(self._grouped(rolled, scaling).roll(shift, dims=2))
        else:
            first_group = [tensor[:, :, :shift] for tensor in moved]
            rest = [tensor[:, :, shift:] for tensor in moved]
            parts = [self._grouped(part, scaling) for part in (first_group, rest)]
            outputs.append(torch.cat(parts, dim=2))
        return torch.cat(outputs, dim=1)

    def _grouped(
        self, tensors: list[Float[Tensor, "batch _ length _"]], scaling: float
    ) -> Float[Tensor, "batch head length value_dim"]:
        """Return the causal attention inside groups that begin with the first token."""
        query, key, value = tensors
        if query.numel() == 0:
            return query.new_zeros(*query.shape[:3], value.shape[3])
        chunks = SpanAttention(chunk=self.group, block=self.group, top_k=0)
        return chunks.attend(query, key, value, scaling=scaling)

    def visible(
        self,
        query: Float[Tensor, "head length dim"],
        key: Float[Tensor, "kv_head length dim"],
        value: Float[Tensor, "kv_head length value_dim"],
        *,
        scaling: float,
        step: int = 0,
        layer: int = 0,
    ) -> Bool[Tensor, "head length length"]:
        """Return which query of one document sees which key."""
        del key, value, scaling, step, layer
        heads, length, _ = query.shape
        mask = torch.zeros(heads, length, length, dtype=torch.bool, device=query.device)
        for head in range(heads):
            places = [self._place(at, length, shifted=head >= heads // 2) for at in range(length)]
            for seeing, here in enumerate(places):
                for seen, there in enumerate(places):
                    together = here // self.group == there // self.group
                    mask[head, seeing, seen] = together and there <= here
        return mask

    def _place(self, token: int, length: int, *, shifted: bool) -> int:
        """Return where a token stands in a sequence that is cut at multiples of the group."""
        if not shifted:
            return token
        shift = self.group // 2
        return (token - shift) % length if self.wrap else token + self.group - shift


def read_heads(
    query: Float[Tensor, "batch head length dim"],
    key: Float[Tensor, "batch kv_head length dim"],
    value: Float[Tensor, "batch kv_head length value_dim"],
    first: int,
    last: int,
) -> list[Float[Tensor, "batch _ length _"]]:
    """Return the heads from `first` to before `last`, with the keys and values that they read."""
    members = query.shape[1] // key.shape[1]
    if first % members == 0 and last % members == 0:
        read_by = slice(first // members, last // members)
        return [query[:, first:last], key[:, read_by], value[:, read_by]]
    read = torch.arange(first, last, device=query.device) // members
    return [query[:, first:last], key[:, read], value[:, read]]
