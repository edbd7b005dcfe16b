"""The results of a sweep in one file of SQLite, for questions in SQL.

SQLite, and not DuckDB: it is in the standard library, a kill at any moment leaves the file whole,
and a sweep writes a row at a time, as its cells end. DuckDB, pandas and R open such a file as well.
The file is made of the run directories and can be made again: it is never the only copy.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import msgspec

from statespan.errors import StorageError
from statespan.records.records import BinRecord, CellRecord, ErrorRecord
from statespan.records.storage import storage_error

__all__ = ["ResultRow", "ResultsStore"]

WAIT = 60.0
"""Seconds to wait for a reader that holds the file."""

CELLS = "CREATE TABLE cells (directory TEXT PRIMARY KEY, status TEXT, seconds REAL, failure TEXT)"
PARTS: dict[str, type[BinRecord | ErrorRecord]] = {"bins": BinRecord, "errors": ErrorRecord}
PART = "CREATE TABLE {} (directory TEXT, number INTEGER, {}, PRIMARY KEY (directory, number))"


@final
@dataclass(frozen=True, slots=True)
class ResultRow:
    """What is known of a cell.

    Attributes:
        record: what came of it.
        config: its config, a value a key.
    """

    record: CellRecord
    config: Mapping[str, Any]


@final
class ResultsStore:
    """A file with three tables.

    `cells` has a row a cell: its run directory, how far it is, its share of the time, why it
    failed, its config, a column a key, and the accuracy of each bin in percent (`accuracy_1`, …),
    or, of a task of numbers, the mean squared error (`error_1`, …). `bins` and `errors` have a row
    a bin of a cell, with the counts and sums.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, rows: Iterable[ResultRow]) -> ResultsStore:
        """Make the file with these rows; it replaces what was there.

        Raises:
            StorageError: it cannot be written.
        """
        fresh = cls(path.with_name(f".{path.name}.partial"))
        fresh.path.unlink(missing_ok=True)
        with fresh._transaction() as connection:
            connection.execute(CELLS)
            for table, kind in PARTS.items():
                connection.execute(PART.format(table, ", ".join(kind.__struct_fields__)))
            for row in rows:
                _put(connection, row)
        try:
            fresh.path.replace(path)
        except OSError as error:
            raise storage_error(path, "write", error) from error
        return cls(path)

    def put(self, rows: Iterable[ResultRow]) -> None:
        """Put rows in, each in the place of the one that its cell had; all of them or none.

        Raises:
            StorageError: they cannot be written.
        """
        with self._transaction() as connection:
            for row in rows:
                _put(connection, row)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            # Without a level of isolation, Python begins no transactions of its own.
            connection = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None)
            with closing(connection), connection:
                connection.execute("BEGIN IMMEDIATE")
                yield connection
        except sqlite3.Error as error:
            raise StorageError(f"cannot write {self.path}: {error}.") from error


def _put(connection: sqlite3.Connection, row: ResultRow) -> None:
    record = row.record
    results = {f"accuracy_{i}": item.accuracy for i, item in enumerate(record.bins, start=1)}
    results |= {f"error_{i}": item.error for i, item in enumerate(record.errors, start=1)}
    values = {
        "directory": record.name,
        "status": record.status,
        "seconds": record.seconds,
        "failure": record.failure,
        **{key: _as_value(value) for key, value in row.config.items()},
        **results,
    }
    there = {name for _, name, *_ in connection.execute("PRAGMA table_info(cells)")}
    for name in values:
        if name not in there:
            connection.execute(f"ALTER TABLE cells ADD COLUMN {_quote(name)}")
    _insert(connection, "cells", values)
    for table in PARTS:
        connection.execute(f"DELETE FROM {table} WHERE directory = ?", (record.name,))
        for number, item in enumerate(getattr(record, table), start=1):
            counts = msgspec.structs.asdict(item)
            _insert(connection, table, {"directory": record.name, "number": number, **counts})


def _insert(connection: sqlite3.Connection, table: str, values: Mapping[str, Any]) -> None:
    names = ", ".join(map(_quote, values))
    places = ", ".join("?" * len(values))
    command = f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({places})"
    connection.execute(command, list(values.values()))


def _quote(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _as_value(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, (list, dict)) else value
