"""The cells of a sweep that are still to be run, handed to workers until all have ended."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import final

from statespan.jobs.probe_stages import Progress
from statespan.jobs.sweep_directory import OUTCOME, write_files
from statespan.jobs.sweep_plan import PlannedCell, plan_tasks
from statespan.jobs.sweep_progress import SweepProgress
from statespan.jobs.sweep_ray import Workers
from statespan.jobs.sweep_task import (
    TOKEN,
    CellEnd,
    CellFiles,
    CellProgress,
    CellTask,
    Message,
    TaskFailure,
    read_files,
)
from statespan.records import OutcomeRecord, RunDirectory, write_atomically

__all__ = ["SweepWork"]

PAUSE = 0.5
"""Seconds between two looks at the workers when they say nothing."""


@final
class SweepWork:
    """Runs the open cells; how each ends is noted in its run directory, and in `outcomes`.

    Attributes:
        outcomes: how each cell has ended, by name.
    """

    def __init__(
        self,
        folder: Path,
        cells: Mapping[str, PlannedCell],
        outcomes: dict[str, OutcomeRecord],
        *,
        limit: float,
        retries: int,
        on_end: Callable[[str], None],
        progress: Progress,
    ) -> None:
        self.outcomes = outcomes
        self._folder = folder
        self._cells = cells
        self._limit, self._retries = limit, retries
        self._on_end = on_end
        self._losses = dict.fromkeys(cells, 0)
        self._token = secrets.token_hex(8)
        work = {name: planned.seconds for name, planned in cells.items()}
        self._progress = SweepProgress(work, progress)

    def open_cells(self) -> list[str]:
        """Return the cells that are to be run."""
        return [name for name, outcome in self.outcomes.items() if outcome.status == "open"]

    def run(self, workers: Workers) -> None:
        """Run the open cells until each has ended, one way or another.

        Raises:
            ConfigError: a cell has more threads than a machine has cores.
            StorageError: the disk is full, or a file cannot be written.
        """
        open_cells = [self._cells[name] for name in self.open_cells()]
        workers.check_threads(max(cell.config.training.threads for cell in open_cells))
        write_atomically(self._folder / TOKEN, self._token.encode())
        ended = {n: o.status for n, o in self.outcomes.items() if o.status != "open"}
        self._progress.begin(ended)
        for names in plan_tasks(open_cells, workers.cpus):
            self._submit(workers, names)
        while workers.is_busy:
            for task, message in workers.next_messages(PAUSE):
                self._take(workers, task, message)
            self._progress.show()

    def _submit(self, workers: Workers, names: Iterable[str]) -> None:
        cells = {name: read_files(self._folder / name) for name in names}
        seconds = {name: self._limit - self.outcomes[name].seconds for name in cells}
        threads = max(self._cells[name].config.training.threads for name in cells)
        folder = str(self._folder.resolve())
        workers.submit(CellTask(folder, self._token, cells, seconds), threads)

    def _take(self, workers: Workers, task: CellTask, message: Message | None) -> None:
        match message:
            case CellProgress(name, stage, done, total):
                self._progress.update(name, stage, done, total)
            case CellFiles(name, files):
                write_files(self._folder / name, files)
            case CellEnd(name, outcome):
                self._end(name, outcome)
            case TaskFailure(text):
                self._end_task(workers, task, text)
            case None:
                self._end_task(workers, task, "its worker said nothing of its end")

    def _end(self, name: str, outcome: OutcomeRecord) -> None:
        seconds = self.outcomes[name].seconds + outcome.seconds
        failure = outcome.failure
        if outcome.status == "stopped":
            failure = f"after {seconds / 60:.1f} minutes, {failure}"
        whole = OutcomeRecord(status=outcome.status, seconds=seconds, failure=failure)
        RunDirectory(self._folder / name).append(OUTCOME, whole)
        self.outcomes[name] = whole
        self._progress.end(name, whole.status)
        self._on_end(name)

    def _end_task(self, workers: Workers, task: CellTask, text: str) -> None:
        """Forget a task; have those of its cells that have not ended run again, each alone.

        One of them may be at fault. A cell that was alone before is given up after as many
        retries as there may be; `text` says why.
        """
        workers.forget(task)
        for name in [name for name in task.cells if self.outcomes[name].status == "open"]:
            self._losses[name] += len(task.cells) == 1
            if self._losses[name] > self._retries:
                self._end(name, OutcomeRecord(status="lost", seconds=0.0, failure=text))
            else:
                self._progress.pause(name)
                self._submit(workers, [name])
