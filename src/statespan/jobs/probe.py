"""Train a model on short words of a language, and say at which lengths it still knows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from statespan.jobs.measurement import finished_records, measure
from statespan.jobs.probe_config import ProbeConfig
from statespan.jobs.probe_stages import (
    PreparedProbe,
    Progress,
    draw_words,
    first_files,
    reopen_probe,
    start_training,
    use_threads,
)
from statespan.jobs.probe_subject import read_subject
from statespan.records import ErrorRecord, Record, RunDirectory, write_atomically
from statespan.report import draw_accuracy, draw_errors
from statespan.training import train_alone

__all__ = ["ProbeResult", "picture_path", "probe", "report_probe", "resume_probe"]

PICTURE, ERRORS = "accuracy.png", "errors.png"


@final
@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a probe found.

    Attributes:
        directory: the run directory.
        picture: the PNG in it: of accuracy by length, or of errors by position.
        records: the run, then its bins, lengths and recognition; or errors by bin and position.
    """

    directory: Path
    picture: Path
    records: list[Record]


def probe(config: ProbeConfig, path: Path, *, progress: Progress = lambda *_: None) -> ProbeResult:
    """Train and measure as `config` says, in the new run directory `path`.

    A run is a function of its config: same config, same versions and same machine, same numbers.

    Raises:
        RunDirectoryError: `path` is not empty.
        ConfigError: the weights to start from are of another model, alphabet or kind of output.
        EmptyLanguageError: the language has no words.
        LengthError: a bin has no words.
        TrainingError: the loss stopped being finite; the last good checkpoint is kept.
        StorageError: the disk is full, or a file cannot be written.
    """
    language = read_subject(config, Path(config.language))
    files = first_files(config, language)
    data = draw_words(config, language, progress)
    directory = RunDirectory.create(path, config, files=files)
    with directory.lock():
        return _run(PreparedProbe(directory, config, language, data, progress))


def resume_probe(path: Path, *, progress: Progress = lambda *_: None) -> ProbeResult:
    """Continue the run in `path` to the numbers that it would have given uninterrupted.

    A finished run is only read.

    Raises:
        RunDirectoryError: there is no run, or another process is at work in it.
    """
    directory = RunDirectory.open(path)
    with directory.lock():
        records = finished_records(directory)
        if records:
            return report_probe(directory, records)
        config, language = reopen_probe(path)
        data = draw_words(config, language, progress)
        return _run(PreparedProbe(directory, config, language, data, progress))


def _run(prepared: PreparedProbe) -> ProbeResult:
    with use_threads(prepared.config.training.threads):
        run = start_training(prepared)
        train_alone(run)
        records = measure(prepared, run)
    return report_probe(prepared.directory, records)


def report_probe(directory: RunDirectory, records: list[Record]) -> ProbeResult:
    """Draw the picture of a run that has these records, and return what it found."""
    picture = picture_path(directory, records)
    draw = draw_errors if picture.name == ERRORS else draw_accuracy
    write_atomically(picture, draw(records))
    return ProbeResult(directory.path, picture, records)


def picture_path(directory: RunDirectory, records: Sequence[Record]) -> Path:
    """Return where the picture of a run that has these records is, or will be."""
    has_errors = any(isinstance(record, ErrorRecord) for record in records)
    return directory.path / (ERRORS if has_errors else PICTURE)
