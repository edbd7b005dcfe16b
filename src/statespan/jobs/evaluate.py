"""Evaluate a long-context model: perplexity, RULER, recall, with one or more kinds of attention."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from statespan.errors import RunDirectoryError
from statespan.evaluation.attentions import attending, make_attention
from statespan.evaluation.language_model import LanguageModel, load_language_model
from statespan.jobs.evaluate_config import EvaluateConfig, evaluate_config
from statespan.jobs.evaluate_plan import cell_of, cells_with_room, plan_cells, prepare_bench
from statespan.jobs.evaluate_suites import SUITES, Bench, Cell
from statespan.jobs.measurement import finished_records
from statespan.jobs.probe_stages import Progress, use_threads
from statespan.pretrained import accelerate
from statespan.records import (
    EndRecord,
    ModelRecord,
    PerplexityRecord,
    PredictionRecord,
    RecallRecord,
    Record,
    RulerRecord,
    RunDirectory,
    write_atomically,
)
from statespan.records.config import to_table
from statespan.report import draw_perplexity, draw_recall, draw_ruler

__all__ = ["EvaluateResult", "evaluate", "resume_evaluate"]

RECORDS, PREDICTIONS = "records.jsonl", "predictions.jsonl"

PICTURES: tuple[tuple[str, type[Record], Callable[[Sequence[Record]], bytes]], ...] = (
    ("perplexity.png", PerplexityRecord, draw_perplexity),
    ("ruler.png", RulerRecord, draw_ruler),
    ("recall.png", RecallRecord, draw_recall),
)


@final
@dataclass(frozen=True, slots=True)
class EvaluateResult:
    """What an evaluation found.

    Attributes:
        directory: the run directory.
        pictures: the PNG files in it.
        records: the model, then what was measured.
    """

    directory: Path
    pictures: list[Path]
    records: list[Record]


def evaluate(
    config: EvaluateConfig,
    path: Path,
    *,
    model: LanguageModel | None = None,
    progress: Progress = lambda *_: None,
) -> EvaluateResult:
    """Measure as `config` says, in the new run directory `path`.

    Where a run of the same config is in `path`, it is continued, and a finished one is only read.
    `model` is a live model to measure in place of the one that the config names.

    Raises:
        RunDirectoryError: `path` holds something else.
        InputError: no model in the folder, a tokenizer that does not match, no text, or text that
            is not UTF-8; also when the model has no attention to exchange.
        UnknownNameError: a suite, a task or a kind of attention that there is not.
        ConfigError: settings that an attention does not have.
        LengthError: text that is too short, or a length that a task the config names has no room
            in; a task that it does not name is left out there.
        MissingExtraError: the suite harness without lm_eval.
        StorageError: the disk is full, or a file cannot be written.
    """
    if _holds(path, config):
        return resume_evaluate(path, model=model, progress=progress)
    with _bench(config, path, model, progress) as (bench, cells):
        directory = RunDirectory.create(path, config)
        with directory.lock():
            return _run(directory, bench, cells, progress)


def resume_evaluate(
    path: Path, *, model: LanguageModel | None = None, progress: Progress = lambda *_: None
) -> EvaluateResult:
    """Continue the evaluation in `path`: what was measured is not measured again.

    A finished run is only read.

    Raises:
        RunDirectoryError: there is no run, or another process is at work in it.
    """
    directory = RunDirectory.open(path)
    with directory.lock():
        records = finished_records(directory)
        if records:
            return _report(directory, records)
        config = evaluate_config(directory.config_table())
        with _bench(config, path, model, progress) as (bench, cells):
            return _run(directory, bench, cells, progress)


def _holds(path: Path, config: EvaluateConfig) -> bool:
    """Return whether a run of this very config is in `path`."""
    try:
        return RunDirectory.open(path).config_table() == to_table(config)
    except RunDirectoryError:
        return False


@contextmanager
def _bench(
    config: EvaluateConfig, path: Path, model: LanguageModel | None, progress: Progress
) -> Iterator[tuple[Bench, list[Cell]]]:
    """Give what all cells need, and the cells, after all that can be refused has been looked at."""
    cells = plan_cells(config)
    attentions = {
        name: make_attention(name, config.attentions.get(name, {})) for name in config.attention
    }
    with ExitStack() as stack:
        stack.enter_context(use_threads(config.threads or torch.get_num_threads()))
        live = model or load_language_model(
            Path(config.model), dtype=config.dtype, device=config.device
        )
        if config.accelerate:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # a model without such mixers is fine
                stack.enter_context(accelerate(live.model))
        for attention in attentions.values():
            with attending(live.model, attention):
                pass
        cells, reasons = cells_with_room(config, live, cells)
        for reason in reasons:
            progress(f"left out: {reason}", 1, 1, "")
        yield prepare_bench(config, live, attentions, path, cells), cells


def _run(
    directory: RunDirectory, bench: Bench, cells: Sequence[Cell], progress: Progress
) -> EvaluateResult:
    wanted = set(cells)
    records = [r for r in directory.read_records(RECORDS) if cell_of(r) in wanted]
    done = {cell_of(record) for record in records}
    predictions = [r for r in directory.read_records(PREDICTIONS) if cell_of(r) in done]
    records.insert(0, _model_record(bench.model))
    for number, cell in enumerate(cells):
        if cell in done:
            continue
        progress("evaluating", number, len(cells), str(cell))

        def show(step: int, number: int = number, cell: Cell = cell) -> None:
            progress("evaluating", number, len(cells), f"{cell}: {step}")

        with attending(bench.model.model, bench.attentions[cell.attention]):
            made = SUITES.get(cell.suite).run(bench, cell, show)
        predictions += [r for r in made if isinstance(r, PredictionRecord)]
        records += [r for r in made if not isinstance(r, PredictionRecord)]
        directory.write_records(PREDICTIONS, predictions)
        directory.write_records(RECORDS, records)
    progress("evaluating", len(cells), len(cells), "done")
    directory.write_records(RECORDS, [*records, EndRecord(records=len(records))])
    return _report(directory, records)


def _model_record(model: LanguageModel) -> ModelRecord:
    return ModelRecord(
        name=model.name,
        architecture=model.model.config.model_type,
        parameters=model.parameters,
        vocabulary=model.vocabulary,
    )


def _report(directory: RunDirectory, records: list[Record]) -> EvaluateResult:
    """Draw the pictures that these records have something for, and return what was found."""
    pictures = []
    for name, kind, draw in PICTURES:
        if any(isinstance(record, kind) for record in records):
            write_atomically(directory.path / name, draw(records))
            pictures.append(directory.path / name)
    return EvaluateResult(directory.path, pictures, records)
