"""Writing files so that a kill or a full disk never leaves half of one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from statespan.errors import StorageError

__all__ = ["append_line", "read_bytes", "storage_error", "write_atomically"]


def storage_error(path: Path, action: str, error: OSError) -> StorageError:
    """Return the error that says what could not be done to `path`, and why."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        reason = "the disk is full; free some space, then go on where it stopped (--resume)"
    else:
        reason = error.strerror or str(error)
    return StorageError(f"cannot {action} {path}: {reason}.")


def write_atomically(path: Path, content: bytes) -> None:
    """Write `path` whole or not at all; what was there before stays until the end.

    Raises:
        StorageError: it could not be written (the disk is full, no permission, …).
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise storage_error(path, "write", error) from error


def append_line(path: Path, line: bytes) -> None:
    """Append one line and bring it to the disk.

    Raises:
        StorageError: it could not be written.
    """
    try:
        with path.open("ab") as file:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise storage_error(path, "write", error) from error


def read_bytes(path: Path) -> bytes:
    """Return the content of `path`.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise storage_error(path, "read", error) from error
