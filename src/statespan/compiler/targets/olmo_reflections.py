"""Reflection groups in one linear-attention layer of OLMo Hybrid.

A head holds a vector. The restart empties it and writes its start; a symbol with a normal reflects
it (b = 2, key the normal), and all else leaves it alone. Its sign with the query goes to the
answer, where the signs of all heads are added up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Final

import torch
from torch import Tensor

from statespan.compiler.reflection_heads import ReflectionHead
from statespan.compiler.reflections import Normal, ReflectionSystem
from statespan.compiler.residual import AMPLITUDE, Form
from statespan.compiler.targets.olmo_layers import (
    CONSTANT,
    Head,
    Layer,
    Shape,
    constant,
    model_config,
    outer_tensors,
)
from statespan.compiler.weights import Block, Group, Plan, Weights
from statespan.training import BOS, EOS, PAD, Vocabulary

__all__ = [
    "ANSWER",
    "INERT_BLOCK",
    "REMARKS",
    "RESTART",
    "answer_rows",
    "reflection_weights",
    "show_heads",
    "vector_heads",
]

INERT_BLOCK = Block((), (), "full attention that adds nothing: transformers wants such a layer")

REMARKS = (
    "The layer of full attention adds nothing, yet its cache grows with the length.",
    "Checked with the reference kernels of transformers, not with flash-linear-attention.",
)

ANSWER: Final = 1

RESTART: Final = 2

START_SCALE = Fraction(1, 2)
"""Keys and queries are whole numbers times 64: silu leaves them as they are."""

WRITTEN = 2**7
"""In units of 128: so large that the epsilon of a head's norm hardly changes its sign."""


def reflection_weights(system: ReflectionSystem) -> Weights:
    """Return the weights of `system` for `transformers.OlmoHybridForCausalLM`."""
    normals = list(dict.fromkeys(normal for normal in system.normals if normal is not None))
    channels = {normal: RESTART + 1 + number for number, normal in enumerate(normals)}
    layer = Layer(vector_heads(system, channels))
    shape = Shape.of([layer], channels=2 + len(normals))
    vocabulary = Vocabulary(system.alphabet)
    units = torch.zeros(vocabulary.size, shape.width, dtype=torch.float64)
    units[BOS, RESTART] = 1
    for token, normal in zip(vocabulary.answer_ids[:-1], system.normals, strict=True):
        if normal is not None:
            units[token, channels[normal]] = 1
    return Weights(
        config=model_config(system.alphabet, shape, 1),
        tensors=outer_tensors(
            [layer], shape, units=units, head=answer_rows(vocabulary, system, shape.width)
        ),
        alphabet=system.alphabet,
        plan=_plan(system, normals),
        remarks=REMARKS,
    )


def answer_rows(vocabulary: Vocabulary, system: ReflectionSystem, width: int) -> Tensor:
    """Return the weights of the logits: all symbols may follow, and the signs tell the end."""
    rows = torch.zeros(vocabulary.size, width, dtype=torch.float64)
    rows[:, CONSTANT] = AMPLITUDE
    rows[[BOS, PAD], CONSTANT] = -AMPLITUDE
    sign = -AMPLITUDE if system.complement else AMPLITUDE
    rows[EOS, CONSTANT] = -sign * (len(system.heads) - 1)
    rows[EOS, ANSWER] = sign
    return rows


def vector_heads(system: ReflectionSystem, channels: Mapping[Normal, int]) -> list[Head]:
    """Return the heads that reflect where the channel of a normal is 1, and add their signs."""
    return [_head(head, channels) for head in system.heads]


def _head(head: ReflectionHead, channels: Mapping[Normal, int]) -> Head:
    keys = []
    for i, entry in enumerate(head.start):
        reflected = {channel: normal[i] for normal, channel in channels.items()}
        keys.append(Form({RESTART: entry * START_SCALE, **reflected}, Fraction(0)))
    restart = Form({RESTART: Fraction(1)}, Fraction(0))
    return Head(
        keys=keys,
        queries=[Form({}, entry * START_SCALE) for entry in head.query],
        value=Form({RESTART: Fraction(WRITTEN)}, Fraction(0)),
        rate=constant(1),
        forget=restart,
        gate=constant(1),
        outputs={ANSWER: 1},
    )


def _plan(system: ReflectionSystem, normals: Sequence[Normal]) -> Plan:
    count = len(normals)
    codes = [tuple(int(i == j) for j in range(count + 1)) for i in range(count + 1)]
    letters = Group(
        "letter", "letter", tuple(range(RESTART, RESTART + count + 1)), (*codes, (0,) * (count + 1))
    )
    most = len(system.heads)
    answer = Group("signs", "other", (ANSWER,), tuple((v,) for v in range(-most, most + 1, 2)))
    number = {normal: 1 + index for index, normal in enumerate(normals)}
    ignored = count + 1
    classes = [ignored if normal is None else number[normal] for normal in system.normals]
    block = Block(("letter",), ("signs",), show_heads(system))
    return Plan((letters, answer), (block, INERT_BLOCK), (*classes, 0, ignored))


def show_heads(system: ReflectionSystem) -> str:
    """Return what a layer does, in words."""
    most = len(system.heads)
    normals = "; ".join(
        f"{symbol} in ({', '.join(map(str, normal))})"
        for symbol, normal in zip(system.alphabet, system.normals, strict=True)
        if normal is not None
    )
    heads = ", ".join(f"{list(head.start)} seen from {list(head.query)}" for head in system.heads)
    return (
        f"reflects {most} vector{'s' * (most > 1)} of {system.dimension} numbers: {normals}; "
        f"start and query: {heads}; adds the sign"
    )
