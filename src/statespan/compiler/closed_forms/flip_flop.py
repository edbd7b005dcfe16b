"""The flip-flop language as Mamba weights, in one block. Right after every prefix of a word.

One layer cannot tell what a bit follows by its memory alone: an ignored pair must leave the
memory as it was, and then a written bit leaves no trace either. But the convolution sees the
token before, so "a bit right after the instruction to write" is an event. The price is that
nothing may stand between the two.
"""

from __future__ import annotations

from statespan.compiler.closed_forms.closed_form import FlipFlop
from statespan.compiler.closed_forms.template import (
    CONSTANT,
    FIRST_SYMBOL,
    GATE,
    MARGIN,
    ONE,
    REACT,
    RESTART,
    UNIT,
    WRITE,
    Channel,
    Form,
    Layer,
    Program,
    letter,
    plus,
    times,
)
from statespan.compiler.weights import Block, Group, Plan, Weights

__all__ = ["flip_flop_weights"]

KIND, STORED = "kind", "stored"
LOUD = 2
"""How often the last symbol is repeated at an ignored token, to outvote the stored bit."""


def flip_flop_weights(form: FlipFlop) -> Weights:
    """Return the weights of the flip-flop language, right after every prefix of a word.

    After a symbol or a restart, logits are exactly plus or minus the margin; at an ignored token
    some are larger.
    """
    program = _program(form)
    return Weights(
        config=program.config(),
        tensors=program.tensors(),
        alphabet=form.alphabet,
        plan=_plan(program, form),
        remarks=(f"A token to be ignored between {form.write!r} and its bit hides the bit.",),
        valid_prefixes_only=True,
    )


def _program(form: FlipFlop) -> Program:
    symbols = (form.write, form.read, form.ignore, *form.bits)
    tokens: dict[int, Form] = {0: {RESTART: 1}}
    for number, symbol in enumerate(form.alphabet, start=FIRST_SYMBOL):
        tokens[number] = {letter(symbol): 1}
    return Program(
        alphabet=form.alphabet,
        stream=(RESTART, *map(letter, symbols)),
        tokens=tokens,
        layers=(_layer(form),),
        answers=_answers(form),
    )


def _answers(form: FlipFlop) -> dict[int, Form]:
    """Read the last symbol; the channel of `read` is 1 or -1, as the stored bit is."""
    bits = dict.fromkeys(map(letter, form.bits), 2 * MARGIN)
    after_pair: Form = {CONSTANT: -MARGIN, **bits}
    at_start: Form = {**after_pair, RESTART: 2 * MARGIN}
    answers = {1: at_start}
    free = dict.fromkeys((letter(form.write), letter(form.ignore)), MARGIN)
    never = dict.fromkeys((RESTART, *map(letter, form.bits)), -MARGIN)
    by_symbol: dict[str, Form] = {
        form.write: at_start,
        form.read: after_pair,
        form.ignore: after_pair,
    }
    for bit, sign in zip(form.bits, (1, -1), strict=True):
        by_symbol[bit] = {**free, **never, letter(form.read): sign * MARGIN}
    numbers = {symbol: i for i, symbol in enumerate(form.alphabet, start=FIRST_SYMBOL)}
    return answers | {numbers[symbol]: answer for symbol, answer in by_symbol.items()}


def _layer(form: FlipFlop) -> Layer:
    write, read, ignore = map(letter, (form.write, form.read, form.ignore))
    zero, one = map(letter, form.bits)
    everything = (RESTART, write, read, ignore, zero, one)
    nothing: Form = {CONSTANT: 1, **dict.fromkeys(everything, -1)}
    silent = times(UNIT, nothing)
    after_read = times(UNIT, plus(nothing, {read: 1}))

    def kind(name: str, letters: tuple[str, ...], channel: str) -> Channel:
        inputs = dict.fromkeys(letters, UNIT)
        return Channel(name, inputs, {channel: LOUD * GATE}, silent, KIND)

    def stored(bit: str, outputs: Form) -> Channel:
        """3 for `write`, 1 for the bit, twice that before: 7 for both, else at most 6 in a word."""
        inputs = {write: 3 * UNIT, bit: UNIT}
        name = f"{STORED} {bit}"
        return Channel(name, inputs, outputs, after_read, STORED, taps=(2, 1), bias=-6 * UNIT)

    channels = (
        Channel(ONE, {CONSTANT: UNIT}, {read: GATE * GATE}, silent, skip=1),
        Channel("symbol", dict.fromkeys(everything, UNIT)),
        kind("begun", (RESTART,), RESTART),
        kind("free", (write, ignore), write),
        kind("paired", (zero, one), zero),
        stored(zero, {}),
        stored(one, {read: -2 * GATE}),
    )
    events = (channels[-2].name, channels[-1].name)
    steps = {KIND: {"symbol": REACT}, STORED: dict.fromkeys(events, REACT)}
    remark = (
        "A bit right after the instruction to write is stored; the kind of the last symbol is "
        "kept, and repeated at ignored tokens."
    )
    return Layer(channels, steps, {ONE: WRITE}, Block(("letter",), ("letter",), remark))


def _plan(program: Program, form: FlipFlop) -> Plan:
    """Return what is where; a letter's class is its number."""
    size = len(form.alphabet)
    letters = (*map(letter, form.alphabet), RESTART)
    one_hot = tuple(tuple(int(i == j) for j in range(size + 1)) for i in range(size + 2))
    group = Group("letter", "letter", program.channels(letters), one_hot)
    blocks = tuple(layer.block for layer in program.layers)
    return Plan((group,), blocks, tuple(range(size + 2)))
