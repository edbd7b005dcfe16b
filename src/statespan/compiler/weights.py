"""What a target makes: the config and the exact tensors of a checkpoint, with a plan of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, final

import torch
from torch import Tensor

from statespan.errors import InputError
from statespan.languages import Alphabet

__all__ = ["DTYPES", "Block", "DTypeName", "Group", "GroupKind", "Plan", "Weights", "convert"]

DTypeName: TypeAlias = Literal["float32", "bfloat16"]

DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""The precisions that a checkpoint can have."""

GroupKind: TypeAlias = Literal["letter", "before", "after", "event", "answer", "constant", "other"]


@final
@dataclass(frozen=True, slots=True)
class Group:
    """Some channels of the residual stream that hold one fact.

    `kind` says which: the class of the `letter` that is read, the value of a component `before`
    or `after` it, the `event` that it makes at a component, or one of the answers. `codes[v]` is
    what the channels hold for the value v, in units of the stream's amplitude.
    """

    name: str
    kind: GroupKind
    channels: tuple[int, ...]
    codes: tuple[tuple[int, ...], ...]
    component: int | None = None


@final
@dataclass(frozen=True, slots=True)
class Block:
    """One layer: the groups that it reads and writes, and what it does, in words."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    remark: str


@final
@dataclass(frozen=True, slots=True)
class Plan:
    """What is where in a compiled model.

    `letter_classes[letter]` is the value of the group `letter` for a symbol's number, for the
    restart (one past the alphabet), and for what is ignored (two past it: end and padding).
    """

    groups: tuple[Group, ...] = ()
    blocks: tuple[Block, ...] = ()
    letter_classes: tuple[int, ...] = ()


@final
@dataclass(frozen=True, eq=False)
class Weights:
    """A compiled model before it is given a precision.

    Attributes:
        config: the content of `config.json`, without token ids and dtype.
        tensors: the state dict, float64, with the names of `transformers`.
        alphabet: the symbols, in the order of their token ids from 3 on.
        plan: what is where.
        remarks: what a user must know (a range, a promise), a sentence each.
        valid_prefixes_only: whether only prefixes of words are answered rightly.
        max_count: the largest count that is exact, by dtype; empty where nothing is counted.
    """

    config: dict[str, Any]
    tensors: dict[str, Tensor]
    alphabet: Alphabet
    plan: Plan = Plan()
    remarks: tuple[str, ...] = ()
    valid_prefixes_only: bool = False
    max_count: dict[str, int] = field(default_factory=dict)

    @property
    def num_parameters(self) -> int:
        """The number of weights."""
        return sum(tensor.numel() for tensor in self.tensors.values())


def convert(weights: Weights, dtype: str) -> dict[str, Tensor]:
    """Return the state dict in `dtype`, every value exactly what it was.

    Raises:
        InputError: no such dtype, or a weight that it cannot hold.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype must be {' or '.join(DTYPES)}, got {dtype!r}.")
    converted = {}
    for name, tensor in weights.tensors.items():
        value = tensor.to(DTYPES[dtype]).contiguous()
        if not torch.equal(value.double(), tensor.double()):
            raise InputError(f"the weights {name} cannot be held exactly in {dtype}.")
        converted[name] = value
    return converted
