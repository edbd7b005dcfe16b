"""All that a layer of a cache was given, kept beside it while somebody watches."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from statespan.memory import Attention, Choice, chosen_blocks

__all__ = ["Trace", "choices_since"]


@dataclass(frozen=True, eq=False, slots=True)
class Trace:
    """The tokens of a pass so far.

    Attributes:
        real: False for padding.
        scaling: what products of queries and keys are multiplied by.
    """

    query: Float[Tensor, "batch head length dim"]
    key: Float[Tensor, "batch kv_head length dim"]
    value: Float[Tensor, "batch kv_head length value_dim"]
    real: Bool[Tensor, "batch length"]
    scaling: float | None

    def __len__(self) -> int:
        return self.query.shape[2]

    def extended(self, more: Trace) -> Trace:
        """Return the trace with the tokens of another after its own."""
        return Trace(
            torch.cat((self.query, more.query), dim=2),
            torch.cat((self.key, more.key), dim=2),
            torch.cat((self.value, more.value), dim=2),
            torch.cat((self.real, more.real), dim=1),
            self.scaling,
        )

    def select(self, rows: Int[Tensor, " chosen"]) -> Trace:
        """Return some rows of it, in the order given."""
        query, key, value = (part[rows] for part in (self.query, self.key, self.value))
        return Trace(query, key, value, self.real[rows], self.scaling)

    def crop(self, length: int) -> Trace:
        """Return its first tokens."""
        query, key, value = (part[:, :, :length] for part in (self.query, self.key, self.value))
        return Trace(query, key, value, self.real[:, :length], self.scaling)


def choices_since(
    trace: Trace, begin: int, config: Attention, *, step: int, layer: int
) -> list[Choice]:
    """Return what the queries from `begin` on retrieve; it takes as long as the whole pass does."""
    choices = chosen_blocks(
        trace.query,
        trace.key,
        trace.value,
        config,
        scaling=trace.scaling,
        documents=trace.real.long() - 1,
        step=step,
        layer=layer,
    )
    return [
        replace(choice, first=max(choice.first, begin))
        for choice in choices
        if choice.last >= begin
    ]
