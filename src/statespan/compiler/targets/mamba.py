"""Mamba: one block a level, the last of which answers too.

A component is a set of channels, one for each of its terms, that share a time step. Where a term
fires, the step is 128: exp(-128) is exactly 0 and wipes all of them, and the channel of the term
writes one. Where none fires, the step is exactly 0 and everything is kept. Later blocks must see a
component as it was before the symbol, so its channels come twice: once as they are, and once with
the convolution's earlier tap, which makes the same memory one symbol late.

All numbers are small integers times powers of two, so sums are exact in any order; silu, softplus
and exp are only ever used where they are exact (SATURATION).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import final

import torch
from torch import Tensor

from statespan.compiler.cascade import Cascade, Conditions
from statespan.compiler.closed_forms import mamba_weights as closed_form_weights
from statespan.compiler.model_plan import ModelPlan, can_fold, plan_model
from statespan.compiler.residual import AMPLITUDE, WIDTH_STEP, Form
from statespan.compiler.targets.target import TARGETS, Target
from statespan.compiler.weights import Block, Weights

__all__ = ["mamba_weights"]

SATURATION = 128
"""silu(128 k) is 128 k or 0, softplus(±128) is 128 or 0, and exp(-128) is 0, for k a half too."""

STATE_SCALE = Fraction(1, 128)

STEEPNESS = 2
"""The slope of a robust ramp: measured to survive more noise than 4 and 8."""


@final
@dataclass(slots=True)
class _Channel:
    """A detector of a conjunction, with or without a memory, behind a gate.

    `memory` numbers the memories of a block; None has none, and passes its input on. Of channels
    with the same condition in one memory, the first `steps`: it alone makes the time step.
    `outputs` says what a channel adds to the stream while it is active, in units.
    """

    condition: Sequence[Form]
    memory: int | None
    late: bool = False
    steps: bool = True
    gate: Sequence[Form] = ()
    outputs: dict[int, int] = field(default_factory=dict)


def mamba_weights(cascade: Cascade, *, robust: bool = False) -> Weights:
    """Return the weights of `cascade` for `transformers.MambaForCausalLM`, and for ours.

    With `robust`, each detector squashes errors below a quarter of a literal, so that errors do
    not grow from level to level; it takes twice the channels.
    """
    folds = (True, False) if can_fold(cascade) else (False,)
    return min((_weights(cascade, fold, robust) for fold in folds), key=_size)


def _size(weights: Weights) -> int:
    return weights.num_parameters


def _weights(cascade: Cascade, fold: bool, robust: bool) -> Weights:
    plan = plan_model(cascade, kinds=("before",), fold=fold)
    num_blocks = max(1, cascade.num_levels + (not fold))
    blocks = [list(_block(plan, level)) for level in range(1, num_blocks + 1)]
    blocks[-1] += _direct_answers(plan)
    copies = 2 if robust else 1
    channels = 1 + max((copies * len(block) for block in blocks), default=0)
    width, expand = _sizes(plan.stream.least_width, channels)
    rank = max(1, *(_num_memories(block) for block in blocks))
    tensors = plan.outer_tensors(width)
    for number, block in enumerate(blocks):
        prefix = f"backbone.layers.{number}."
        mixer = _Mixer(width, expand * width, rank, robust=robust).fill(block, plan)
        tensors |= {f"{prefix}mixer.{name}": value for name, value in mixer.items()}
        tensors[f"{prefix}norm.weight"] = torch.ones(width, dtype=torch.float64)
    return Weights(
        config={
            "model_type": "mamba",
            "architectures": ["MambaForCausalLM"],
            **plan.config(width, expand, len(blocks)),
            "time_step_rank": rank,
        },
        tensors=tensors,
        alphabet=cascade.alphabet,
        plan=plan.description(_describe(plan, num_blocks)),
    )


def _describe(plan: ModelPlan, num_blocks: int) -> list[Block]:
    described = []
    for level in range(1, num_blocks + 1):
        components = plan.components_at(level)
        reads = plan.asked(components, "before")
        described.append(plan.update_block(components, reads, answers=level == num_blocks))
    return described


def _sizes(least_width: int, channels: int) -> tuple[int, int]:
    """Return the width and the expansion that hold so many channels with the fewest weights."""
    options = []
    for expand in range(1, 9):
        needed = -(-channels // expand)
        width = max(least_width, -(-needed // WIDTH_STEP) * WIDTH_STEP)
        options.append((3 * expand * width * width, width, expand))
    _, width, expand = min(options)
    return width, expand


def _num_memories(block: Sequence[_Channel]) -> int:
    return 1 + max((c.memory for c in block if c.memory is not None), default=-1)


def _block(plan: ModelPlan, level: int) -> Iterator[_Channel]:
    """Yield the channels of the block of `level`."""
    memories = 0
    for component in plan.components_at(level):
        for late in (False, True):
            name = f"{'before' if late else 'after'} {component}"
            if name in plan.stream.groups:
                yield from _memory(plan, component, memories, late=late, name=name)
                memories += 1
        if component in plan.folded:
            yield from _answering_memory(plan, component, memories)
            memories += 1


def _memory(
    plan: ModelPlan, component: int, memory: int, *, late: bool, name: str
) -> Iterator[_Channel]:
    for term in plan.cascade.components[component].terms:
        assert isinstance(term.value, int)
        condition = plan.condition(term, "before")
        outputs = plan.change(name, term.value)
        yield _Channel(condition, memory, late=late, outputs=outputs)


def _answering_memory(plan: ModelPlan, component: int, memory: int) -> Iterator[_Channel]:
    """Yield a memory whose channels come once for each gate that the answers ask for."""
    answers: dict[Conditions, list[tuple[frozenset[int], int]]] = {}
    for values, rest, answer in plan.folded[component]:
        answers.setdefault(rest, []).append((values, answer))
    for term in plan.cascade.components[component].terms:
        assert isinstance(term.value, int)
        condition = plan.condition(term, "before")
        written = False
        for rest, cases in answers.items():
            label = next((label for values, label in cases if term.value in values), None)
            if label is not None:
                gate = plan.stream.conjunction(None, rest, "after")
                outputs = plan.answer(label)
                yield _Channel(condition, memory, gate=gate, outputs=outputs, steps=not written)
                written = True
        if not written:
            yield _Channel(condition, memory)


def _direct_answers(plan: ModelPlan) -> Iterator[_Channel]:
    for conditions, label in plan.direct:
        condition = plan.stream.conjunction(None, conditions, "after")
        yield _Channel(condition, None, outputs=plan.answer(label))


@final
class _Mixer:
    """The tensors of one mixer, filled channel by channel; channel 0 is a constant."""

    def __init__(self, width: int, channels: int, rank: int, *, robust: bool) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64)

        self.robust = robust
        self.in_proj = zeros(2 * channels, width)
        self.conv = zeros(channels, 1, 2)
        self.conv_bias = zeros(channels)
        self.x_proj = zeros(rank + 2, channels)
        self.dt_proj = zeros(channels, rank)
        self.dt_bias = torch.full((channels,), -float(SATURATION), dtype=torch.float64)
        self.skip = zeros(channels)
        self.out_proj = zeros(width, channels)
        self.channels, self.rank = channels, rank

    def fill(self, block: Sequence[_Channel], plan: ModelPlan) -> dict[str, Tensor]:
        """Return the tensors for the channels of `block`."""
        self.conv_bias[0] = SATURATION
        self.x_proj[self.rank :, 0] = float(STATE_SCALE / SATURATION)
        place = 1
        for channel in block:
            for ramp in self._ramps():
                self._put(place, channel, plan, *ramp)
                place += 1
        return {
            "in_proj.weight": self.in_proj,
            "conv1d.weight": self.conv,
            "conv1d.bias": self.conv_bias,
            "x_proj.weight": self.x_proj,
            "dt_proj.weight": self.dt_proj,
            "dt_proj.bias": self.dt_bias,
            "A_log": torch.zeros(self.channels, 1, dtype=torch.float64),
            "D": self.skip,
            "out_proj.weight": self.out_proj,
        }

    def _ramps(self) -> list[tuple[int, Fraction, int, Fraction]]:
        """Return (scale, offset, sign, size of the whole) of the ramps that detect.

        A ramp is relu(scale · (literals - all of them) + offset). One alone is 0 or 128; the
        difference of two is 0 or 256, and flat near both.
        """
        if not self.robust:
            return [(SATURATION, Fraction(SATURATION), 1, Fraction(SATURATION))]
        whole = Fraction(2 * SATURATION)
        middle = Fraction(STEEPNESS, 2)
        return [
            (STEEPNESS * 2 * SATURATION, (middle + sign * Fraction(1, 2)) * whole, sign, whole)
            for sign in (1, -1)
        ]

    def _put(
        self,
        place: int,
        channel: _Channel,
        plan: ModelPlan,
        scale: int,
        offset: Fraction,
        sign: int,
        whole: Fraction,
    ) -> None:
        form = Form.total(channel.condition)
        for source, value in form.coefficients.items():
            self.in_proj[place, source] = float(scale * value)
        self.conv[place, 0, 0 if channel.late else 1] = 1
        self.conv_bias[place] = float(scale * (form.constant - len(channel.condition)) + offset)
        self._put_gate(place, channel, plan)
        active = whole * SATURATION
        if channel.memory is None:
            self.skip[place] = 1
        else:
            if channel.steps:
                # The step of a firing memory is 2 · 128 - 128 whatever the height of a ramp.
                self.x_proj[channel.memory, place] = float(sign * 2 * SATURATION / whole)
            self.dt_proj[place, channel.memory] = 1
            active *= STATE_SCALE
        for target, units in channel.outputs.items():
            self.out_proj[target, place] = float(sign * AMPLITUDE * units / active)

    def _put_gate(self, place: int, channel: _Channel, plan: ModelPlan) -> None:
        forms = list(channel.gate)
        total = Form.total([*forms, *([plan.stream.constant()] if not forms else [])])
        constant = total.constant - max(0, len(forms) - 1)
        row = self.in_proj[self.channels + place]
        for source, value in total.coefficients.items():
            row[source] += float(SATURATION * value)
        for source in plan.stream.constant().coefficients:
            row[source] += float(SATURATION * constant)


TARGETS.add(
    "mamba",
    Target("mamba", "Mamba", mamba_weights, from_closed_form=closed_form_weights, robust=True),
)
