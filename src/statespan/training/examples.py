"""Examples, which a model reads and is asked about, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from statespan.training.vocabulary import PAD

__all__ = [
    "Batch",
    "Example",
    "PackedExamples",
    "Targets",
    "Tokens",
    "batch_examples",
    "order_epoch",
]

Tokens: TypeAlias = Int[Tensor, "*batch length"] | Float[Tensor, "*batch length input"]
"""Token ids, or vectors."""

Targets: TypeAlias = Int[Tensor, "*batch length"] | Float[Tensor, "*batch length"]
"""Which answer set is right, or which number."""


@final
@dataclass(frozen=True, slots=True)
class Example:
    """What a model reads, what stands before it first, and what is right after each of it.

    Attributes:
        tokens: the ids of BOS and of each symbol; or vectors, of which the first is zero.
        targets: the number of the answer set after each token, or a real number.
        counted: whether the model is asked there; None for everywhere.
    """

    tokens: Sequence[int] | Sequence[Sequence[float]]
    targets: Sequence[int] | Sequence[float]
    counted: Sequence[bool] | None = field(default=None, kw_only=True)

    @property
    def length(self) -> int:
        """The number of symbols, or of vectors behind the first."""
        return len(self.tokens) - 1


@final
@dataclass(frozen=True, slots=True)
class Batch:
    """Examples side by side, padded on the right; `mask` is true where a position counts.

    A fleet's batch has an axis of members in front.
    """

    tokens: Tokens
    targets: Targets
    mask: Bool[Tensor, "*batch length"]
    lengths: Int[Tensor, "*batch"]


@final
class PackedExamples:
    """Examples end to end in one row of memory, from which any batch is gathered at once."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._tokens = torch.tensor([token for item in examples for token in item.tokens])
        self._targets = torch.tensor([target for item in examples for target in item.targets])
        self._counted = torch.tensor(
            [mark for item in examples for mark in item.counted or [True] * len(item.tokens)]
        )
        ends = torch.tensor([0, *(len(item.tokens) for item in examples), 0]).cumsum(0)
        self._begins, self._ends = ends[:-1], ends[1:]

    def sizes(self, indices: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """Return the number of tokens of each example; the index -1 is an example of none."""
        return self._ends[indices] - self._begins[indices]

    def batch(self, indices: Int[Tensor, "*batch"]) -> Batch:
        """Return the examples at `indices` as one batch, as long as the longest of them."""
        sizes = self.sizes(indices)[..., None]
        positions = torch.arange(int(sizes.max()))
        inside = positions < sizes
        places = (self._begins[indices][..., None] + positions).masked_fill_(~inside, 0)
        mask = inside & self._counted[places]
        if self._tokens.is_floating_point():
            tokens = self._tokens[places].masked_fill_(~inside[..., None], 0)
        else:
            tokens = self._tokens[places].masked_fill_(~inside, PAD)
        targets = self._targets[places].masked_fill_(~mask, 0)
        return Batch(tokens, targets, mask, sizes[..., 0] - 1)


def batch_examples(examples: Sequence[Example], *, batch_tokens: int = 8_192) -> Iterator[Batch]:
    """Yield the examples in order of length, in batches of about `batch_tokens` tokens."""
    ordered = sorted(examples, key=lambda example: example.length)
    packed = PackedExamples(ordered)
    begin = 0
    while begin < len(ordered):
        end = begin + 1
        while end < len(ordered) and (end + 1 - begin) * len(ordered[end].tokens) <= batch_tokens:
            end += 1
        yield packed.batch(torch.arange(begin, end))
        begin = end


def order_epoch(examples: Sequence[Example], batch_size: int, rng: Random) -> list[list[int]]:
    """Return the batches of one epoch as lists of indices, each of similar lengths.

    The examples are shuffled, sorted by length within pools of 16 batches, and the batches
    shuffled: little padding, and still random. The last, smaller batch counts too.
    """
    order = list(range(len(examples)))
    rng.shuffle(order)
    pool = 16 * batch_size
    batches: list[list[int]] = []
    for begin in range(0, len(order), pool):
        chosen = sorted(order[begin : begin + pool], key=lambda i: examples[i].length)
        batches += [chosen[i : i + batch_size] for i in range(0, len(chosen), batch_size)]
    rng.shuffle(batches)
    return batches
