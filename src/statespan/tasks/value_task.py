"""Tasks of real numbers: vectors in, a number to be estimated after some of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from statespan.tasks.task import Task

__all__ = ["Estimate", "ValueSample", "ValueTask"]


@final
@dataclass(frozen=True, slots=True)
class ValueSample:
    """Vectors, and the number that is right after each; None where nothing is asked."""

    inputs: tuple[tuple[float, ...], ...]
    answers: tuple[float | None, ...]


Estimate: TypeAlias = Callable[[ValueSample], list[float]]
"""A sample -> an estimate of each answer that is asked, in order, from what stands up to it."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ValueTask(Task[ValueSample]):
    """A task of numbers: what counts is the squared error, beside that of a named baseline.

    Attributes:
        num_inputs: the numbers of a vector.
        baseline: what the baseline is, in a few words.
        fit: training samples -> the baseline.
    """

    num_inputs: int
    baseline: str
    fit: Callable[[Sequence[ValueSample]], Estimate]

    def show(self, sample: ValueSample) -> list[tuple[str, str]]:
        return [
            (f"({' '.join(map(_round, vector))})", "" if answer is None else _round(answer))
            for vector, answer in zip(sample.inputs, sample.answers, strict=True)
        ]


def _round(number: float) -> str:
    return f"{number:.2f}".rstrip("0").rstrip(".") or "0"
