"""The abstract model: one layer a level, the fewest that this compiler knows.

A layer sees the layers below it after their update, but a component asks for the earlier ones as
they were before the symbol. So a channel that later ones ask about is written in digits: where a
rule fires, h ← ε h + d, with d = ±1 the new value and ε a small power of two, and else h stays. A
second channel, whose gate is 0, has d, or 0 where no rule fires. Then h - d is ε times the old h or
the old h itself, and its sign is the old value; the sign of h is the new one. The layer says both,
and none is spent on a delay. Older digits stay below ε², never count, and at last round away.

A value 0 … r-1 is r - 1 bits, the i-th of which says that it is above i; every set of values is a
weighted sum of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import final

import msgspec
import torch

from statespan.compiler.cascade import Cascade, Component, Conditions
from statespan.compiler.residual import answer_columns, letter_classes
from statespan.compiler.targets.diagonal_closed_forms import diagonal_closed_form
from statespan.compiler.targets.rectifiers import (
    Affine,
    Layer,
    Network,
    channel,
    stream,
    total,
)
from statespan.compiler.targets.target import TARGETS, Target
from statespan.compiler.weights import DTYPES, Block, Group, Plan, Weights, convert
from statespan.errors import InputError
from statespan.models import SequenceModel, build_model
from statespan.models.diagonal import DiagonalConfig
from statespan.training import BOS, Vocabulary

__all__ = ["DIGIT_BITS", "diagonal_model", "diagonal_weights"]

DIGIT_BITS = 5
"""-log2 ε: ε² is less than half a unit in the last place of 1 in bfloat16."""

LARGEST_DIGIT_BITS = 14
"""The same in float32; with more, the signs read below would not be exact."""


def diagonal_weights(cascade: Cascade, *, digit_bits: int = DIGIT_BITS) -> Weights:
    """Return the weights of `cascade` for the model `diagonal`, exact in float32 and bfloat16.

    There are as many layers as levels, and at least one; every logit is 64 or -64. ε is
    2 ** -`digit_bits`: with the default, bfloat16 keeps two digits and float32 five; with 14,
    float32 keeps two, so that the states that can be reached are few, and bfloat16 is too coarse.

    Raises:
        InputError: a component flips, which no gate that is never negative can do; or
            `digit_bits` is not from 5 to 14.
    """
    if cascade.flips:
        raise InputError("the target diagonal has gates from 0 to 1, but the cascade flips.")
    if not DIGIT_BITS <= digit_bits <= LARGEST_DIGIT_BITS:
        raise InputError(
            f"digit_bits must be from {DIGIT_BITS} to {LARGEST_DIGIT_BITS}, got {digit_bits}."
        )
    return _Compiler(cascade, 2.0**-digit_bits).weights()


def diagonal_model(weights: Weights, *, dtype: str = "float32") -> SequenceModel:
    """Return the model that has `weights`, in `dtype`.

    Raises:
        InputError: a weight that `dtype` cannot hold exactly.
    """
    tensors = convert(weights, dtype)
    size = Vocabulary(weights.alphabet).size
    model = build_model(
        msgspec.convert(weights.config, DiagonalConfig),
        vocab_size=size,
        num_outputs=size,
        generator=torch.Generator(),
    )
    model.load_state_dict(tensors)
    return model.to(DTYPES[dtype])


@final
@dataclass(frozen=True, slots=True)
class _Memory:
    """A component's place: its layer, its channels, and those that hold what was just written."""

    layer: int
    states: tuple[int, ...]
    written: tuple[int, ...]


