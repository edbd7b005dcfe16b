"""Columns of text in Parquet files, a row group at a time, read by pyarrow (of `datasets`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from statespan.errors import InputError, MissingExtraError
from statespan.records.storage import storage_error

__all__ = ["count_row_groups", "read_row_group"]


def count_row_groups(path: Path, column: str) -> int:
    """Return the number of row groups of a file that has a column of text.

    Raises:
        InputError: it is no Parquet file, or has no such column.
        MissingExtraError: pyarrow is not installed.
        StorageError: it cannot be read.
    """
    with _opened(path) as file:
        names = file.schema_arrow.names
        if column not in names:
            raise InputError(f"{path} has no column {column!r}, but {', '.join(names)}.")
        return int(file.num_row_groups)


def read_row_group(path: Path, group: int, column: str) -> Iterator[str]:
    """Yield the texts of a row group, numbered from 0.

    Raises:
        InputError: a row has no text there, or it is no Parquet file.
        StorageError: it cannot be read.
    """
    with _opened(path) as file:
        rows = file.read_row_group(group, columns=[column])[column].to_pylist()
    for number, text in enumerate(rows):
        if not isinstance(text, str):
            raise InputError(
                f"row {number} of row group {group} of {path} must have a string in {column!r}, "
                f"got {type(text).__name__}."
            )
        yield text


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if find_spec("pyarrow") is None:
        raise MissingExtraError("pyarrow", extra="datasets")
    try:
        with import_module("pyarrow.parquet").ParquetFile(path) as file:
            yield file
    except import_module("pyarrow").ArrowInvalid as error:
        raise InputError(f"{path} is no whole Parquet file: {error}") from error
    except OSError as error:
        raise storage_error(path, "read", error) from error
