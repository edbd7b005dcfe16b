"""The members of a fleet shared out among processes, one a core."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

from statespan.errors import RunDirectoryError, StatespanError, StorageError
from statespan.jobs.fleet_members import MemberProgress

__all__ = ["run_in_processes"]


def run_in_processes(
    shares: Sequence[Mapping[str, Path]], progress: MemberProgress
) -> dict[str, str]:
    """Do as `run_members` does, each share in a process of its own.

    Raises:
        RunDirectoryError: another process is at work in a run.
        StorageError: the disk is full, or a file cannot be written.
        StatespanError: a process was ended from outside.
    """
    lines: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
    processes = [_start(share) for share in shares]
    readers = [Thread(target=_read_lines, args=(process, lines)) for process in processes]
    failures: dict[str, str] = {}
    try:
        for reader in readers:
            reader.start()
        running = len(processes)
        while running:
            line = lines.get()
            if line is None:
                running -= 1
            else:
                failures |= _take(line, progress)
        for process in processes:
            if process.wait():
                raise StatespanError(
                    f"a process of the fleet ended with {process.returncode}; what is done is kept."
                )
    finally:
        for process, reader in zip(processes, readers, strict=True):
            process.kill()
            reader.join()
            with process:  # waits for it, and closes its pipes
                pass
    return failures


def _take(line: Mapping[str, Any], progress: MemberProgress) -> dict[str, str]:
    """Show or raise what a process has written; return the failures that it names."""
    if "error" in line:
        kinds = {known.__name__: known for known in (RunDirectoryError, StorageError)}
        raise kinds.get(line["error"], StatespanError)(line["message"])
    if "failures" in line:
        failures: dict[str, str] = line["failures"]
        return failures
    progress(line["name"], line["stage"], line["done"], line["total"], line["remark"])
    return {}


def _start(share: Mapping[str, Path]) -> subprocess.Popen[str]:
    paths = [str(path) for path in share.values()]
    return subprocess.Popen(
        [sys.executable, "-m", "statespan.jobs.fleet_worker", *paths],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _read_lines(process: subprocess.Popen[str], lines: SimpleQueue[dict[str, Any] | None]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(json.loads(line))
    lines.put(None)
