"""Heads of OLMo Hybrid for a component of which symbols swap two values.

A head holds a vector with two coordinates for each value, and two more; those of the value that is
held have the same number, all other values have zeros. A swap is the reflection in the vector that
is 1/2 at the four coordinates of the two values: it moves the number from one value to the other,
turns its sign, and leaves the rest alone. So a reader sees 1 or -1 at the value, and 0 elsewhere.
All numbers are powers of two or zero, whatever the swaps are.

A value is written into the emptied head, together with the two spare coordinates: a key of four
equal numbers has a length that is a power of two.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Final

from statespan.compiler.actions import MOST_SWAPPED, Action
from statespan.compiler.residual import Form
from statespan.compiler.targets.olmo_layers import Head, constant
from statespan.compiler.targets.olmo_stream import OlmoStream, value_signs
from statespan.compiler.weights import GroupKind

__all__ = ["swapping_heads"]

HEAD_DIM: Final = 2 * MOST_SWAPPED + 2
"""A power of 4, since `transformers` divides by its square root."""

SCALE = Fraction(1, 2)
"""Keys and queries are whole numbers times 64: silu leaves them as they are, and four 64 have the
length 128."""


def swapping_heads(stream: OlmoStream, number: int) -> Iterator[Head]:
    """Yield the heads that update a component, one for each channel of its values.

    Those of the value before the symbol show nothing of use where the symbol writes.
    """
    component = stream.cascade.components[number]
    writes = sorted({term.value for term in component.terms if isinstance(term.value, int)})
    written = Form.total(stream.event(number, value) for value in writes)
    keys = [*(_key(stream, number, value) for value in range(component.num_values)), written]
    signs = value_signs(component) or [1] * component.num_values
    for value, sign in enumerate(signs):
        shown: list[tuple[GroupKind, int, dict[int, Form]]] = [
            ("after", sign, {value: constant(1)})
        ]
        if number not in stream.schedule.copied:
            shown.append(("before", 1, _sources(stream, number, value)))
        for kind, units, places in shown:
            for channel in stream.channels(kind, number, value):
                yield Head(
                    keys=_doubled(keys),
                    queries=_queries(places),
                    value=written,
                    gate=constant(1),
                    outputs={channel: units},
                    rate=constant(1),
                    forget=written,
                )


def _key(stream: OlmoStream, number: int, value: int) -> Form:
    """Return the form that is 1 where the symbol writes a value or swaps it with another."""
    component = stream.cascade.components[number]
    writes = [t.value for t in component.terms if isinstance(t.value, int) and t.value == value]
    swaps = [swap for swap in component.swaps if value in swap]
    actions: list[Action] = [*dict.fromkeys(writes), *swaps]
    return Form.total(stream.event(number, action) for action in actions)


def _sources(stream: OlmoStream, number: int, value: int) -> dict[int, Form]:
    """Return where a value is after the symbol, if it was the value before it."""
    component = stream.cascade.components[number]
    places = {
        sum(swap) - value: stream.event(number, swap) for swap in component.swaps if value in swap
    }
    moved = Form.total(places.values())
    stays = Form({channel: -one for channel, one in moved.coefficients.items()}, Fraction(1))
    return {value: stays, **places}


def _scaled(form: Form) -> Form:
    coefficients = {channel: SCALE * value for channel, value in form.coefficients.items()}
    return Form(coefficients, SCALE * form.constant)


def _doubled(forms: Sequence[Form]) -> list[Form]:
    pairs = [_scaled(form) for form in forms for _ in range(2)]
    return [*pairs, *[constant(0)] * (HEAD_DIM - len(pairs))]


def _queries(places: Mapping[int, Form]) -> list[Form]:
    """Return a query for the first coordinate of each value."""
    queries = [constant(0)] * HEAD_DIM
    for value, form in places.items():
        queries[2 * value] = _scaled(form)
    return queries
