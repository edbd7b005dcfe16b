"""The folder of a sweep: a run directory a cell, and how each has ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from statespan.errors import RunDirectoryError, StatespanError
from statespan.jobs.measurement import finished_records
from statespan.jobs.probe_config import table_config
from statespan.jobs.probe_stages import AUTOMATON, first_files
from statespan.jobs.probe_subject import Subject, read_subject
from statespan.jobs.sweep_cells import Cell, identity
from statespan.records import (
    BinRecord,
    CellRecord,
    ErrorRecord,
    OutcomeRecord,
    RunDirectory,
    write_atomically,
)
from statespan.records.storage import storage_error

__all__ = [
    "OUTCOME",
    "cell_record",
    "create_cells",
    "find_cells",
    "read_outcome",
    "read_subjects",
    "write_files",
]

OUTCOME = "cell.jsonl"
LOG, RECORDS = "training.jsonl", "records.jsonl"


def find_cells(folder: Path, cells: Sequence[Cell]) -> dict[str, Cell]:
    """Return the cells by the names of their run directories, those that are there or will be.

    A run is taken up by its config, whatever it is called, so that a probe that ran alone can be
    moved into the folder of a sweep.

    Raises:
        RunDirectoryError: a run in the folder has a config that cannot be read.
    """
    runs: dict[bytes, str] = {}
    for file in sorted(folder.glob("*/config.toml")):
        if file.parent.name.startswith("."):  # a kill left it half made
            continue
        try:
            config = table_config(RunDirectory(file.parent).config_table())
        except StatespanError as error:
            raise RunDirectoryError(
                f"{file.parent} is no run that this version can read: {error} Move it out of the "
                "sweep's folder, and its cell is run again."
            ) from error
        runs[identity(config)] = file.parent.name
    return {runs.get(identity(cell.config), cell.name): cell for cell in cells}


def read_subjects(folder: Path, cells: Mapping[str, Cell]) -> dict[str, Subject]:
    """Return what the cells are of, by name; what is equal is read once.

    Raises:
        InputError: a language or a task cannot be read.
    """
    known: dict[bytes, Subject] = {}
    subjects = {}
    for name, cell in cells.items():
        config = cell.config
        key = msgspec.json.encode((config.language, config.alphabet, config.task))
        if key not in known:
            kept = folder / name / AUTOMATON
            known[key] = read_subject(config, kept if kept.is_file() else Path(config.language))
        subjects[name] = known[key]
    return subjects


def create_cells(folder: Path, cells: Mapping[str, Cell], subjects: Mapping[str, Subject]) -> None:
    """Make the run directories that are not there yet.

    Raises:
        ConfigError: the weights to start from are of another model, alphabet or kind of output.
        StorageError: the disk is full, or a file cannot be written.
    """
    missing = {name: cell for name, cell in cells.items() if not (folder / name).exists()}
    files = {name: first_files(cell.config, subjects[name]) for name, cell in missing.items()}
    for name, cell in missing.items():
        RunDirectory.create(folder / name, cell.config, files=files[name])


def read_outcome(directory: Path, limit: float) -> OutcomeRecord:
    """Return how the run in `directory` has ended, `open` if it is to be run or gone on with.

    One that was stopped before its training took `limit` seconds is open again, and so is one that
    was lost.

    Raises:
        StorageError: a record in it cannot be read.
    """
    run = RunDirectory(directory)
    told = [r for r in run.read_records(OUTCOME) if isinstance(r, OutcomeRecord)]
    last = told[-1] if told else OutcomeRecord(status="open", seconds=0.0)
    if finished_records(run):
        return OutcomeRecord(status="finished", seconds=last.seconds)
    if last.status == "failed" or (last.status == "stopped" and last.seconds >= limit):
        return last
    return OutcomeRecord(status="open", seconds=last.seconds)


def cell_record(folder: Path, name: str, cell: Cell, outcome: OutcomeRecord) -> CellRecord:
    """Return what came of a cell."""
    is_finished = outcome.status == "finished"
    found = finished_records(RunDirectory(folder / name)) if is_finished else []
    return CellRecord(
        name=name,
        settings=cell.settings,
        status=outcome.status,
        seconds=outcome.seconds,
        bins=[record for record in found if isinstance(record, BinRecord)],
        errors=[record for record in found if isinstance(record, ErrorRecord)],
        failure=outcome.failure,
    )


def write_files(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write files of a run that came from elsewhere, so that a kill leaves one to be resumed.

    What says that something is done comes after what was done: the log before the checkpoint that
    covers it, the records last.

    Raises:
        StorageError: the disk is full, or a file cannot be written.
    """
    for name in sorted(files, key=lambda name: (name == RECORDS, name != LOG, name)):
        path = directory / name
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise storage_error(path.parent, "create", error) from error
        write_atomically(path, files[name])
