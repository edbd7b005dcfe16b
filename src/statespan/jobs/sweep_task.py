"""A task of a sweep, as a worker runs it: cells are trained and measured, and it tells how far.

What a task says comes back through Ray. Where the worker sees the sweep's own folder, it works in
there. Where it does not (another machine, no shared disk), it works on a copy, and what changes in
it comes back as files: once a minute, and in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import TypeAlias, final

from statespan.errors import StatespanError
from statespan.jobs.fleet_members import run_members
from statespan.jobs.sweep_watch import Watch
from statespan.records import OutcomeRecord, read_bytes
from statespan.records.records import Status

__all__ = [
    "TOKEN",
    "CellEnd",
    "CellFiles",
    "CellProgress",
    "CellTask",
    "Message",
    "TaskFailure",
    "read_files",
    "run_cells",
]

TOKEN = ".sweep"
"""The file in a sweep's folder that says to a worker that it is this folder that it sees."""


@final
@dataclass(frozen=True, slots=True)
class CellTask:
    """What a worker gets.

    Attributes:
        folder: the sweep's folder, where it was begun.
        token: what stands in its file `TOKEN`.
        cells: the files in each cell's run directory, by their paths in it.
        seconds: how long each cell may still train.
    """

    folder: str
    token: str
    cells: dict[str, dict[str, bytes]]
    seconds: dict[str, float]


@final
@dataclass(frozen=True, slots=True)
class CellProgress:
    """How far a cell is in a stage."""

    name: str
    stage: str
    done: int
    total: int


@final
@dataclass(frozen=True, slots=True)
class CellFiles:
    """Files of a cell's run directory that have changed where it is run."""

    name: str
    files: dict[str, bytes]


@final
@dataclass(frozen=True, slots=True)
class CellEnd:
    """A cell is through; `outcome` has the seconds of this task alone."""

    name: str
    outcome: OutcomeRecord


@final
@dataclass(frozen=True, slots=True)
class TaskFailure:
    """The cells that have not come to their end cannot go on."""

    message: str


Message: TypeAlias = CellProgress | CellFiles | CellEnd | TaskFailure


def run_cells(task: CellTask) -> Iterator[Message]:
    """Train and measure the cells of a task; yield what is to be known about it as it comes.

    A cell whose loss stops being finite, or that takes too long, does not stop the others.
    """
    for name in task.cells:
        yield CellProgress(name, "beginning", 0, 1)
    with _open_folder(task) as (folder, is_copy), ThreadPoolExecutor(1) as pool:
        messages: SimpleQueue[Message | None] = SimpleQueue()
        copies = {name: _Copy(folder / name) for name in task.cells} if is_copy else {}
        watch = Watch(task.seconds, _listener(copies, messages.put))
        paths = {name: folder / name for name in task.cells}
        work = pool.submit(run_members, paths, watch.show)
        work.add_done_callback(lambda _: messages.put(None))
        while (message := messages.get()) is not None:
            yield message
        for name, copy in copies.items():
            yield CellFiles(name, copy.changes())
        yield from _ends(work, watch, lambda text: text.replace(str(folder), task.folder))


def _ends(
    work: Future[dict[str, str]], watch: Watch, put_right: Callable[[str], str]
) -> Iterator[Message]:
    """Yield how each cell has ended; `put_right` names the sweep's folder in a failure."""
    try:
        failures = {name: put_right(text) for name, text in work.result().items()}
    except StatespanError as error:
        yield TaskFailure(put_right(str(error)))
        return
    seconds = watch.seconds_each()
    for name in watch.limits:
        failure = failures.get(name)
        status: Status = "stopped" if name in watch.stopped else "failed"
        if failure is None:
            status = "finished"
        yield CellEnd(name, OutcomeRecord(status=status, seconds=seconds, failure=failure))


def _listener(
    copies: Mapping[str, _Copy], put: Callable[[Message], None]
) -> Callable[[str, str, int, int, bool], None]:
    """Return what hears how far a cell is, and whether it is time to send its files."""

    def hear(name: str, stage: str, done: int, total: int, is_time: bool) -> None:
        put(CellProgress(name, stage, done, total))
        if is_time and name in copies:
            put(CellFiles(name, copies[name].changes()))

    return hear


@contextmanager
def _open_folder(task: CellTask) -> Iterator[tuple[Path, bool]]:
    """Yield the folder to work in: the sweep's own, or a copy of its cells, and whether it is."""
    own = Path(task.folder)
    if (own / TOKEN).is_file() and read_bytes(own / TOKEN) == task.token.encode():
        yield own, False
        return
    with TemporaryDirectory(prefix="statespan-") as copy:
        for name, files in task.cells.items():
            for path, content in files.items():
                place = Path(copy) / name / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
        yield Path(copy), True


def read_files(directory: Path) -> dict[str, bytes]:
    """Return the files in a run directory, by their paths in it; hidden ones do not count."""
    return {str(path.relative_to(directory)): read_bytes(path) for path in _files(directory)}


def _files(directory: Path) -> list[Path]:
    paths = sorted(directory.rglob("*"))
    return [path for path in paths if path.is_file() and not path.name.startswith(".")]


@final
class _Copy:
    """A copy of a run directory, and which of its files were seen as they are."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._seen: dict[Path, int] = {path: path.stat().st_mtime_ns for path in _files(directory)}

    def changes(self) -> dict[str, bytes]:
        """Return the files that have changed since they were last looked at."""
        changed = {}
        for path in _files(self._directory):
            written = path.stat().st_mtime_ns
            if self._seen.get(path) != written:
                self._seen[path] = written
                changed[str(path.relative_to(self._directory))] = read_bytes(path)
        return changed
