"""Many probes: cases, a grid and random samples of anything in a config, run by Ray."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import final

import msgspec

from statespan.errors import RunDirectoryError
from statespan.jobs.probe_stages import Progress, check_words
from statespan.jobs.probe_subject import Subject
from statespan.jobs.sweep_cells import Cell, identity, sweep_cells
from statespan.jobs.sweep_config import RayConfig, SweepConfig, leaves, sweep_config
from statespan.jobs.sweep_directory import (
    cell_record,
    create_cells,
    find_cells,
    read_outcome,
    read_subjects,
)
from statespan.jobs.sweep_plan import PlannedCell, prepare_cells
from statespan.jobs.sweep_ray import Workers, open_workers
from statespan.jobs.sweep_work import SweepWork
from statespan.records import (
    CellRecord,
    EndRecord,
    ResultRow,
    ResultsStore,
    RunDirectory,
    write_toml,
)

__all__ = ["RESULTS", "SweepResult", "resume_sweep", "sweep"]

RESULTS = "results.sqlite"
RECORDS = "records.jsonl"


@final
@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep found.

    Attributes:
        directory: its folder; each cell has a run directory in it.
        results: the file of SQLite in it, with a row a cell.
        records: one a cell.
    """

    directory: Path
    results: Path
    records: list[CellRecord]

    @property
    def failures(self) -> dict[str, str]:
        """Why cells are not finished, by name."""
        return {r.name: r.failure or r.status for r in self.records if r.status != "finished"}


def sweep(
    config: SweepConfig,
    path: Path,
    *,
    address: str | None = None,
    progress: Progress = lambda *_: None,
) -> SweepResult:
    """Train and measure all cells, each in a run directory of its own in `path`.

    Each cell has the numbers that `probe` gives it, up to rounding, and leaves the same files.
    `address` is that of a cluster of Ray, and comes before that of the config. A cell that fails
    does not stop the others: see `SweepResult.failures`.

    Raises:
        RunDirectoryError: `path` is not empty.
        ConfigError: a cell is no config of a probe.
        EmptyLanguageError: a language has no words.
        LengthError: a bin has no words.
        MissingExtraError: Ray is not installed.
        InputError: no cluster answers at the address.
        StorageError: the disk is full, or a file cannot be written.
    """
    cells = {cell.name: cell for cell in sweep_cells(config)}
    subjects = read_subjects(path, cells)
    _check_words(cells, subjects)
    planned = prepare_cells(cells, subjects)
    with open_workers(_ray_config(config, address)) as workers:
        workers.check_threads(max(cell.config.training.threads for cell in cells.values()))
        RunDirectory.create(path, config)
        create_cells(path, cells, subjects)
        return _run(path, config, cells, planned, nullcontext(workers), progress)


def resume_sweep(
    path: Path,
    config: SweepConfig | None = None,
    *,
    address: str | None = None,
    progress: Progress = lambda *_: None,
) -> SweepResult:
    """Continue the sweep in `path`; with `config`, one that has all its cells and maybe more.

    What is finished is only read. A cell that was lost, or that may train longer now, goes on from
    its checkpoint; one whose loss was not finite is not tried again.

    Raises:
        RunDirectoryError: there is no sweep, or another one, or another process is at work in it.
        ConfigError, EmptyLanguageError, LengthError: as `sweep`, before anything is changed.
        MissingExtraError: Ray is not installed.
        InputError: no cluster answers at the address.
        StorageError: the disk is full, or a file cannot be read or written.
    """
    directory = RunDirectory.open(path)
    with directory.lock():
        table = directory.config_table()
        if not {"cases", "grid", "random"} & table.keys():
            raise RunDirectoryError(
                f"{path} holds no sweep, but another run: continue it with the verb that began it."
            )
        there = sweep_config(table)
        config = config or there
        cells = sweep_cells(config)
        if config != there:
            _check_growth(path, sweep_cells(there), cells)
        found = find_cells(path, cells)
        subjects = read_subjects(path, found)
        _check_words(found, subjects)
        planned = prepare_cells(found, subjects)
        create_cells(path, found, subjects)
        if config != there:
            write_toml(path / "config.toml", config)
    # The lock is on the file of the config, which may be another one now.
    workers = open_workers(_ray_config(config, address))
    return _run(path, config, found, planned, workers, progress)


def _ray_config(config: SweepConfig, address: str | None) -> RayConfig:
    return msgspec.structs.replace(config.ray, address=address or config.ray.address)


def _check_growth(path: Path, before: list[Cell], after: list[Cell]) -> None:
    """Check that a sweep keeps the cells that it had."""
    kept = {identity(cell.config) for cell in after}
    lacking = [cell.name for cell in before if identity(cell.config) not in kept]
    if lacking:
        raise RunDirectoryError(
            f"{path} holds another sweep: {len(lacking)} of its {len(before)} cells are not in "
            f"this config, {lacking[0]} for one. Only more cells can be added; use a folder of "
            "its own for this one."
        )


def _check_words(cells: Mapping[str, Cell], subjects: Mapping[str, Subject]) -> None:
    """Check that every cell has words to train on and words to test."""
    seen: set[bytes] = set()
    for name, cell in cells.items():
        config = cell.config
        what = (config.language, config.alphabet, config.task, config.data, config.model.max_tokens)
        key = msgspec.json.encode(what)
        if key not in seen:
            check_words(config, subjects[name])
            seen.add(key)


def _run(
    path: Path,
    config: SweepConfig,
    cells: Mapping[str, Cell],
    planned: Mapping[str, PlannedCell],
    workers: AbstractContextManager[Workers],
    progress: Progress,
) -> SweepResult:
    limit = inf if config.limit_minutes is None else 60 * config.limit_minutes
    directory = RunDirectory.open(path)
    with directory.lock():
        outcomes = {name: read_outcome(path / name, limit) for name in cells}

        def row(name: str) -> ResultRow:
            record = cell_record(path, name, cells[name], outcomes[name])
            return ResultRow(record, dict(leaves(msgspec.to_builtins(cells[name].config))))

        store = ResultsStore.create(path / RESULTS, map(row, cells))
        work = SweepWork(
            path,
            planned,
            outcomes,
            limit=limit,
            retries=config.retries,
            on_end=lambda name: store.put([row(name)]),
            progress=progress,
        )
        if work.open_cells():
            (path / RECORDS).unlink(missing_ok=True)
            with workers as opened:
                work.run(opened)
        records = [row(name).record for name in cells]
        directory.write_records(RECORDS, [*records, EndRecord(records=len(records))])
    return SweepResult(path, path / RESULTS, records)
