"""Turns of a triangle in two linear-attention layers of OLMo Hybrid.

The first layer counts the letters that turn, modulo 2, and its MLP picks the mirror that the letter
takes at such a place; the second reflects.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

import torch

from statespan.compiler.residual import Form
from statespan.compiler.rotations import RotationSystem
from statespan.compiler.targets.olmo_layers import (
    Detector,
    Head,
    Layer,
    Shape,
    model_config,
    outer_tensors,
)
from statespan.compiler.targets.olmo_reflections import (
    ANSWER,
    INERT_BLOCK,
    REMARKS,
    RESTART,
    answer_rows,
    show_heads,
    vector_heads,
)
from statespan.compiler.weights import Block, Group, Plan, Weights
from statespan.training import BOS, Vocabulary

__all__ = ["rotation_weights"]

PLACE: Final = 3

MIRRORS: Final = (4, 5)

FIRST_TURN: Final = 6


def rotation_weights(system: RotationSystem) -> Weights:
    """Return the weights of `system` for `transformers.OlmoHybridForCausalLM`."""
    kinds = sorted(set(system.turns) - {0})
    turns = {turn: FIRST_TURN + number for number, turn in enumerate(kinds)}
    normals = dict(zip(system.mirrors.normals, MIRRORS, strict=True))
    layers = [
        Layer(_place_heads(turns), _mirror_detectors(turns)),
        Layer(vector_heads(system.mirrors, {n: c for n, c in normals.items() if n is not None})),
    ]
    shape = Shape.of(layers, channels=FIRST_TURN - 1 + len(turns))
    vocabulary = Vocabulary(system.alphabet)
    units = torch.zeros(vocabulary.size, shape.width, dtype=torch.float64)
    units[BOS, RESTART] = 1
    for token, turn in zip(vocabulary.answer_ids[:-1], system.turns, strict=True):
        if turn:
            units[token, turns[turn]] = 1
    logits = answer_rows(vocabulary, system.mirrors, shape.width)
    return Weights(
        config=model_config(system.alphabet, shape, len(layers)),
        tensors=outer_tensors(layers, shape, units=units, head=logits),
        alphabet=system.alphabet,
        plan=_plan(system, turns),
        remarks=REMARKS,
    )


def _sum(*channels: int) -> Form:
    return Form(dict.fromkeys(channels, Fraction(1)), Fraction(0))


def _place_heads(turns: dict[int, int]) -> list[Head]:
    """Return the heads that hold the parity, read as it was before the letter."""
    turned = _sum(*turns.values())
    kept = Form({channel: Fraction(-1) for channel in turns.values()}, Fraction(1))
    fired = _sum(RESTART, *turns.values())
    return [
        Head((fired,), _sum(RESTART), gate, {PLACE: sign}, rate=turned)
        for gate, sign in ((kept, 1), (turned, -1))
    ]


def _mirror_detectors(turns: dict[int, int]) -> list[Detector]:
    half = Fraction(1, 2)
    return [
        Detector(
            (_sum(channel), Form({PLACE: -half if is_odd else half}, half)),
            {MIRRORS[RotationSystem.mirror(turn, is_odd=is_odd)]: 1},
        )
        for turn, channel in turns.items()
        for is_odd in (False, True)
    ]


def _plan(system: RotationSystem, turns: dict[int, int]) -> Plan:
    channels = (RESTART, *turns.values())
    codes = tuple(tuple(int(i == j) for j in range(len(channels))) for i in range(len(channels)))
    ignored = len(channels)
    classes = {turn: number for number, turn in enumerate(turns, start=1)} | {0: ignored}
    most = len(system.mirrors.heads)
    groups = (
        Group("letter", "letter", channels, (*codes, (0,) * ignored)),
        Group("place", "other", (PLACE,), ((1,), (-1,))),
        Group("mirror", "other", MIRRORS, ((0, 0), (1, 0), (0, 1))),
        Group("signs", "other", (ANSWER,), tuple((v,) for v in range(-most, most + 1, 2))),
    )
    count = "counts the letters that turn, modulo 2, and picks the mirror of the letter"
    blocks = (
        Block(("letter", "place"), ("place", "mirror"), count),
        Block(("letter", "mirror"), ("signs",), show_heads(system.mirrors)),
        INERT_BLOCK,
    )
    numbers = tuple(classes[turn] for turn in system.turns)
    return Plan(groups, blocks, (*numbers, 0, ignored))
