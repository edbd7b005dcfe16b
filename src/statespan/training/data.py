"""Words into examples: a training set, and test words by length that share nothing with it."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Annotated, TypeAlias, final

import msgspec
import torch
from jaxtyping import Bool
from torch import Tensor

from statespan.errors import ConfigError
from statespan.languages import End, Language, NextSymbols, Sampler, Word
from statespan.tasks import Sample, SymbolTask
from statespan.training.examples import Example
from statespan.training.split import draw_split
from statespan.training.vocabulary import Vocabulary

__all__ = [
    "AnswerData",
    "AnswerSets",
    "DataConfig",
    "ExampleData",
    "LanguageData",
    "TaskData",
    "build_data",
    "build_task_data",
]

AtLeast0: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
AtLeast1: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


class DataConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which words train, and which test.

    Attributes:
        bins: ranges of lengths, shorter first, none overlapping; the first one trains. None stands
            for the windows of the published experiment where there is one.
        sampler: "uniform", or "published": as the generator of the language's paper. None stands
            for the published one where there are published figures to compare with.
        train_words: the size of the training set; words can repeat.
        test_words: distinct test words a bin, as far as there are so many.
    """

    bins: list[tuple[AtLeast0, AtLeast0]] | None = None
    sampler: Sampler | None = None
    train_words: AtLeast1 = 10_000
    test_words: AtLeast1 = 1_000

    def __post_init__(self) -> None:
        if self.bins is None:
            return
        if not self.bins:
            raise ConfigError("data.bins needs at least one range of lengths, got none.")
        last = -1
        for lower, upper in self.bins:
            if lower > upper or lower <= last:
                raise ConfigError(
                    "data.bins must be ranges [first, last] of growing lengths that do not "
                    f"overlap, got {[list(pair) for pair in self.bins]}."
                )
            last = upper


@final
class AnswerSets:
    """Numbers the sets of answers in the order in which they are met."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._ids: dict[NextSymbols, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def encode(self, language: Language, words: Iterable[Word]) -> list[Example]:
        """Return the words as examples: after each prefix, what may follow."""
        first = language.next_symbols(())
        return [
            Example(
                self._vocabulary.encode(word),
                [self._number(s) for s in (first, *language.next_symbol_sets(word))],
            )
            for word in words
        ]

    def encode_samples(self, samples: Iterable[Sample]) -> list[Example]:
        """Return the samples of a task as examples: after each symbol, what is right if asked."""
        return [self._example(sample) for sample in samples]

    def _example(self, sample: Sample) -> Example:
        answers = (None, *sample.answers)
        return Example(
            self._vocabulary.encode(sample.inputs),
            [0 if answer is None else self._number(answer) for answer in answers],
            counted=[answer is not None for answer in answers],
        )

    def table(self) -> Bool[Tensor, "set answer"]:
        """Return all sets met so far, one a row."""
        return torch.tensor([self._vocabulary.answers(symbols) for symbols in self._ids])

    def _number(self, symbols: Set[str | End]) -> int:
        return self._ids.setdefault(frozenset(symbols), len(self._ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleData(ABC):
    """A training set, and tests of each bin.

    `seen[i]` counts the tests of bin i that are also in the training set: none, unless the first
    bin has fewer than five different ones, so that none can be held out.
    """

    bins: list[tuple[int, int]]
    train: list[Example]
    tests: list[list[Example]]
    seen: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerData(ExampleData):
    """The same, with the sets of answers in both: `num_trained_sets` of them in the training set.

    These are the first rows of `answer_sets`.
    """

    vocabulary: Vocabulary
    answer_sets: Tensor
    num_trained_sets: int


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageData(AnswerData):
    """The same of a language, with the words themselves that test."""

    test_words: list[list[Word]]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class TaskData(AnswerData):
    """The same of a task of symbols."""


def build_data(
    language: Language,
    bins: list[tuple[int, int]],
    *,
    sampler: Sampler,
    train_words: int,
    test_words: int,
    rng: Random,
) -> LanguageData:
    """Draw the training words, from the first bin, and the test words of every bin, of one run.

    The test words of the first bin are held out: at most a fifth of the distinct words drawn, and
    none of them trains.

    Raises:
        LengthError: a bin has no word at all.
        EmptyLanguageError: the language has no word.
    """
    draw = partial(language.sample, rng=rng, sampler=sampler)
    drawn = draw_split(draw, bins, train=train_words, test=test_words, rng=rng)
    sets = AnswerSets(vocabulary := Vocabulary(language.alphabet))
    train = sets.encode(language, drawn.train)
    num_trained_sets = len(sets)
    tests = [sets.encode(language, words) for words in drawn.tests]
    return LanguageData(
        vocabulary=vocabulary,
        bins=bins,
        train=train,
        tests=tests,
        test_words=drawn.tests,
        seen=drawn.seen,
        answer_sets=sets.table(),
        num_trained_sets=num_trained_sets,
    )


def build_task_data(
    task: SymbolTask,
    bins: list[tuple[int, int]],
    *,
    train_words: int,
    test_words: int,
    rng: Random,
) -> TaskData:
    """Draw the samples of one run of a task, as `build_data` draws words.

    Raises:
        LengthError: a bin has no sample.
    """
    drawn = draw_split(
        partial(task.sample, rng=rng), bins, train=train_words, test=test_words, rng=rng
    )
    sets = AnswerSets(vocabulary := Vocabulary(task.alphabet, choices=task.answers))
    train = sets.encode_samples(drawn.train)
    num_trained_sets = len(sets)
    tests = [sets.encode_samples(samples) for samples in drawn.tests]
    return TaskData(
        vocabulary=vocabulary,
        bins=bins,
        train=train,
        tests=tests,
        seen=drawn.seen,
        answer_sets=sets.table(),
        num_trained_sets=num_trained_sets,
    )
