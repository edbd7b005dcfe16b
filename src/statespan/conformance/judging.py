"""Readings of an engine held against what is right."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from statespan.conformance.checkpoint import Answer, Checkpoint
from statespan.conformance.trial import Reading

__all__ = ["Judged", "Wrong", "answers", "is_right", "judge_readings"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Wrong:
    """A wrong answer: where, what was right, and what was said (or written)."""

    reading: Reading
    position: int
    expected: Answer
    got: Answer


@final
@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """What came out of a trial.

    Attributes:
        positions: those at which something is promised.
        wrong: those with a wrong answer.
        margin: the smallest distance of a score from the other answer; infinite without scores.
        first: the first wrong answer, if there is one.
    """

    positions: int
    wrong: int
    margin: float
    first: Wrong | None


def judge_readings(checkpoint: Checkpoint, readings: Sequence[Reading]) -> Judged:
    """Return how many answers are wrong, and the first of them."""
    positions, wrong, margin = 0, 0, math.inf
    first: Wrong | None = None
    for reading in readings:
        start, expected, got = answers(checkpoint, reading)
        if reading.scores is not None:
            margin = min(margin, checkpoint.margin(reading.scores, expected))
        for place, (right, said) in enumerate(zip(expected, got, strict=True)):
            if right is None:
                continue
            positions += 1
            if is_right(reading, right, said):
                continue
            wrong += 1
            first = first or Wrong(reading, start + place, right, said)
    return Judged(positions, wrong, margin, first)


def is_right(reading: Reading, right: Answer, said: Answer) -> bool:
    """Return whether an answer is right; what was written need only be one that may follow."""
    return said == right if reading.scores is not None else said <= right


def answers(
    checkpoint: Checkpoint, reading: Reading
) -> tuple[int, list[Answer | None], list[Answer]]:
    """Return the first position of a reading, what is right from there on, and what was said.

    What is written after a position is the answer there, so that it begins before the first
    written token.
    """
    if reading.scores is not None:
        start = len(reading.history) - len(reading.scores.values)
        return start, checkpoint.expected(reading.history)[start:], checkpoint.said(reading.scores)
    start = len(reading.history) - len(reading.written) - 1
    expected = checkpoint.expected(reading.history[:-1])[start:] if reading.written else []
    return start, expected, [frozenset((token,)) for token in reading.written]
