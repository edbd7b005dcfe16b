"""A run directory: the config, what it ran on, checkpoints, and one JSON line a record.

It appears with its config in it or not at all (in a directory that was there, empty, the config
comes last); every file in it is replaced whole; a line that a kill cut short is dropped when it is
read. So a run can be resumed from it at any moment.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic, sleep
from typing import IO, Any, final

import msgspec

from statespan.errors import RunDirectoryError, StorageError
from statespan.records.config import read_toml, write_toml
from statespan.records.records import Record
from statespan.records.storage import append_line, read_bytes, storage_error, write_atomically

try:
    import fcntl
except ImportError:  # where there are no such locks
    fcntl = None  # type: ignore[assignment]

__all__ = ["RunDirectory"]

PAUSE = 0.05
"""Seconds between two looks at a lock."""

PACKAGES = ("statespan", "torch", "transformers", "numpy", "safetensors")


@final
class RunDirectory:
    """The files of one run.

    Attributes:
        path: the directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(
        cls,
        path: Path,
        config: msgspec.Struct | Mapping[str, Any],
        *,
        files: Sequence[tuple[str, bytes]] = (),
    ) -> RunDirectory:
        """Make the directory, with `config`, the environment and `files` in it, in one step.

        Raises:
            RunDirectoryError: `path` is there and not empty; nothing in it is touched.
            StorageError: it cannot be written.
        """
        try:
            if path.exists():
                _check_empty(path)
                _fill(path, config, files)
                return cls(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        except OSError as error:
            raise storage_error(path, "create", error) from error
        try:
            _fill(fresh, config, files)
            fresh.chmod(0o755)
            fresh.replace(path)
        except (OSError, StorageError) as error:
            shutil.rmtree(fresh, ignore_errors=True)
            if isinstance(error, OSError):
                raise storage_error(path, "create", error) from error
            raise
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Return the run in `path`.

        Raises:
            RunDirectoryError: there is none.
        """
        try:
            is_run = (path / "config.toml").is_file()
        except OSError as error:
            raise storage_error(path, "read", error) from error
        if not is_run:
            raise RunDirectoryError(f"{path} holds no run: there is no config.toml in it.")
        return cls(path)

    @contextmanager
    def lock(self, *, wait: float = 0.0) -> Iterator[None]:
        """Keep every other process from writing into the run; given back when this one ends.

        One that is at work in it has `wait` seconds to end.

        Raises:
            RunDirectoryError: another process is at work in it.
        """
        with (self.path / "config.toml").open("rb") as file:
            end = monotonic() + wait
            while not _try_lock(file):
                if monotonic() >= end:
                    raise RunDirectoryError(
                        f"another process is at work in {self.path}: wait for it, or end it."
                    )
                sleep(PAUSE)
            yield

    def config_table(self) -> dict[str, Any]:
        """Return the config of the run, as plain tables."""
        return read_toml(self.path / "config.toml")

    def append(self, name: str, record: Record) -> None:
        """Append one record to the file `name`."""
        append_line(self.path / name, msgspec.json.encode(record))

    def write_records(self, name: str, records: Iterable[Record]) -> None:
        """Write the file `name` with these records, whole or not at all."""
        lines = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        write_atomically(self.path / name, lines)

    def read_records(self, name: str) -> list[Record]:
        """Return the records in the file `name`, none if it is not there.

        A last line without an end, which a kill leaves, does not count.

        Raises:
            StorageError: a line is no record.
        """
        path = self.path / name
        if not path.exists():
            return []
        decoder = msgspec.json.Decoder(Record)
        records: list[Record] = []
        for number, line in enumerate(read_bytes(path).split(b"\n")[:-1], start=1):
            try:
                records.append(decoder.decode(line))
            except msgspec.MsgspecError as error:
                raise StorageError(f"line {number} of {path} is no record: {error}.") from error
        return records


def _try_lock(file: IO[bytes]) -> bool:
    """Lock `file` until it is closed; return whether no other process holds it."""
    if fcntl is not None:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True


def _check_empty(path: Path) -> None:
    if not path.is_dir():
        raise RunDirectoryError(f"{path} is a file: a run needs a directory of its own.")
    if any(path.iterdir()):
        raise RunDirectoryError(
            f"the run directory {path} is not empty. Name another one, or continue the run in it "
            f"with --resume {path}"
        )


def _fill(
    path: Path,
    config: msgspec.Struct | Mapping[str, Any],
    files: Sequence[tuple[str, bytes]],
) -> None:
    """Write the first files of a run; the config, which makes it one, comes last."""
    write_atomically(path / "environment.json", _environment())
    for name, content in files:
        write_atomically(path / name, content)
    write_toml(path / "config.toml", config)


def _environment() -> bytes:
    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    facts = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor_cores": os.cpu_count(),
        "command": sys.argv,
        "versions": versions,
    }
    return msgspec.json.format(msgspec.json.encode(facts), indent=2) + b"\n"
