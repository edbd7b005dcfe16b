"""The residual stream of a compiled model: which channels hold which fact, at a constant norm.

Every fact is held exactly, as one of a few codes of equal length, so the root mean square of the
stream never changes and a norm is a multiplication by a power of two. Constant channels fill the
stream up: every number is a sum of four squares (Lagrange).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import count
from math import isqrt
from typing import TypeAlias, final

from statespan.compiler.cascade import Cascade, Conditions
from statespan.compiler.weights import Group, GroupKind
from statespan.languages import END, NextSymbols

__all__ = [
    "AMPLITUDE",
    "WIDTH_STEP",
    "Form",
    "Stream",
    "answer_columns",
    "four_squares",
    "letter_classes",
]

AMPLITUDE = 64
"""What one unit of a code is in the stream: the norm's epsilon vanishes beside its square."""

WIDTH_STEP = 8
"""Widths are multiples of this, as kernels want them."""


@final
@dataclass(frozen=True)
class Form:
    """A linear form of the channels, after the norm, plus a constant."""

    coefficients: Mapping[int, Fraction]
    constant: Fraction

    @classmethod
    def total(cls, forms: Iterable[Form]) -> Form:
        """Return the sum of `forms`."""
        coefficients: dict[int, Fraction] = {}
        constant = Fraction(0)
        for form in forms:
            constant += form.constant
            for channel, value in form.coefficients.items():
                coefficients[channel] = coefficients.get(channel, Fraction(0)) + value
        return cls(coefficients, constant)


Values: TypeAlias = frozenset[int]


@final
class Stream:
    """Groups of channels, each made once; `width` is settled when all are there."""

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {}
        self._next = count()
        self._length = 0

    def add(
        self, name: str, kind: GroupKind, num_values: int, *, component: int | None = None
    ) -> Group:
        """Add a group of `num_values` values: one channel of ±1 for two of them, else one-hot.

        The letter is always one-hot, so that its channels sum to one: a constant for free.
        """
        if num_values == 2 and kind != "letter":
            codes: list[tuple[int, ...]] = [(-1,), (1,)]
        else:
            codes = [tuple(int(i == v) for i in range(num_values)) for v in range(num_values)]
        channels = tuple(next(self._next) for _ in codes[0])
        group = Group(name, kind, channels, tuple(codes), component)
        self.groups[name] = group
        self._length += 1
        return group

    @property
    def least_width(self) -> int:
        """The smallest width that holds all groups and fills up to a constant norm."""
        used = sum(len(group.channels) for group in self.groups.values())
        width = -(-used // WIDTH_STEP) * WIDTH_STEP
        while len(four_squares(width - self._length)) > width - used:
            width += WIDTH_STEP
        return width

    def fill(self, width: int) -> dict[int, int]:
        """Return the constant channels for that width, and what they hold, in units."""
        used = sum(len(group.channels) for group in self.groups.values())
        squares = four_squares(width - self._length)
        assert used + len(squares) <= width, "the stream is too narrow"
        return dict(enumerate(squares, start=used))

    def indicator(self, name: str, values: Values) -> Form:
        """Return the form that is 1 where the group has one of `values`, and else 0."""
        group = self.groups[name]
        if len(group.channels) == len(group.codes):
            wanted = {group.channels[v]: Fraction(1) for v in sorted(values)}
            return Form(wanted, Fraction(0))
        if len(values) != 1:
            return Form({}, Fraction(len(values), 2))
        sign = 1 if 1 in values else -1
        return Form({group.channels[0]: Fraction(sign, 2)}, Fraction(1, 2))

    def constant(self) -> Form:
        """Return a form of channels only that is 1 at every token."""
        return Form(dict.fromkeys(self.groups["letter"].channels, Fraction(1)), Fraction(0))

    def conjunction(
        self, letters: Values | None, conditions: Conditions, kind: GroupKind
    ) -> list[Form]:
        """Return the indicators of a conjunction, of the letter's class and of components."""
        forms = [] if letters is None else [self.indicator("letter", letters)]
        return forms + [
            self.indicator(f"{kind} {component}", allowed) for component, allowed in conditions
        ]


def four_squares(total: int) -> list[int]:
    """Return the fewest positive integers whose squares sum to `total`, at most four."""
    if total < 0:
        return [0] * 1000
    for size in range(5):
        found = next(_sums(total, size, isqrt(total)), None)
        if found is not None:
            return found
    raise AssertionError("every number is a sum of four squares")


def _sums(total: int, size: int, largest: int) -> Iterator[list[int]]:
    if size == 0:
        if total == 0:
            yield []
        return
    for first in range(min(largest, isqrt(total)), 0, -1):
        for rest in _sums(total - first * first, size - 1, first):
            yield [first, *rest]


def letter_classes(cascade: Cascade) -> list[int]:
    """Return the class of each letter: its symbols, then the restart, then what is ignored.

    Letters that fire the same terms share a class; those that fire none are in the ignored one.
    """
    terms = [term for component in cascade.components for term in component.terms]
    classes: dict[tuple[bool, ...], int] = {}
    return [
        classes.setdefault(tuple(letter in term.letters for term in terms), len(classes))
        for letter in range(cascade.restart + 2)
    ]


def answer_columns(
    cascade: Cascade,
) -> tuple[list[tuple[bool, ...]], list[tuple[int, int] | bool]]:
    """Return the answers that differ, and for each symbol, then END, which it is.

    A column says at which labels an answer is yes. For each answer: (column, sign), or a constant.
    """
    labels: Sequence[NextSymbols] = cascade.readout.labels
    columns: list[tuple[bool, ...]] = []
    places: list[tuple[int, int] | bool] = []
    for symbol in (*cascade.alphabet, END):
        column = tuple(symbol in label for label in labels)
        opposite = tuple(not answer for answer in column)
        if len(set(column)) == 1:
            places.append(column[0])
        elif opposite in columns:
            places.append((columns.index(opposite), -1))
        else:
            if column not in columns:
                columns.append(column)
            places.append((columns.index(column), 1))
    return columns, places
