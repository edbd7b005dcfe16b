"""Mamba-2: a block that finds the events of a level, and a block that lets them act.

The time step of a head is a linear form of the stream at this very token: no conjunction, no
earlier token. So what a symbol does to a component of a higher level is worked out one block
before, by a product: the convolution's earlier tap looks at the components as they were before
the symbol, the gate looks at the symbol. Events of the first level depend on the symbol alone.
Where an event fires, the head's step is 128 and exp(-128), exactly 0, wipes it; else the step is
exactly 0 and all is kept.

The norm behind the gate would mix all channels. Constant channels far larger than all others make
it a multiplication by a power of two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import final

import torch
from torch import Tensor

from statespan.compiler.cascade import Cascade, Conditions
from statespan.compiler.model_plan import ModelPlan, can_fold, plan_model
from statespan.compiler.residual import AMPLITUDE, WIDTH_STEP, Form, four_squares
from statespan.compiler.targets.target import TARGETS, Target
from statespan.compiler.weights import Block, Weights

__all__ = ["mamba2_weights"]

SATURATION = 128
WRITE = 32
"""What B and C are: silu(32) is exactly 32."""

HEAD_DIMS = (1, 2, 4, 8, 16, 32, 64)

DOMINANT = 2**24
"""The constants before the norm are a multiple of its square; all else is below 2^34."""


@final
@dataclass(slots=True)
class _Channel:
    """A detector of a conjunction behind a gate; `outputs` is what it adds, in units.

    With `late`, the condition is looked up one token earlier; the gate never is.
    """

    condition: Sequence[Form]
    late: bool = False
    gate: Sequence[Form] = ()
    outputs: dict[int, int] = field(default_factory=dict)


@final
@dataclass(slots=True)
class _Head:
    """Channels with a common time step; `event` is 1 where it acts, None where it never does."""

    event: Form | None
    channels: list[_Channel] = field(default_factory=list)


def mamba2_weights(cascade: Cascade) -> Weights:
    """Return the weights of `cascade` for `transformers.Mamba2ForCausalLM`, and for ours."""
    folds = (True, False) if can_fold(cascade) else (False,)
    laid_out = [_lay_out(cascade, fold) for fold in folds]
    choices = [
        (_count(model, head_dim), number, head_dim)
        for number, model in enumerate(laid_out)
        for head_dim in HEAD_DIMS
    ]
    _, number, head_dim = min(choices)
    return _write(laid_out[number], head_dim)


@final
@dataclass(frozen=True, slots=True)
class _Model:
    plan: ModelPlan
    blocks: list[list[_Head]]
    described: list[Block]

    def sizes(self, head_dim: int) -> tuple[int, int, list[int]]:
        """Return width, expansion and the constants' sizes for heads of that width."""
        heads = [sum(-(-len(h.channels) // head_dim) for h in block) for block in self.blocks]
        return _sizes(self.plan.stream.least_width, max(heads), head_dim)


def _count(model: _Model, head_dim: int) -> int:
    """Return the number of weights of the projections, which are nearly all."""
    width, expand, _ = model.sizes(head_dim)
    channels = expand * width
    return len(model.blocks) * width * (3 * channels + channels // head_dim)


def _lay_out(cascade: Cascade, fold: bool) -> _Model:
    later = [i for i, level in enumerate(cascade.levels) if level > 1]
    plan = plan_model(cascade, kinds=("after",), events=later, fold=fold)
    blocks: list[list[_Head]] = []
    described: list[Block] = []
    for level in range(1, cascade.num_levels + 1):
        components = plan.components_at(level)
        if level > 1:
            blocks.append([_Head(None, list(_events(plan, level)))])
            described.append(_describe_events(plan, components))
        blocks.append(list(_updates(plan, level)))
        events = [f"event {i}" for i in components] if level > 1 else ["letter"]
        last = fold and level == cascade.num_levels
        described.append(plan.update_block(components, events, answers=last))
    answers = _Head(None, list(_direct_answers(plan)))
    if fold and blocks:
        blocks[-1].append(answers)
    else:
        blocks.append([answers])
        described.append(plan.update_block([], [], answers=True))
    return _Model(plan, blocks, described)


def _describe_events(plan: ModelPlan, components: Sequence[int]) -> Block:
    reads = plan.asked(components, "after")
    writes = tuple(f"event {i}" for i in components)
    remark = f"finds what the symbol does to {', '.join(map(str, components))}"
    return Block(tuple(reads), writes, remark)


def _events(plan: ModelPlan, level: int) -> Iterator[_Channel]:
    for component in plan.components_at(level):
        for term in plan.cascade.components[component].terms:
            assert isinstance(term.value, int)
            letters, *conditions = plan.condition(term, "after")
            outputs = plan.change(f"event {component}", 1 + term.value)
            yield _Channel(conditions, late=True, gate=[letters], outputs=outputs)


def _updates(plan: ModelPlan, level: int) -> Iterator[_Head]:
    for component in plan.components_at(level):
        memory = plan.cascade.components[component]
        writes = {value: _writes(plan, component, value) for value in range(memory.num_values)}
        head = _Head(Form.total(writes.values()))
        name = f"after {component}"
        if name in plan.stream.groups:
            for value, form in writes.items():
                outputs = plan.change(name, value)
                if outputs:
                    head.channels.append(_Channel([form], outputs=outputs))
        for values, rest, label in plan.folded.get(component, []):
            head.channels += _answers_of(plan, writes, values, rest, label)
        yield head


def _answers_of(
    plan: ModelPlan,
    writes: dict[int, Form],
    values: frozenset[int],
    rest: Conditions,
    label: int,
) -> Iterator[_Channel]:
    """Yield a channel that answers while the component has one of `values` and `rest` holds."""
    form = Form.total(writes[value] for value in sorted(values))
    gate = plan.stream.conjunction(None, rest, "after")
    yield _Channel([form], gate=gate, outputs=plan.answer(label))


def _writes(plan: ModelPlan, component: int, value: int) -> Form:
    """Return the form that is 1 where `value` is being written to `component`."""
    name = f"event {component}"
    if name in plan.stream.groups:
        return plan.stream.indicator(name, frozenset({1 + value}))
    terms = plan.cascade.components[component].terms
    letters = {letter for term in terms if term.value == value for letter in term.letters}
    classes = frozenset(plan.letter_classes[letter] for letter in letters)
    return plan.stream.indicator("letter", classes)


def _direct_answers(plan: ModelPlan) -> Iterator[_Channel]:
    for conditions, label in plan.direct:
        condition = plan.stream.conjunction(None, conditions, "after")
        yield _Channel(condition, outputs=plan.answer(label))


def _write(model: _Model, head_dim: int) -> Weights:
    plan, blocks = model.plan, model.blocks
    width, expand, squares = model.sizes(head_dim)
    tensors = plan.outer_tensors(width)
    for number, block in enumerate(blocks):
        prefix = f"backbone.layers.{number}."
        mixer = _Mixer(width, expand * width, head_dim).fill(block, plan, squares)
        tensors |= {f"{prefix}mixer.{name}": value for name, value in mixer.items()}
        tensors[f"{prefix}norm.weight"] = torch.ones(width, dtype=torch.float64)
    return Weights(
        config={
            "model_type": "mamba2",
            "architectures": ["Mamba2ForCausalLM"],
            **plan.config(width, expand, len(blocks)),
            "head_dim": head_dim,
            "num_heads": expand * width // head_dim,
            "n_groups": 1,
            "chunk_size": 64,
        },
        tensors=tensors,
        alphabet=plan.cascade.alphabet,
        plan=plan.description(model.described),
    )


def _sizes(least_width: int, num_heads: int, head_dim: int) -> tuple[int, int, list[int]]:
    """Return width, expansion and the constants' sizes that take the fewest weights."""
    options = []
    for expand in range(1, 9):
        width = max(least_width, WIDTH_STEP)
        while True:
            squares = four_squares(expand * width)
            heads = num_heads + -(-len(squares) // head_dim)
            if expand * width % head_dim == 0 and heads * head_dim <= expand * width:
                break
            width += WIDTH_STEP
        rows = 3 * expand * width + expand * width // head_dim
        options.append((rows * width, width, expand, squares))
    _, width, expand, squares = min(options)
    return width, expand, squares


@final
class _Mixer:
    """The tensors of one mixer; its first heads hold the constants."""

    def __init__(self, width: int, channels: int, head_dim: int) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64)

        self.channels, self.head_dim = channels, head_dim
        self.num_heads = channels // head_dim
        self.in_proj = zeros(2 * channels + 2 + self.num_heads, width)
        self.conv = zeros(channels + 2, 1, 2)
        self.conv_bias = zeros(channels + 2)
        self.conv_bias[channels:] = WRITE
        self.dt_bias = torch.full((self.num_heads,), -float(SATURATION), dtype=torch.float64)
        self.skip = torch.ones(self.num_heads, dtype=torch.float64)
        self.out_proj = zeros(width, channels)

    def fill(
        self, block: Sequence[_Head], plan: ModelPlan, squares: Sequence[int]
    ) -> dict[str, Tensor]:
        """Return the tensors for the heads of `block`."""
        for place, size in enumerate(squares):
            self.conv_bias[place] = size * DOMINANT
            self._add(place, plan.stream.constant(), DOMINANT)
        number = -(-len(squares) // self.head_dim)
        for head in block:
            for first in range(0, len(head.channels), self.head_dim):
                self._put_step(number, head)
                for place, channel in enumerate(head.channels[first : first + self.head_dim]):
                    self._put(number * self.head_dim + place, channel, head, plan)
                number += 1
        return {
            "in_proj.weight": self.in_proj,
            "conv1d.weight": self.conv,
            "conv1d.bias": self.conv_bias,
            "dt_bias": self.dt_bias,
            "A_log": torch.zeros(self.num_heads, dtype=torch.float64),
            "D": self.skip,
            "norm.weight": torch.ones(self.channels, dtype=torch.float64),
            "out_proj.weight": self.out_proj,
        }

    def _add(self, row: int, form: Form, scale: int) -> None:
        """Add `scale` times `form` to a row of the input projection that has no bias."""
        for source, value in form.coefficients.items():
            self.in_proj[row, source] += float(scale * value)

    def _put_step(self, number: int, head: _Head) -> None:
        if head.event is None:
            return
        row = 2 * self.channels + 2 + number
        self._add(row, head.event, 2 * SATURATION)
        self.dt_bias[number] += float(2 * SATURATION * head.event.constant)
        self.skip[number] = 0

    def _put(self, place: int, channel: _Channel, head: _Head, plan: ModelPlan) -> None:
        condition = Form.total(channel.condition)
        self._add(self.channels + place, condition, SATURATION)
        self.conv[place, 0, 0 if channel.late else 1] = 1
        offset = condition.constant - len(channel.condition) + 1
        self.conv_bias[place] = float(SATURATION * offset)
        gate = Form.total(channel.gate)
        self._add(place, gate, SATURATION)
        rest = gate.constant - len(channel.gate) + 1
        for source in plan.stream.constant().coefficients:
            self.in_proj[place, source] += float(SATURATION * rest)
        active = SATURATION * SATURATION
        if head.event is not None:
            active *= SATURATION * WRITE * WRITE
        for target, units in channel.outputs.items():
            self.out_proj[target, place] = AMPLITUDE * units * (DOMINANT**2 / active)


TARGETS.add("mamba2", Target("mamba2", "Mamba-2", mamba2_weights))
