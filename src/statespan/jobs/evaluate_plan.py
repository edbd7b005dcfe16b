"""The cells of an evaluation: which there are, and what they need before the first one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from statespan.errors import LengthError, UnknownNameError
from statespan.evaluation.attentions import Exchangeable
from statespan.evaluation.language_model import LanguageModel
from statespan.evaluation.lists import LISTS
from statespan.evaluation.perplexity import check_text
from statespan.evaluation.prose import open_prose
from statespan.evaluation.ruler import (
    Haystack,
    default_haystack,
    essay_haystack,
    ruler_samples,
)
from statespan.jobs.evaluate_config import EvaluateConfig
from statespan.jobs.evaluate_suites import SUITES, Bench, Cell
from statespan.records import (
    HarnessRecord,
    PerplexityRecord,
    PredictionRecord,
    RecallRecord,
    Record,
    RulerRecord,
)

__all__ = ["cell_of", "cells_with_room", "plan_cells", "prepare_bench"]


def plan_cells(config: EvaluateConfig) -> list[Cell]:
    """Return the cells of an evaluation, in the order in which they run.

    Raises:
        UnknownNameError: a suite or a task that there is not; near names are in the message.
        ConfigError: the suite harness without a task of its own.
        MissingExtraError: the suite harness without lm_eval.
    """
    suites = {name: SUITES.get(name) for name in config.suite}
    known = [task for suite in suites.values() for task in suite.tasks(config) if task]
    for task in config.tasks or ():
        if task not in known:
            raise UnknownNameError("task", task, known)
    return [
        Cell(name, attention, task, length)
        for name, suite in suites.items()
        for length in suite.lengths(config)
        for task in suite.chosen(config)
        for attention in config.attention
    ]


def cell_of(record: Record) -> Cell | None:
    """Return the cell that a record is of, None if it is of none."""
    match record:
        case PerplexityRecord():
            return Cell("perplexity", record.attention, "", record.length)
        case RulerRecord() | PredictionRecord():
            return Cell("ruler", record.attention, record.task, record.length)
        case RecallRecord():
            if record.task == LISTS:
                return Cell(LISTS, record.attention, "", record.length)
            return Cell("recall", record.attention, record.task, record.length)
        case HarnessRecord():
            return Cell("harness", record.attention, record.task, 0)
    return None


def cells_with_room(
    config: EvaluateConfig, model: LanguageModel, cells: Sequence[Cell]
) -> tuple[list[Cell], list[str]]:
    """Return the cells whose length has room for their task of RULER, and why others have none.

    With the tokens of some tokenizers a task's shortest prompt is longer than a length.

    Raises:
        LengthError: a task that the config names has no room, or there is room for nothing.
        InputError: no essays in the folder that the config names.
    """
    haystack, reasons = _haystack(config), {}
    for task, length in {(c.task, c.length): None for c in cells if c.suite == "ruler"}:
        try:
            ruler_samples(task, model.tokenizer, length, 1, seed=config.seed, haystack=haystack)
        except LengthError as error:
            if config.tasks is not None:
                raise
            reasons[task, length] = str(error)
    room = [
        cell for cell in cells if cell.suite != "ruler" or (cell.task, cell.length) not in reasons
    ]
    if reasons and not room:
        raise LengthError(next(iter(reasons.values())))
    return room, [f"{task} at {length:,}: {why}" for (task, length), why in reasons.items()]


def _haystack(config: EvaluateConfig) -> Haystack:
    return default_haystack() if config.essays is None else essay_haystack(Path(config.essays))


def prepare_bench(
    config: EvaluateConfig,
    model: LanguageModel,
    attentions: Mapping[str, Exchangeable],
    path: Path,
    cells: Sequence[Cell],
) -> Bench:
    """Return what the cells need, once it is known that each has text enough.

    Raises:
        InputError: no text, or text that is not UTF-8.
        LengthError: text that is shorter than the longest length.
    """
    text = open_prose(None if config.text is None else Path(config.text), field=config.field)
    if any(cell.suite == "perplexity" for cell in cells):
        check_text(model, text, max(config.lengths))
    return Bench(config, model, attentions, text, _haystack(config), path / "samples")