@final
class _Compiler:
    """The state of one compilation."""

    def __init__(self, cascade: Cascade, fade: float) -> None:
        self.cascade = cascade
        self.fade = fade
        self.network = Network(cascade.alphabet, cascade.num_levels)
        self.read = frozenset().union(*(c.reads for c in cascade.components))
        self.asked = {i for term in cascade.readout.terms for i, _ in term.conditions}
        self.classes = letter_classes(cascade)
        self.groups: dict[str, Group] = {}

    def weights(self) -> Weights:
        """Return the compiled weights."""
        self._embed()
        self.memories = [self._add_memory(i) for i in range(len(self.cascade.components))]
        for index in range(len(self.cascade.components)):
            self._write_rules(index)
            self._say(index)
        self._answer()
        plan = Plan(tuple(self.network.groups), tuple(self._blocks()), tuple(self.classes))
        return self.network.build(plan)

    def _embed(self) -> None:
        """Give each class of letters a channel; what is ignored has none."""
        ignored = self.classes[-1]
        kept = sorted(set(self.classes) - {ignored})
        codes = [tuple(int(c == k) for k in kept) for c in range(max(self.classes) + 1)]
        self.groups["letter"] = self.network.add_group("letter", "letter", codes)
        tokens = (*Vocabulary(self.cascade.alphabet).answer_ids[:-1], BOS)
        for token, number in zip(tokens, self.classes, strict=False):
            if number != ignored:
                self.network.embeddings[token] = {kept.index(number): 1.0}

    def _add_memory(self, index: int) -> _Memory:
        """Place a component: on its level if it is read, else in the last layer, which answers."""
        component = self.cascade.components[index]
        is_read = index in self.read
        number = self.cascade.levels[index] if is_read else len(self.network.layers)
        layer = self.network.layers[number - 1]
        initial = [_digit(bit, signed=is_read) for bit in _bits(component, component.initial)]
        states = tuple(layer.add_channel(initial=value) for value in initial)
        written = tuple(layer.add_channel(gate=0.0) for _ in initial) if is_read else ()
        codes = [tuple(map(int, _bits(component, v))) for v in range(component.num_values)]
        for kind, wanted in (("before", is_read), ("after", is_read and index in self.asked)):
            if wanted:
                name = f"{kind} {index}"
                group = self.network.add_group(name, kind, codes, index)  # type: ignore[arg-type]
                self.groups[name] = group
        return _Memory(number, states, written)

    def _write_rules(self, index: int) -> None:
        component, memory = self.cascade.components[index], self.memories[index]
        layer = self.network.layers[memory.layer - 1]
        gate = (self.fade if memory.written else 0.0) - 1
        for term in component.terms:
            assert isinstance(term.value, int)
            bits = _bits(component, term.value)
            digits = [_digit(bit, signed=bool(memory.written)) for bit in bits]
            increments = dict(zip(memory.states, digits, strict=True))
            if memory.written:
                increments |= zip(memory.written, digits, strict=True)
            letters = {self.classes[letter] for letter in term.letters}
            literals = [self._letter(letters), *self._literals(term.conditions, "before")]
            layer.drive(
                _conjunction(literals),
                gates=dict.fromkeys(memory.states, gate),
                increments=increments,
            )

    def _say(self, index: int) -> None:
        """Say what a component was and is, in the stream, to the layers above."""
        memory = self.memories[index]
        layer = self.network.layers[memory.layer - 1]
        for kind in ("before", "after"):
            group = self.groups.get(f"{kind} {index}")
            if group is None:
                continue
            for state, new, target in zip(
                memory.states, memory.written, group.channels, strict=True
            ):
                after = channel(state)
                old = (1 / self.fade) * (after - channel(new))
                _say_sign(layer, old if kind == "before" else after, target)

    def _letter(self, classes: Iterable[int]) -> Affine:
        group = self.groups["letter"]
        codes = [group.codes[number] for number in sorted(classes)]
        sums = [sum(code) for code in zip(*codes, strict=True)]
        return total([s * stream(c) for c, s in zip(group.channels, sums, strict=True)])

    def _literals(self, conditions: Conditions, kind: str) -> list[Affine]:
        found = []
        for index, allowed in conditions:
            group = self.groups.get(f"{kind} {index}")
            if group is not None:
                bits = [stream(number) for number in group.channels]
            else:
                bits = [channel(number) for number in self.memories[index].states]
            found.append(_indicator(bits, allowed))
        return found

    def _answer(self) -> None:
        readout = self.cascade.readout
        columns, places = answer_columns(self.cascade)
        group = self.network.add_group(
            "answer", "answer", [tuple(map(int, row)) for row in zip(*columns, strict=True)] or [()]
        )
        default = [float(column[readout.default]) for column in columns]
        for term in readout.terms:
            outputs = {
                target: column[term.label] - before
                for target, column, before in zip(group.channels, columns, default, strict=True)
                if column[term.label] != before
            }
            literals = self._literals(term.conditions, "after")
            self.network.layers[-1].respond(_conjunction(literals), outputs)
        tokens = (*Vocabulary(self.cascade.alphabet).answer_ids,)
        for token, place in zip(tokens, places, strict=True):
            if isinstance(place, bool):
                self.network.answers[token] = Affine(constant=float(place))
                continue
            number, sign = place
            form = stream(group.channels[number]) + default[number]
            self.network.answers[token] = form if sign > 0 else -1 * form + 1.0

    def _blocks(self) -> Iterable[Block]:
        components = self.cascade.components
        for number in range(1, len(self.network.layers) + 1):
            here = [i for i, memory in enumerate(self.memories) if memory.layer == number]
            reads = sorted({i for here_i in here for i in components[here_i].reads})
            writes = [n for i in here for n in (f"before {i}", f"after {i}") if n in self.groups]
            last = number == len(self.network.layers)
            after = [f"after {i}" for i in sorted(self.asked)] if last else []
            yield Block(
                (
                    "letter",
                    *(f"before {i}" for i in reads),
                    *(n for n in after if n in self.groups),
                ),
                (*writes, *(["answer"] if last else [])),
                self._remark(here, last=last),
            )

    def _remark(self, here: Sequence[int], *, last: bool) -> str:
        channels = sum(len(self.memories[i].states) for i in here)
        size = f"{channels} channel{'' if channels == 1 else 's'}"
        named = ", ".join(f"component {i}" for i in here)
        updates = f"updates {named} in {size}" if here else "keeps nothing"
        return f"{updates}; answers" if last else updates


def _bits(component: Component, value: int) -> list[bool]:
    return [value > i for i in range(component.num_values - 1)]


def _digit(bit: bool, *, signed: bool) -> float:
    return 2.0 * bit - 1 if signed else float(bit)


def _indicator(bits: Sequence[Affine], allowed: frozenset[int]) -> Affine:
    """Return the form that is 1 where the value is in `allowed`, and else 0."""
    changes = [((i + 1 in allowed) - (i in allowed)) * bit for i, bit in enumerate(bits)]
    return total([float(0 in allowed), *changes])


def _conjunction(literals: Sequence[Affine]) -> Affine:
    """Return the form whose rectifier is 1 where all literals are 1, and else 0."""
    return total([*literals, 1.0 - len(literals)])


def _say_sign(layer: Layer, form: Affine, target: int) -> None:
    """Put 1 into the stream where `form` is at least ½, and 0 where it is at most 0."""
    layer.respond(2 * form, {target: 1.0})
    layer.respond(2 * form - 1.0, {target: -1.0})


TARGETS.add(
    "diagonal",
    Target("diagonal", "Mamba", diagonal_weights, from_closed_form=diagonal_closed_form),
)
