"""What a probe is of, a language or a task: read, drawn, and asked of a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, TypeAlias

from statespan.errors import ConfigError
from statespan.evaluation import Published, published_figures
from statespan.jobs.probe_config import ProbeConfig
from statespan.languages import Alphabet, Language, Sampler, language_from_file, language_from_text
from statespan.tasks import SymbolTask, Task, ValueTask, task_from_text
from statespan.training import (
    AnswerData,
    ChoiceReadout,
    ExampleData,
    Readout,
    TaskData,
    ValueData,
    ValueReadout,
    Vocabulary,
    build_data,
    build_readout,
    build_task_data,
    build_value_data,
    python_stream,
)

__all__ = [
    "Subject",
    "draw_data",
    "find_bins",
    "find_published",
    "find_sampler",
    "make_readout",
    "num_inputs",
    "read_subject",
    "symbols_of",
]

DEFAULT_BINS = [(1, 50), (51, 100), (101, 150)]

Subject: TypeAlias = Language | Task[Any]
"""What a probe is of."""


def read_subject(config: ProbeConfig, automaton: Path) -> Subject:
    """Return the language of a config, or its task; an `.json` file is read from `automaton`."""
    if config.task is not None:
        return task_from_text(config.task)
    if config.language.endswith(".json") and config.alphabet is None:
        language = language_from_file(automaton)
        return dataclasses.replace(language, name=Path(config.language).stem)
    return language_from_text(config.language, alphabet=config.alphabet)


def find_published(subject: Subject) -> Published | None:
    """Return the published figures of a language that the catalogue made."""
    name = subject.catalogue_name if isinstance(subject, Language) else None
    return None if name is None else published_figures(name)


def find_bins(config: ProbeConfig, subject: Subject) -> list[tuple[int, int]]:
    """Return the ranges of lengths of a probe.

    Raises:
        EmptyLanguageError: the language has no words.
        ConfigError: the model cannot read words of such a length.
    """
    bins = config.data.bins or _default_bins(subject)
    limit = config.model.max_tokens
    if limit is not None and bins[-1][1] + 1 > limit:
        raise ConfigError(
            f"model.max_length must reach the longest test word and its beginning, "
            f"{bins[-1][1] + 1} tokens, got {limit}."
        )
    return bins


def _default_bins(subject: Subject) -> list[tuple[int, int]]:
    if isinstance(subject, Task):
        return subject.bins
    published = find_published(subject)
    return published.bins if published else DEFAULT_BINS


def symbols_of(subject: Subject) -> Alphabet:
    """Return the symbols that a model of it reads; none if it reads vectors."""
    return subject.alphabet if isinstance(subject, Language | SymbolTask) else ()


def num_inputs(subject: Subject) -> int:
    """Return how many token ids a model of it reads, or how many numbers a vector has."""
    if isinstance(subject, ValueTask):
        return subject.num_inputs
    return Vocabulary(symbols_of(subject)).size


def draw_data(
    config: ProbeConfig, subject: Subject, bins: list[tuple[int, int]], *, stream: str = "data"
) -> ExampleData:
    """Return the training and test words of a probe, from one of its random streams.

    Raises:
        LengthError: a bin has no words.
    """
    rng = python_stream(config.seed, stream)
    train, test = config.data.train_words, config.data.test_words
    match subject:
        case Language():
            sampler = find_sampler(config, subject)
            return build_data(
                subject, bins, sampler=sampler, train_words=train, test_words=test, rng=rng
            )
        case SymbolTask():
            return build_task_data(subject, bins, train_words=train, test_words=test, rng=rng)
        case ValueTask():
            return build_value_data(subject, bins, train_words=train, test_words=test, rng=rng)
    raise AssertionError(f"{subject.name} is a language or a known kind of task")


def find_sampler(config: ProbeConfig, subject: Subject) -> Sampler:
    """Return how the words of a probe are drawn; those of a task, and of most, uniformly."""
    if config.data.sampler is not None:
        return config.data.sampler
    return "published" if find_published(subject) else "uniform"


def make_readout(config: ProbeConfig, data: ExampleData) -> Readout:
    """Return what the outputs of a probe's model mean."""
    if isinstance(data, ValueData):
        return ValueReadout()
    assert isinstance(data, AnswerData), "the data of a language or a task of symbols"
    trained_sets = data.answer_sets[: data.num_trained_sets]
    if isinstance(data, TaskData):
        return ChoiceReadout(data.vocabulary, trained_sets)
    return build_readout(config.training.loss, data.vocabulary, trained_sets)
