"""Samples of a RULER task: any tokenizer, any length, the same every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeAlias, final

from statespan.errors import LengthError
from statespan.evaluation.ruler.cache import read_samples, samples_path, write_samples
from statespan.evaluation.ruler.fitting import at_most, largest
from statespan.evaluation.ruler.haystack import Haystack, default_haystack
from statespan.evaluation.ruler.task import (
    RULER_TASKS,
    Draft,
    Form,
    RulerSample,
    RulerTask,
    Setting,
)
from statespan.evaluation.ruler.words import WordList, word_list

Draw: TypeAlias = Callable[[int], Draft]

__all__ = ["LEAST_LENGTH", "count_tokens", "ruler_samples"]

LEAST_LENGTH = 256


def count_tokens(tokenizer: Any, text: str) -> int:
    """Return the number of tokens that `tokenizer` makes of `text`, its special ones included."""
    return len(tokenizer(text)["input_ids"])


def ruler_samples(
    task: str,
    tokenizer: Any,
    length: int,
    samples: int,
    *,
    seed: int = 0,
    haystack: Haystack | None = None,
    words: WordList | None = None,
    cache: Path | None = None,
) -> list[RulerSample]:
    """Return samples of a task of RULER that have at most `length` tokens, answer included.

    A sample depends on the seed, the task, the length and its index alone, so the first ten of a
    hundred are the ten. The haystack is as large as it may be for the first sample (found by
    bisection); another one takes the same, or less if its own words are longer.

    `tokenizer` is called as one of `transformers` is. For the answer, as many tokens are kept free
    as in the original, but not more than a quarter of the length, unless the answer itself is
    longer. Where the original's prompt has no room, it is made shorter, and the sample says so:
    less haystack than needles, no worked example, fewer repetitions, room for the answer alone.
    `cache` is a folder where samples are kept, and found again.

    Raises:
        UnknownNameError: no such task.
        LengthError: a length below 256, or one that not even the shortest prompt fits in, with
            what it would need.
        StorageError: the cache cannot be read or written.

    Example:
        >>> tokenizer = lambda text: {"input_ids": text.split()}
        >>> own = word_list("own list")
        >>> sample = ruler_samples("niah_single_1", tokenizer, 512, 1, words=own)[0]
        >>> sample.prompt_tokens, sample.max_new_tokens, sample.units
        (381, 128, 17)
        >>> sample.answers[0] in sample.question
        True
    """
    made = RULER_TASKS.get(task)
    if length < LEAST_LENGTH:
        raise LengthError(f"length must be at least {LEAST_LENGTH} tokens for RULER, got {length}.")
    setting = Setting(
        length,
        lambda text: count_tokens(tokenizer, text),
        words or word_list(),
        haystack or default_haystack(),
    )
    path = None if cache is None else samples_path(cache, task, tokenizer, setting, seed, samples)
    kept = None if path is None else read_samples(path)
    if kept is None:
        kept = list(_generate(task, made, setting, seed, samples))
        if path is not None:
            write_samples(path, kept)
    return kept


def _generate(
    name: str, task: RulerTask, setting: Setting, seed: int, samples: int
) -> Iterator[RulerSample]:
    forms = task.forms(setting)
    units: int | None = None
    for index in range(samples):
        stream = f"{seed}/{name}/{setting.length}/{index}"
        fitted = _fit(task, setting, stream, forms, units)
        units = fitted.units if units is None else units
        yield RulerSample(
            task=name,
            length=setting.length,
            index=index,
            question=fitted.draft.question,
            prefix=fitted.draft.prefix,
            completion=fitted.draft.completion,
            answers=fitted.draft.answers,
            prompt_tokens=setting.count(fitted.draft.prompt),
            max_new_tokens=fitted.free,
            units=fitted.units,
            depths=fitted.draft.depths,
            original=fitted.original,
            haystack=task.haystack_name(setting),
            words=setting.words.source if task.uses_words else "",
        )


@final
@dataclass(frozen=True, slots=True)
class _Fitted:
    """A draft that fits: its units, and the tokens that are left free for the answer."""

    draft: Draft
    units: int
    free: int
    original: bool


def _fit(
    task: RulerTask, setting: Setting, stream: str, forms: Sequence[Form], units: int | None
) -> _Fitted:
    """Return the draft of the first form that fits, as large as may be, or with at most `units`."""
    usual = min(task.tokens_to_generate, setting.length // 4)
    need = 0
    for form, least_free in [*((form, usual) for form in forms), (forms[-1], 0)]:

        def draft(size: int, form: Form = form) -> Draft:
            return task.draft(size, form, setting, Random(stream))

        def free(made: Draft, least_free: int = least_free) -> int:
            return max(least_free, setting.count(made.completion))

        def measure(size: int, draft: Draw = draft, free: Callable[[Draft], int] = free) -> int:
            made = draft(size)
            return setting.count(made.prompt) + free(made)

        if units is None:
            found = largest(measure, setting.length, least=form.least, guess=2 * form.least)
        else:
            found = at_most(measure, setting.length, least=form.least, start=units)
        if found is not None:
            made = draft(found)
            whole = form.original and free(made) >= task.tokens_to_generate
            return _Fitted(made, found, free(made), whole)
        need = measure(form.least)
    raise LengthError(
        f"{stream.split('/')[1]} needs {need} tokens at least with this tokenizer, answer "
        f"included, got a length of {setting.length}: take a longer one, or another task."
    )
