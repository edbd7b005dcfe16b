"""What a task is: inputs drawn at a length, and what is right after each of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Generic, TypeAlias, TypeVar, final

from statespan.errors import InputError, LengthError
from statespan.languages import Alphabet

__all__ = ["Answer", "Bins", "Drawn", "Sample", "SymbolTask", "Task", "at_least"]

MAX_SEARCH = 200

Answer: TypeAlias = frozenset[str] | None
"""Every answer that is right; None where nothing is asked."""

Bins: TypeAlias = list[tuple[int, int]]
"""Ranges of lengths, shorter first, none overlapping; the first one trains."""


@final
@dataclass(frozen=True, slots=True)
class Sample:
    """Symbols, and what is right after each: an answer is known from the symbols up to it."""

    inputs: tuple[str, ...]
    answers: tuple[Answer, ...]


Drawn = TypeVar("Drawn")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(ABC, Generic[Drawn]):
    """What a model is asked about inputs of any length.

    Make one with `task`, which gives it its name, parameters and description.

    Attributes:
        source: the paper that it is from.
        bins: the lengths of a probe that names none.
        draw: (length, rng) -> a sample of that many inputs.
        has_length: whether there is a sample of that length.
    """

    source: str
    bins: Bins
    draw: Callable[[int, Random], Drawn]
    has_length: Callable[[int], bool]
    name: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    description: str = ""

    def sample(self, *, length: int | tuple[int, int], count: int, rng: Random) -> list[Drawn]:
        """Return `count` samples whose lengths are, or lie in, `length`.

        Each length that has samples is equally likely.

        Raises:
            LengthError: no sample has such a length.
        """
        shortest, longest = (length, length) if isinstance(length, int) else length
        lengths = [n for n in range(shortest, longest + 1) if self.has_length(n)]
        if not lengths:
            raise LengthError(self._no_sample(shortest, longest))
        return [self.draw(rng.choice(lengths), rng) for _ in range(count)]

    @abstractmethod
    def show(self, sample: Drawn) -> list[tuple[str, str]]:
        """Return each input, and what is right after it, as words; empty where nothing is asked."""

    def _no_sample(self, shortest: int, longest: int) -> str:
        window = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
        near = (n for d in range(1, MAX_SEARCH) for n in (shortest - d, longest + d))
        found = next((n for n in near if n >= 0 and self.has_length(n)), None)
        hint = "" if found is None else f" The nearest length that has one is {found}."
        return f"no sample of {self.name} has length {window}.{hint}"


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolTask(Task[Sample]):
    """A task of symbols: a sample is right if every answer that is asked is.

    Attributes:
        alphabet: the inputs.
        answers: what a model chooses from, at least two.
    """

    alphabet: Alphabet
    answers: Alphabet

    def show(self, sample: Sample) -> list[tuple[str, str]]:
        rights = [
            "/".join(a for a in self.answers if a in (right or ())) for right in sample.answers
        ]
        return list(zip(sample.inputs, rights, strict=True))


def at_least(least: int, **values: int) -> None:
    """Check that each value is at least `least`.

    Raises:
        InputError: one is not; the message names it.
    """
    for name, value in values.items():
        if value < least:
            raise InputError(f"{name} must be at least {least}, got {value}.")
