"""Bounded Dyck languages as Mamba weights, in two blocks. Right after every prefix of a word.

The first block counts the depth. The second keeps, for each level, the bits of the type of the
bracket that is open there: an opening bracket writes them at its level, and a closing one erases
them, so that the levels above the depth hold zeros. The level at the depth is therefore read by
the gate max(0, level + 1 - depth): it is 0 below, 1 there, and above there is nothing to read.
That takes one state a bit and level, and one for the depth: 1 + h ⌈log2 K⌉, as in the abstract
model (Sarrof, Veitsman and Hahn 2024, arXiv:2405.17394, theorem 6).
"""

from __future__ import annotations

from collections.abc import Iterator

from statespan.compiler.closed_forms.closed_form import BoundedDyck
from statespan.compiler.closed_forms.template import (
    CONSTANT,
    COUNT,
    COUNT_STEP,
    FIRST_SYMBOL,
    GATE,
    MARGIN,
    NEVER_FORGET,
    ONE,
    REACT,
    RESTART,
    UNIT,
    WIPE,
    WRITE,
    Channel,
    Form,
    Layer,
    Program,
    times,
)
from statespan.compiler.weights import Block, Group, Plan, Weights
from statespan.errors import InputError

__all__ = ["MAX_DEPTH", "bounded_dyck_weights"]

MAX_DEPTH = 255
"""The deepest nesting for which weights and depths are exact in bfloat16."""

OPENS, CLOSES, DEPTH = "opens", "closes", "depth"
EMPTY, FULL = "empty", "full"
NOTHING = "nothing"


def bounded_dyck_weights(form: BoundedDyck) -> Weights:
    """Return the weights of a bounded Dyck language, right after every prefix of a word.

    Allowed symbols have equal logits; closing brackets of other types are below the negative.

    Raises:
        InputError: the depth is above MAX_DEPTH.
    """
    if form.depth > MAX_DEPTH:
        raise InputError(f"depth must be at most {MAX_DEPTH}, got {form.depth}.")
    program = _program(form)
    return Weights(
        config=program.config(),
        tensors=program.tensors(),
        alphabet=form.alphabet,
        plan=_plan(program, form),
        remarks=(
            f"There are {1 + form.depth * form.num_bits} state channels: 1 + h ⌈log2 K⌉.",
            "A closing bracket that does not match is taken as if it did.",
        ),
        valid_prefixes_only=True,
    )


def _program(form: BoundedDyck) -> Program:
    bits = range(form.num_bits)
    tokens: dict[int, Form] = {0: {RESTART: 1}}
    answers: dict[int, Form] = {1: {CONSTANT: -MARGIN, EMPTY: 2 * MARGIN}}
    for kind in range(form.num_brackets):
        opening = FIRST_SYMBOL + kind
        closing = opening + form.num_brackets
        tokens[opening] = {OPENS: 1} | {_bit(bit): 1 for bit in bits if kind >> bit & 1}
        tokens[closing] = {CLOSES: 1}
        answers[opening] = {CONSTANT: MARGIN, FULL: -2 * MARGIN}
        answers[closing] = _matches(form, kind)
    return Program(
        alphabet=form.alphabet,
        stream=(RESTART, OPENS, CLOSES, *map(_bit, bits), DEPTH, *map(_top, bits), EMPTY, FULL),
        tokens=tokens,
        layers=(_depth_layer(), _level_layer(form)),
        answers=answers,
    )


def _matches(form: BoundedDyck, kind: int) -> Form:
    """The margin if all bits of the type on top are those of `kind`, else less than its negative.

    At depth 0 all bits are 0, which is the type 0, so that has to be taken off.
    """
    ones = {_top(bit): kind >> bit & 1 for bit in range(form.num_bits)}
    signs: Form = {name: 2 * MARGIN * (1 if one else -1) for name, one in ones.items()}
    return {CONSTANT: MARGIN * (1 - 2 * sum(ones.values())), EMPTY: -2 * MARGIN, **signs}


