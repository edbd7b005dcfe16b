"""How far a sweep is, and how long it will still take."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import final

from statespan.jobs.probe_stages import Progress
from statespan.records.records import Status

__all__ = ["SweepProgress", "show_duration"]

TRAINED = 0.95
"""The share of a cell's work that is done when it is trained."""

ROUNDING = 1e-6
"""What sums may be wrong by, in percent."""


@final
class SweepProgress:
    """Adds up the cells' shares of the work, which were estimated, for one bar.

    The time left follows from the work that was done since this began: how good the estimates are
    relative to each other decides how good it is.
    """

    def __init__(self, work: Mapping[str, float], progress: Progress) -> None:
        self._work = work
        self._progress = progress
        self._shares = dict.fromkeys(work, 0.0)
        self._ended: dict[str, Status] = {}
        self._running: set[str] = set()
        self._began, self._before = monotonic(), 0.0

    def begin(self, ended: Mapping[str, Status]) -> None:
        """Take note of the cells that have ended before; the clock starts."""
        for name, status in ended.items():
            self.end(name, status)
        self._began, self._before = monotonic(), self._done()

    def update(self, name: str, stage: str, done: int, total: int) -> None:
        """Take note of how far a cell is in a stage."""
        share = done / max(1, total)
        if stage == "training":
            self._shares[name] = TRAINED * share
        elif stage == "measuring":
            self._shares[name] = TRAINED + (1 - TRAINED) * share
        self._running.add(name)

    def end(self, name: str, status: Status) -> None:
        """Take note that a cell has ended."""
        self._shares[name] = 1.0
        self._ended[name] = status
        self._running.discard(name)

    def pause(self, name: str) -> None:
        """Take note that a cell waits again, for another worker."""
        self._running.discard(name)

    def show(self) -> None:
        """Show the percentage of the work that is done, and what the cells are at."""
        finished = sum(status == "finished" for status in self._ended.values())
        failed = len(self._ended) - finished
        parts = [f"{finished} of {len(self._work)} cells done", f"{len(self._running)} running"]
        if failed:
            parts.append(f"{failed} failed or stopped")
        left = self.seconds_left()
        if left is not None:
            parts.append(f"about {show_duration(left)} left")
        whole = sum(self._work.values())
        percent = int(100 * self._done() / whole + ROUNDING)
        self._progress("sweep", percent, 100, ", ".join(parts))

    def seconds_left(self) -> float | None:
        """Return about how long the rest takes, None before there is anything to go by."""
        done = self._done()
        if done <= self._before:
            return None
        rate = (done - self._before) / (monotonic() - self._began)
        return (sum(self._work.values()) - done) / rate

    def _done(self) -> float:
        return sum(self._work[name] * share for name, share in self._shares.items())


def show_duration(seconds: float) -> str:
    """Return a duration in words.

    >>> show_duration(7.2), show_duration(240), show_duration(9000)
    ('7 s', '4 min', '2 h 30 min')
    """
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
