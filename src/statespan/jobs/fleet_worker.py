"""One process of a fleet, a program of its own: `python -m statespan.jobs.fleet_worker RUN…`.

Its arguments are run directories. Its standard output says in lines of JSON how far they are. It
ends when its standard input does, so that it never outlives the process that started it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import IO, Any, final

from statespan.errors import StatespanError
from statespan.jobs.fleet_members import run_members

__all__ = ["main"]

PAUSE = 0.1
"""Seconds between two lines about the same stage of one member."""


def main(arguments: Sequence[str]) -> int:
    """Run the members whose directories are the arguments; return the exit code."""
    Thread(target=_end_with, args=(sys.stdin,), daemon=True).start()
    paths = {Path(argument).name: Path(argument) for argument in arguments}
    try:
        failures = run_members(paths, _Lines().show)
    except StatespanError as error:
        _write({"error": type(error).__name__, "message": str(error)})
        return error.exit_code
    except KeyboardInterrupt:
        return 1
    _write({"failures": failures})
    return 0


def _end_with(stream: IO[str]) -> None:
    """End this process when `stream` ends."""
    stream.read()
    os._exit(1)


@final
class _Lines:
    """Writes how far the members are, not more often than anyone can read."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, str], float] = {}

    def show(self, name: str, stage: str, done: int, total: int, remark: str) -> None:
        """Write a line, unless one about this was written just before."""
        now = monotonic()
        if done < total and now - self._last.get((name, stage), -PAUSE) < PAUSE:
            return
        self._last[name, stage] = now
        _write({"name": name, "stage": stage, "done": done, "total": total, "remark": remark})


def _write(line: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
