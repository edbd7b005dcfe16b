"""Words into tensors: a training set, and test words by length that share nothing with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Annotated, TypeAlias, final

import msgspec
import torch
from jaxtyping import Bool
from torch import Tensor

from statespan.errors import ConfigError
from statespan.languages import Language, NextSymbols, Sampler, Word
from statespan.training.examples import Example
from statespan.training.vocabulary import Vocabulary

__all__ = ["AnswerSets", "DataConfig", "LanguageData", "build_data"]

AtLeast0: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
AtLeast1: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]

DRAWS_A_WORD = 10
HELD_OUT_SHARE = 5


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
    """Numbers the sets of next symbols in the order in which they are met."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._ids: dict[NextSymbols, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def encode(self, language: Language, words: Iterable[Word]) -> list[Example]:
        """Return the words as examples."""
        first = language.next_symbols(())
        return [
            Example(
                self._vocabulary.encode(word),
                [self._number(s) for s in (first, *language.next_symbol_sets(word))],
            )
            for word in words
        ]

    def table(self) -> Bool[Tensor, "set answer"]:
        """Return all sets met so far, one a row."""
        return torch.tensor([self._vocabulary.answers(symbols) for symbols in self._ids])

    def _number(self, symbols: NextSymbols) -> int:
        return self._ids.setdefault(symbols, len(self._ids))


@final
@dataclass(frozen=True, slots=True)
class LanguageData:
    """A training set, test words of each bin, and the sets of next symbols in both.

    The first `num_trained_sets` rows of `answer_sets` occur in the training set. `seen[i]` counts
    the test words of bin i that are also in the training set: none, unless the first bin has fewer
    than five words, so that none can be held out.
    """

    vocabulary: Vocabulary
    bins: list[tuple[int, int]]
    train: list[Example]
    tests: list[list[Example]]
    test_words: list[list[Word]]
    seen: list[int]
    answer_sets: Tensor
    num_trained_sets: int


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
    pool = draw(length=bins[0], count=train_words + test_words)
    distinct = list(dict.fromkeys(pool))
    num_held_out = min(test_words, len(distinct) // HELD_OUT_SHARE)
    held_out = rng.sample(distinct, num_held_out)
    train = _leave_out(pool, set(held_out), train_words, rng)
    tests = [held_out or distinct[:test_words]]
    tests += [_draw_distinct(partial(draw, length=bounds), test_words) for bounds in bins[1:]]
    vocabulary = Vocabulary(language.alphabet)
    sets = AnswerSets(vocabulary)
    train_examples = sets.encode(language, train)
    num_trained_sets = len(sets)
    trained = set(train)
    return LanguageData(
        vocabulary=vocabulary,
        bins=bins,
        train=train_examples,
        tests=[sets.encode(language, words) for words in tests],
        test_words=tests,
        seen=[sum(word in trained for word in words) for words in tests],
        answer_sets=sets.table(),
        num_trained_sets=num_trained_sets,
    )


def _leave_out(words: list[Word], left_out: set[Word], count: int, rng: Random) -> list[Word]:
    """Return the first `count` of `words` that are not left out, drawn again if too few are."""
    kept = [word for word in words if word not in left_out][:count]
    return kept + rng.choices(kept, k=count - len(kept))


def _draw_distinct(draw: Callable[..., list[Word]], wanted: int) -> list[Word]:
    """Return up to `wanted` distinct words: as many as there are in ten times as many draws."""
    words: dict[Word, None] = {}
    for _ in range(DRAWS_A_WORD * wanted):
        if len(words) == wanted:
            break
        words.update(dict.fromkeys(draw(count=1)))
    return list(words)
