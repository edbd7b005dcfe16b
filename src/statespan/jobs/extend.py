"""Extend a pretrained model to a longer context, and tell what it reads before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import final

import msgspec
import torch

from statespan.errors import InputError, RunDirectoryError
from statespan.jobs.extend_config import ExtendConfig, extend_config, training_config
from statespan.jobs.extend_saving import ADAPTER, MODEL, save_extended
from statespan.jobs.extend_stages import (
    AFTER,
    BEFORE,
    LOG,
    PreparedExtension,
    describe_extension,
    measure_stage,
    prepare_extension,
    train_extension,
)
from statespan.jobs.measurement import finished_records
from statespan.jobs.probe_stages import Progress, use_threads
from statespan.records import (
    EndRecord,
    PerplexityRecord,
    RecallRecord,
    Record,
    RulerRecord,
    RunDirectory,
    read_bytes,
    write_atomically,
)
from statespan.report import draw_perplexity, draw_recall, draw_ruler
from statespan.report.extension import extension_page

__all__ = ["ExtendResult", "extend", "resume_extend"]

RECORDS, TEXT, REPORT = "records.jsonl", "text.json", "report.html"

PICTURES: tuple[tuple[str, type[Record], Callable[[Sequence[Record]], bytes]], ...] = (
    ("perplexity", PerplexityRecord, draw_perplexity),
    ("ruler", RulerRecord, draw_ruler),
    ("recall", RecallRecord, draw_recall),
)


@final
@dataclass(frozen=True, slots=True)
class ExtendResult:
    """What an extension made.

    Attributes:
        directory: the run directory.
        adapter: the folder in it that PEFT opens; none if all weights were trained.
        model: the folder in it that `transformers` opens; none if nothing was merged.
        report: the page of HTML in it.
        pictures: the PNG files in it.
        records: the extension, then what was measured before and after; none in any process but
            the first.
    """

    directory: Path
    adapter: Path | None = None
    model: Path | None = None
    report: Path | None = None
    pictures: list[Path] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)


def extend(
    config: ExtendConfig, path: Path, *, progress: Progress = lambda *_: None
) -> ExtendResult:
    """Extend as `config` says, in the new run directory `path`.

    The model is measured, trained on rows of the new length, measured again, and saved: as a plain
    adapter of PEFT, and merged. A run is a function of its config, its model and its text. Under
    `accelerate launch`, each process calls this, and the first one measures and saves.

    Raises:
        RunDirectoryError: `path` is not empty.
        InputError: no model in the folder, a tokenizer that does not match, a model without
            attention, no text, or text that is not UTF-8.
        ConfigError: a length that is not longer than the model's own, or a setting that cannot be.
        LengthError: no document has as many tokens as a row.
        AdapterError: something that the method promises to train does not.
        TrainingError: the loss stopped being finite; the last good checkpoint is kept.
        StorageError: the disk is full, or a file cannot be written or read.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunDirectoryError(
            f"the run directory {path} is not empty. Name another one, or continue the run in it "
            f"with --resume {path}"
        )
    prepared = prepare_extension(config, path, progress)
    if prepared.accelerator.is_main_process:
        RunDirectory.create(path, prepared.config, files=[(TEXT, _fingerprint(prepared))])
    prepared.accelerator.wait_for_everyone()
    return _run(prepared, RunDirectory.open(path))


def resume_extend(path: Path, *, progress: Progress = lambda *_: None) -> ExtendResult:
    """Continue the run in `path` to the numbers that it would have given uninterrupted.

    A finished run is only read.

    Raises:
        RunDirectoryError: there is no run, or another process is at work in it.
        InputError: the text is not what it was when the run began (of files, the names, the sizes
            and 4 GiB of text are compared).
        StorageError: the checkpoint cannot be read, or is of another model.
    """
    directory = RunDirectory.open(path)
    config = extend_config(directory.config_table())
    records = finished_records(directory)
    if records:
        return _result(directory, records)
    prepared = prepare_extension(config, path, progress)
    if read_bytes(path / TEXT) != _fingerprint(prepared):
        raise InputError(
            f"the text in {config.text} has changed since the run in {path} began: put it back, or "
            "begin a new run."
        )
    return _run(prepared, directory)


def _run(prepared: PreparedExtension, directory: RunDirectory) -> ExtendResult:
    is_first = prepared.accelerator.is_main_process
    threads = training_config(prepared.config).threads or torch.get_num_threads()
    with ExitStack() as stack:
        stack.enter_context(use_threads(threads))
        before: list[Record] = []
        if is_first:
            stack.enter_context(directory.lock())
            if prepared.config.measure_before:
                before = measure_stage(prepared, directory, BEFORE)
        prepared.accelerator.wait_for_everyone()
        trained, trainee = train_extension(prepared, directory)
        if not is_first:
            return ExtendResult(directory.path)
        after = measure_stage(trained, directory, AFTER)
        records = [describe_extension(trained, trainee), *_side_by_side(before, after)]
        save_extended(trained, records, directory.path)
        _report(directory, records)
        directory.write_records(RECORDS, [*records, EndRecord(records=len(records))])
    return _result(directory, records)


def _fingerprint(prepared: PreparedExtension) -> bytes:
    return msgspec.json.encode(prepared.source.fingerprint)


def _side_by_side(before: Sequence[Record], after: Sequence[Record]) -> list[Record]:
    """Return what was measured, with the stage in the name of each attention."""
    return [
        msgspec.structs.replace(record, attention=f"{record.attention}, {stage}")
        for stage, records in ((BEFORE, before), (AFTER, after))
        for record in records
        if isinstance(record, PerplexityRecord | RulerRecord | RecallRecord)
    ]


def _report(directory: RunDirectory, records: Sequence[Record]) -> None:
    pictures = {
        name: draw(records)
        for name, kind, draw in PICTURES
        if any(isinstance(record, kind) for record in records)
    }
    for name, content in pictures.items():
        write_atomically(directory.path / f"{name}.png", content)
    page = extension_page(records, directory.read_records(LOG), pictures)
    write_atomically(directory.path / REPORT, page.encode())


def _result(directory: RunDirectory, records: list[Record]) -> ExtendResult:
    path = directory.path
    adapter, model = path / ADAPTER, path / MODEL
    pictures = [path / f"{name}.png" for name, *_ in PICTURES]
    return ExtendResult(
        path,
        adapter=adapter if adapter.is_dir() else None,
        model=model if model.is_dir() else None,
        report=path / REPORT,
        pictures=[picture for picture in pictures if picture.is_file()],
        records=records,
    )
