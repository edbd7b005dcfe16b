"""Floating-point arithmetic on functions: bit for bit what torch computes, at every point at once.

An operation that treats each number by itself is done by torch, on the few numbers that occur. A
sum of many numbers is different: its result may depend on the order, and on whether products are
rounded, which is the library's choice. So a sum is only taken where it does not matter: if all
products are multiples of a power of two q, and their sizes total at most 2^24 q, then each
partial sum in any order is a float32 number, and nothing is ever rounded. Sums are taken to be
accumulated in float32 or wider, and then rounded to the model's precision once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import final

import torch
from torch import Tensor

from statespan.compiler.decision_diagrams import Diagrams, Node
from statespan.errors import StatespanError

__all__ = ["DiagramArithmetic", "UnprovedError"]

MANTISSA = 2**24
"""Whole numbers up to this are exact in float32."""

SMALLEST, LARGEST = 2.0**-126, 2.0**127


class UnprovedError(StatespanError):
    """A step that cannot be proved, though it may be right; the message says which."""


@final
class DiagramArithmetic:
    """Arithmetic on diagrams whose leaves are numbers; `dtype` is the model's precision.

    Leaves are Python numbers that float32 holds exactly.
    """

    def __init__(self, diagrams: Diagrams, dtype: torch.dtype) -> None:
        self.diagrams, self.dtype = diagrams, dtype
        self.zero = diagrams.constant(0.0)
        self._sums: dict[tuple[tuple[float, Node], ...], Node] = {}
        self._results: dict[tuple[str, tuple[Node, ...]], Node] = {}

    def constants(self, values: Tensor) -> list[Node]:
        """Return the numbers of a vector as functions that are the same everywhere."""
        return [self.diagrams.constant(float(value) + 0.0) for value in values]

    def map(self, name: str, function: Callable[..., Tensor], *nodes: Node) -> Node:
        """Return what torch's elementwise `function` makes of some functions.

        It gets float32 vectors, one for each of `nodes`. The result must not depend on where in a
        vector a number stands. Equal names stand for equal functions.

        Raises:
            UnprovedError: it does, or a result is not finite.
        """
        key = (name, nodes)
        if key not in self._results:
            joint = self.diagrams.apply(lambda *values: values, *nodes)
            cases = list(self.diagrams.leaves(joint))
            columns = [
                torch.tensor(column, dtype=torch.float32) for column in zip(*cases, strict=True)
            ]
            results = self._checked(name, function, columns)
            found = dict(zip(cases, results, strict=True))
            self._results[key] = self.diagrams.apply(found.__getitem__, joint)
        return self._results[key]

    def _checked(
        self, name: str, function: Callable[..., Tensor], columns: Sequence[Tensor]
    ) -> list[float]:
        found = function(*columns).float() + 0.0
        # Vector instructions and single numbers may take different ways through a library.
        alone = [function(*(c[i : i + 1] for c in columns)).float() for i in range(len(found))]
        spread = function(*(c.repeat_interleave(16) for c in columns)).float()
        if not found.isfinite().all():
            raise UnprovedError(f"{name} is not finite.")
        if not (torch.equal(found, torch.cat(alone)) and torch.equal(found, spread[5::16])):
            raise UnprovedError(f"{name} depends on where in a vector a number stands.")
        return [float(value) for value in found]

    def rounded(self, node: Node) -> Node:
        """Return a function rounded to the model's precision."""
        return self.map("rounding", lambda x: x.to(self.dtype), node)

    def total(self, terms: Iterable[tuple[float, Node]], *, bias: float = 0.0) -> Node:
        """Return a sum of multiples of functions, with a bias, rounded to the model's precision.

        Raises:
            UnprovedError: the order of the sum could matter.
        """
        constant = self.diagrams.constant(1.0)
        kept = [(float(w), node) for w, node in terms if w and node != self.zero]
        kept += [(bias, constant)] if bias else []
        key = tuple(kept)
        if key not in self._sums:
            products = [self.diagrams.apply(lambda x, w=w: w * x + 0.0, n) for w, n in kept]
            self.check_order(products)
            total = self.zero
            for product in products:
                total = self.diagrams.apply(operator.add, total, product)
            self._sums[key] = self.rounded(total)
        return self._sums[key]

    def check_order(self, terms: Sequence[Node]) -> None:
        """Check that numbers can be added in any order without any rounding.

        First for all points at once, by the largest of each number, then point by point.

        Raises:
            UnprovedError: it cannot be excluded that something is rounded.
        """
        leaves = [self.diagrams.leaves(term) for term in terms]
        quantum = min((_quantum(value) for values in leaves for value in values), default=LARGEST)
        if _adds_exactly((quantum, sum(max(map(abs, values)) for values in leaves))):
            return
        joint = self.diagrams.constant((LARGEST, 0.0))
        for term in terms:
            joint = self.diagrams.apply(_joined, joint, term)
        if not all(map(_adds_exactly, self.diagrams.leaves(joint))):
            raise UnprovedError("a sum may be rounded, so its order could matter.")

    def mean_square(self, numbers: Sequence[Node]) -> None:
        """Check that the mean square of float32 numbers has the same bits everywhere.

        Either all squares can be added without rounding, to the same total everywhere; or some
        are constants that can, and all others together are so small beside the least of these
        that adding them changes nothing, in any order. The mean itself is torch's.

        Raises:
            UnprovedError: neither can be shown.
        """
        squares = [self.map("square", torch.square, number) for number in numbers]
        squares = [square for square in squares if square != self.zero]
        constants = [n for n in squares if self.diagrams.is_constant(n)]
        largest = max(map(self._size, constants), default=0.0)
        dominant = [n for n in constants if self._size(n) * MANTISSA > largest]
        others = [n for n in squares if n not in dominant]
        least = min(map(self._size, dominant), default=0.0)
        # Twice the others' total: what rounding may make of it on the way.
        if 2 * sum(map(self._size, others)) < least / (4 * MANTISSA):
            self.check_order(dominant)
            return
        self.check_order(squares)
        total = self.zero
        for square in squares:
            total = self.diagrams.apply(operator.add, total, square)
        if not self.diagrams.is_constant(total):
            raise UnprovedError("a norm sees streams of different lengths.")

    def _size(self, node: Node) -> float:
        return float(max(map(abs, self.diagrams.leaves(node))))


def _quantum(value: float) -> float:
    """Return the largest power of two that a number is a multiple of; LARGEST for 0."""
    if not value:
        return LARGEST
    numerator, denominator = value.as_integer_ratio()
    return float(numerator & -numerator) / denominator


def _joined(sizes: tuple[float, float], value: float) -> tuple[float, float]:
    quantum, size = sizes
    return min(quantum, _quantum(value)), size + abs(value)


def _adds_exactly(sizes: tuple[float, float]) -> bool:
    """Return whether multiples of a quantum whose sizes have that total add without rounding."""
    quantum, size = sizes
    return quantum >= SMALLEST and size < LARGEST and size <= MANTISSA * quantum
