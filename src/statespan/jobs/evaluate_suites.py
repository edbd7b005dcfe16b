"""The suites of an evaluation: which tasks each has, and how a cell of it is run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from statespan.errors import ConfigError
from statespan.evaluation.attentions import Exchangeable
from statespan.evaluation.generation import evaluate_ruler
from statespan.evaluation.harness import evaluate_harness, harness_tasks
from statespan.evaluation.language_model import LanguageModel
from statespan.evaluation.lists import LISTS, evaluate_lists
from statespan.evaluation.perplexity import evaluate_perplexity
from statespan.evaluation.ruler import (
    RULER_TASKS,
    Haystack,
    ruler_samples,
)
from statespan.evaluation.synthetic import RECALL_TASKS, evaluate_recall
from statespan.jobs.evaluate_config import EvaluateConfig
from statespan.records import EvaluationRecord
from statespan.registry import Registry
from statespan.training.text import TextSource

__all__ = ["SUITES", "Bench", "Cell", "Suite"]


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """What is measured at once, and not measured again when a run is resumed.

    `task` is empty where a suite has none, `length` 0 where a task has its own.
    """

    suite: str
    attention: str
    task: str
    length: int

    def __str__(self) -> str:
        length = f"{self.length:,}" if self.length else ""
        return " ".join(part for part in (self.suite, self.task, length, self.attention) if part)


@final
@dataclass(frozen=True, slots=True)
class Bench:
    """What all cells need.

    Attributes:
        attentions: by the names that the config gives them.
        samples: a folder where samples are kept.
    """

    config: EvaluateConfig
    model: LanguageModel
    attentions: Mapping[str, Exchangeable]
    text: TextSource
    haystack: Haystack
    samples: Path


class Suite(ABC):
    """A group of measurements with a name."""

    def tasks(self, config: EvaluateConfig) -> Sequence[str]:
        """Return all tasks it knows, in order; one empty name if it has none."""
        del config
        return [""]

    def chosen(self, config: EvaluateConfig) -> list[str]:
        """Return the tasks that a config asks for."""
        known = self.tasks(config)
        return [task for task in known if not task or config.tasks is None or task in config.tasks]

    def lengths(self, config: EvaluateConfig) -> Sequence[int]:
        """Return the lengths it is measured at."""
        return config.lengths

    @abstractmethod
    def run(
        self, bench: Bench, cell: Cell, on_step: Callable[[int], None]
    ) -> Sequence[EvaluationRecord]:
        """Return the records of one cell."""


SUITES: Registry[Suite] = Registry("suite", "suites")


@final
class PerplexitySuite(Suite):
    """Perplexity by length, and by position in it."""

    def run(
        self, bench: Bench, cell: Cell, on_step: Callable[[int], None]
    ) -> Sequence[EvaluationRecord]:
        config = bench.config
        record = evaluate_perplexity(
            bench.model,
            bench.text,
            cell.length,
            stride=config.perplexity.stride,
            tokens=config.perplexity.tokens,
            whole=max(config.lengths),
            bins=config.perplexity.bins,
            batch_size=config.rows(cell.length),
            attention=cell.attention,
            on_step=on_step,
        )
        return [record]


@final
class RulerSuite(Suite):
    """The 11 tasks of RULER."""

    def tasks(self, config: EvaluateConfig) -> Sequence[str]:
        del config
        return RULER_TASKS.names()

    def run(
        self, bench: Bench, cell: Cell, on_step: Callable[[int], None]
    ) -> Sequence[EvaluationRecord]:
        config = bench.config
        samples = ruler_samples(
            cell.task,
            bench.model.tokenizer,
            cell.length,
            config.samples,
            seed=config.seed,
            haystack=bench.haystack,
            cache=bench.samples,
        )
        record, predictions = evaluate_ruler(
            bench.model,
            samples,
            batch_size=config.rows(cell.length),
            attention=cell.attention,
            on_step=on_step,
        )
        return [record, *predictions]


@final
class RecallSuite(Suite):
    """Synthetic recall in token ids."""

    def tasks(self, config: EvaluateConfig) -> Sequence[str]:
        del config
        return RECALL_TASKS.names()

    def run(
        self, bench: Bench, cell: Cell, on_step: Callable[[int], None]
    ) -> Sequence[EvaluationRecord]:
        config, last = bench.config, bench.config.recall.depths - 1
        return evaluate_recall(
            bench.model,
            cell.task,
            cell.length,
            config.samples,
            seed=config.seed,
            depths=[step / last for step in range(last + 1)],
            batch_size=config.rows(cell.length),
            attention=cell.attention,
            on_step=on_step,
        )


@final
class ListSuite(Suite):
    """Lists of keys and values in text."""

    def run(
        self, bench: Bench, cell: Cell, on_step: Callable[[int], None]
    ) -> Sequence[EvaluationRecord]:
        config = bench.config
        record = evaluate_lists(
            bench.model,
            cell.length,
            config.samples,
            seed=config.seed,
            batch_size=config.rows(cell.length),
            attention=cell.attention,
            on_step=on_step,
        )
        return [record]


@final
class HarnessSuite(Suite):
    """Tasks of lm-evaluation-harness, at the longest of the lengths."""

    def tasks(self, config: EvaluateConfig) -> Sequence[str]:
        return harness_tasks(_folder(config))

    def chosen(self, config: EvaluateConfig) -> list[str]:
        others = (SUITES.get(name) for name in config.suite)
        taken = {
            task for suite in others if suite is not self for task in suite.tasks(config)
        }  # some names are those of tasks here, too, as those of RULER
        known = set(self.tasks(config)) - taken
        wanted = [task for task in config.tasks or () if task in known]
        if not wanted:
            raise ConfigError(
                "the suite harness needs the names of its tasks (--tasks arc_easy,…), got none."
            )
        return wanted

    def lengths(self, config: EvaluateConfig) -> Sequence[int]:
        del config
        return [0]

    def run(
        self, bench: Bench, cell: Cell, on_step: Callable[[int], None]
    ) -> Sequence[EvaluationRecord]:
        config = bench.config
        del on_step
        return evaluate_harness(
            bench.model,
            cell.task,
            folder=_folder(config),
            samples=config.harness.samples,
            max_length=max(config.lengths),
            batch_size=config.batch_size,
            attention=cell.attention,
        )


def _folder(config: EvaluateConfig) -> Path | None:
    return None if config.harness.folder is None else Path(config.harness.folder)


SUITES.add("perplexity", PerplexitySuite())
SUITES.add("ruler", RulerSuite())
SUITES.add("recall", RecallSuite())
SUITES.add(LISTS, ListSuite())
SUITES.add("harness", HarnessSuite())
