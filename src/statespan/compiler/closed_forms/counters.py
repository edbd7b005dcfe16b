"""Counters as Mamba weights: one block counts, the other compares with zero. Right on all strings.

A count is a state that is never forgotten: with log rate -28, a step of 64 keeps exp(-64 e^-28),
which is exactly 1, and one of 2^60 at a restart keeps exactly 0. Whether there is still hope is a
state that the restart sets and that a violation wipes; a product with it is the answer, by way of
the gate. No comparison takes the difference of large numbers: while there is hope, no count is
below zero, so "all of these are zero" is max(0, 1 - their sum), which no rounding can spoil.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias, final

from statespan.compiler.closed_forms.counter_language import Condition, CounterLanguage
from statespan.compiler.closed_forms.directions import directions
from statespan.compiler.closed_forms.template import (
    CONSTANT,
    COUNT,
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
    letter,
    plus,
    times,
)
from statespan.compiler.weights import Block, Group, Plan, Weights
from statespan.errors import InputError

__all__ = ["MAX_CHANGE", "MAX_COUNT", "counter_weights"]

MAX_COUNT = 2**24
"""The largest count: float32, in which states are kept in either precision, skips the next."""

MAX_CHANGE = 250
"""The largest start and change of a counter that bfloat16 compares exactly."""

Zeros: TypeAlias = tuple[int, ...]
"""Quantities that are all to be zero."""

Answer: TypeAlias = Mapping[Zeros, int]
"""A condition as a sum of such claims, with signs."""

IGNORED = "ignored"
"""The channel that says that nothing was read; it takes a gate off where counts may be large."""

OFF = -(2.0**25)


def counter_weights(form: CounterLanguage) -> Weights:
    """Return the weights of a language of counters, right on all strings.

    Raises:
        InputError: symbols tie the directions of two counters both ways (B is shared), or a
            counter starts at, or changes by, more than MAX_CHANGE.
    """
    _check_size(form)
    program = _Writer(form).program()
    return Weights(
        config=program.config(),
        tensors=program.tensors(),
        alphabet=form.alphabet,
        plan=_plan(program, form),
        remarks=(
            "Counts are exact up to 2^24 in either precision, since states are kept in float32.",
            "Where a runtime keeps states in bfloat16, counts are exact up to 2^8.",
        ),
        max_count={"float32": MAX_COUNT, "bfloat16": MAX_COUNT},
    )


@final
class _Writer:
    """Writes the program of one language of counters."""

    def __init__(self, form: CounterLanguage) -> None:
        self._form = form
        self._directions = directions(form)
        self._letters = [letter(symbol) for symbol in form.alphabet]
        claims = [claim for condition in form.conditions for claim in _claims(condition)]
        self._answers: list[Answer] = []
        for answer in map(_claims, form.conditions):
            if answer not in self._answers:
                self._answers.append(answer)
        if len(set(claims)) < len(self._answers):
            self._answers = [{claim: 1} for claim in dict.fromkeys(claims)]

    def program(self) -> Program:
        """Return the two layers, and what goes in and out."""
        form = self._form
        ignored = [IGNORED] if self._compares_counts_with_zero() else []
        tokens: dict[int, Form] = {0: {RESTART: 1}}
        tokens |= {i: {name: 1} for i, name in enumerate(self._letters, start=FIRST_SYMBOL)}
        tokens |= {i: {name: 1} for name in ignored for i in (1, 2)}
        stored = [_stored(form, number) for number in range(form.num_quantities)]
        answers = [_answer(number) for number in range(len(self._answers))]
        readouts = map(self._readout, form.conditions)
        numbers = [*range(FIRST_SYMBOL, FIRST_SYMBOL + len(form.alphabet)), 1]
        return Program(
            alphabet=form.alphabet,
            stream=(RESTART, *ignored, *self._letters, *stored, *answers),
            tokens=tokens,
            layers=(self._counting_layer(), self._comparing_layer()),
            answers=dict(zip(numbers, readouts, strict=True)),
        )

    def _counting_layer(self) -> Layer:
        form = self._form
        names = (RESTART, *self._letters)
        channels = [Channel(ONE, {CONSTANT: UNIT})]
        channels += [Channel(name, {name: UNIT}) for name in names]
        steps: dict[str, Form] = {}
        anything = dict.fromkeys(self._letters, UNIT)
        for number in range(form.num_quantities):
            name = _stored(form, number)
            is_counter = number < len(form.counters)
            steps[name] = self._count_step(number) if is_counter else self._latch_step(number)
            inputs = anything if is_counter else {RESTART: UNIT}
            decay = NEVER_FORGET if is_counter else 0.0
            channels.append(Channel(name, inputs, {name: GATE}, step=name, decay=decay))
        signs = {n: COUNT * s for n, s in zip(self._letters, self._signs(), strict=True)}
        return Layer(tuple(channels), steps, {RESTART: WRITE, **signs}, _COUNTING)

    def _count_step(self, number: int) -> Form:
        """A step of 64 for each that is added or taken away; the restart wipes."""
        changes = zip(self._letters, self._form.counters[number].changes, strict=True)
        return {RESTART: WIPE, **{n: 1 + abs(change) / 2 for n, change in changes if change}}

    def _latch_step(self, number: int) -> Form:
        """The restart writes 1; a symbol of the latch wipes it."""
        latch = self._form.latches[number - len(self._form.counters)]
        return dict.fromkeys([RESTART, *(self._letters[s] for s in sorted(latch))], REACT)

    def _signs(self) -> Iterator[int]:
        """Yield the sign in which each symbol writes."""
        for symbol in range(len(self._letters)):
            signs = [
                direction * (1 if counter.changes[symbol] > 0 else -1)
                for counter, direction in zip(self._form.counters, self._directions, strict=True)
                if counter.changes[symbol]
            ]
            yield signs[0] if signs else 0

    def _comparing_layer(self) -> Layer:
        channels = [Channel(ONE, {CONSTANT: UNIT}), Channel(RESTART, {RESTART: UNIT})]
        channels += [Channel(name, times(UNIT, of)) for name, of in self._violations().items()]
        wiping = [channel.name for channel in channels[1:]]
        hope = "hope"
        for number, answer in enumerate(self._answers):
            for claim, sign in answer.items():
                gate = times(UNIT, self._all_zero(claim))
                outputs = {_answer(number): sign * GATE}
                channels.append(Channel(f"{hope} {claim}", {CONSTANT: UNIT}, outputs, gate, hope))
        steps = {hope: dict.fromkeys(wiping, REACT)}
        return Layer(tuple(channels), steps, {RESTART: WRITE}, _COMPARING)

    def _quantity(self, number: int) -> Form:
        """Return a quantity as a form of what is stored: a latch is stored as its opposite."""
        name = _stored(self._form, number)
        if number < len(self._form.counters):
            initial = self._form.counters[number].initial
            return {CONSTANT: initial, name: self._directions[number]}
        return {CONSTANT: 1, name: -1}

    def _all_zero(self, claim: Zeros) -> Form:
        return plus({CONSTANT: 1}, *(times(-1, self._quantity(number)) for number in claim))

    def _change(self, number: int, symbol: int) -> int:
        counters = self._form.counters
        return counters[number].changes[symbol] if number < len(counters) else 0

    def _violations(self) -> dict[str, Form]:
        """Return forms of what follows the symbol that are positive where it was not allowed.

        The change by the symbol is taken back; a latch that is asked about has not changed.
        """
        violations: dict[str, Form] = {}
        for number in range(self._form.num_quantities):
            quantity = self._quantity(number)
            wanting, forbidding = self._asking(number)
            if wanting:
                back = {self._letters[s]: 1 + self._change(number, s) for s in wanting}
                violations[f"{number} is not positive"] = plus(times(-1, quantity), back)
            if forbidding and number < len(self._form.counters):
                back = {self._letters[s]: -self._change(number, s) for s in forbidding}
                others = [n for s, n in enumerate(self._letters) if s not in forbidding]
                off = dict.fromkeys([RESTART, IGNORED, *others], OFF)
                violations[f"{number} is not zero"] = plus(quantity, back, off)
            elif forbidding:
                now = dict.fromkeys((self._letters[s] for s in forbidding), 1)
                violations[f"{number} is set"] = plus(quantity, now, {CONSTANT: -1})
        return violations

    def _asking(self, number: int) -> tuple[list[int], list[int]]:
        """Return the symbols that want a quantity positive, and those that want it zero."""
        conditions = list(enumerate(self._form.conditions[:-1]))
        wanting = [symbol for symbol, asks in conditions if asks.positive == number]
        forbidding = [symbol for symbol, asks in conditions if number in asks.zero]
        return wanting, forbidding

    def _compares_counts_with_zero(self) -> bool:
        return any(self._asking(number)[1] for number in range(len(self._form.counters)))

    def _readout(self, condition: Condition) -> Form:
        answer = _claims(condition)
        if answer in self._answers:
            parts = [(self._answers.index(answer), 1)]
        else:
            parts = [(self._answers.index({claim: 1}), sign) for claim, sign in answer.items()]
        return {CONSTANT: -MARGIN, **{_answer(i): 2 * MARGIN * sign for i, sign in parts}}


_COUNTING = Block(
    reads=("letter",),
    writes=("quantities",),
    remark="Each symbol adds to the counters and sets the latches; the restart wipes them.",
)
_COMPARING = Block(
    reads=("letter", "quantities"),
    writes=("answers",),
    remark="A symbol against its condition wipes the hope that the restart wrote; an answer is "
    "the hope times whether its counters are zero.",
)


def _answer(number: int) -> str:
    return f"answer {number}"


def _stored(form: CounterLanguage, number: int) -> str:
    """Return the name of the channel that holds a quantity."""
    latch = number - len(form.counters)
    return f"count {number}" if latch < 0 else f"latch {latch} unset"


def _claims(condition: Condition) -> Answer:
    """A condition is that its zeros are zero, less that its positive one is zero with them."""
    zeros = tuple(sorted(condition.zero))
    if condition.positive is None:
        return {zeros: 1}
    if condition.positive in zeros:
        return {}
    return {zeros: 1, tuple(sorted((*zeros, condition.positive))): -1}


def _check_size(form: CounterLanguage) -> None:
    sizes = [abs(size) for c in form.counters for size in (c.initial, *c.changes)]
    if (largest := max(sizes, default=0)) > MAX_CHANGE:
        raise InputError(
            f"a counter may start at, and change by, at most {MAX_CHANGE}, got {largest}."
        )


def _plan(program: Program, form: CounterLanguage) -> Plan:
    """Return what is where; a letter's class is its number."""
    size = len(form.alphabet)
    letters = (*(letter(symbol) for symbol in form.alphabet), RESTART)
    one_hot = tuple(tuple(int(i == j) for j in range(size + 1)) for i in range(size + 2))
    stored = tuple(name for name in program.stream if name.startswith(("count ", "latch ")))
    answers = tuple(name for name in program.stream if name.startswith("answer "))
    groups = (
        Group("letter", "letter", program.channels(letters), one_hot),
        Group("quantities", "other", program.channels(stored), ()),
        Group("answers", "answer", program.channels(answers), ()),
    )
    return Plan(groups, tuple(layer.block for layer in program.layers), tuple(range(size + 2)))