def _depth_layer() -> Layer:
    channels = [Channel(ONE, {CONSTANT: UNIT})]
    channels += [Channel(name, {name: UNIT}) for name in (RESTART, OPENS, CLOSES)]
    inputs = {OPENS: UNIT, CLOSES: UNIT}
    channels.append(Channel(DEPTH, inputs, {DEPTH: GATE}, step=DEPTH, decay=NEVER_FORGET))
    steps = {DEPTH: {RESTART: WIPE, OPENS: COUNT_STEP, CLOSES: COUNT_STEP}}
    remark = "The depth: an opening bracket adds 1, a closing one takes 1 away."
    return Layer(
        tuple(channels), steps, {OPENS: COUNT, CLOSES: -COUNT}, Block(("letter",), (DEPTH,), remark)
    )


def _level_layer(form: BoundedDyck) -> Layer:
    """Write or erase the level that a bracket is at: the depth after it opens, before it closes.

    The level is depth + [closes]; that it is j is the second difference of max(0, level - i).
    """
    nothing = {CONSTANT: UNIT, RESTART: -UNIT, OPENS: -UNIT, CLOSES: -UNIT}
    channels = [
        Channel(ONE, {CONSTANT: UNIT}),
        Channel(RESTART, {RESTART: UNIT}),
        Channel(NOTHING, nothing),
        _indicator(EMPTY, {CONSTANT: 1, DEPTH: -1}),
        _indicator(FULL, {CONSTANT: 1 - form.depth, DEPTH: 1}),
    ]
    steps: dict[str, Form] = {}
    if form.num_bits:
        levels = range(1, form.depth + 1)
        for above in range(form.depth):
            excess = {DEPTH: 1, CLOSES: 1, CONSTANT: -above}
            channels.append(Channel(_above(above), times(UNIT, excess)))
        steps = {_level(level): _level_step(form, level) for level in levels}
        channels += [channel for level in levels for channel in _level_channels(form, level)]
    remark = (
        "An opening bracket writes the bits of its type at its level and a closing one erases "
        "them; the bits at the depth are read, and whether it is the least or the greatest."
    )
    block = Block(("letter", DEPTH), ("top", "bounds"), remark)
    return Layer(tuple(channels), steps, {ONE: WRITE}, block)


def _indicator(name: str, claim: Form) -> Channel:
    """Return a channel without memory that adds max(0, claim) to the stream."""
    return Channel(name, times(UNIT, claim), {name: GATE * GATE}, skip=1)


def _level_step(form: BoundedDyck, level: int) -> Form:
    """A whole step if a bracket is read at `level`, or a word begins; none at what is ignored."""
    difference = {_above(level - 1): REACT}
    if level < form.depth:
        difference[_above(level)] = -2 * REACT
    if level + 1 < form.depth:
        difference[_above(level + 1)] = REACT
    return {**difference, RESTART: REACT, NOTHING: -REACT}


def _level_channels(form: BoundedDyck, level: int) -> Iterator[Channel]:
    gate = times(UNIT, {CONSTANT: level + 1, DEPTH: -1})
    for bit in range(form.num_bits):
        name = f"{_level(level)} {_bit(bit)}"
        yield Channel(name, {_bit(bit): UNIT}, {_top(bit): GATE}, gate, _level(level))


def _bit(bit: int) -> str:
    return f"bit {bit}"


def _top(bit: int) -> str:
    return f"top {bit}"


def _above(level: int) -> str:
    return f"above {level}"


def _level(level: int) -> str:
    return f"level {level}"


def _plan(program: Program, form: BoundedDyck) -> Plan:
    """Return what is where; the class of a letter is an opening type, closing, restart or none."""
    size = form.num_brackets
    bits = range(form.num_bits)
    opening = tuple((0, 1, 0, *(kind >> bit & 1 for bit in bits)) for kind in range(size))
    nothing = (0,) * form.num_bits
    codes = (*opening, (0, 0, 1, *nothing), (1, 0, 0, *nothing), (0, 0, 0, *nothing))
    names = (RESTART, OPENS, CLOSES, *map(_bit, bits))
    groups = (
        Group("letter", "letter", program.channels(names), codes),
        Group(DEPTH, "other", program.channels([DEPTH]), ()),
        Group("top", "other", program.channels(map(_top, bits)), ()),
        Group("bounds", "answer", program.channels([EMPTY, FULL]), ()),
    )
    classes = (*range(size), *[size] * size, size + 1, size + 2)
    return Plan(groups, tuple(layer.block for layer in program.layers), classes)
