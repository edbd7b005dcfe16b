"""Watches the cells of a task: says how far they are, and stops those that take too long."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import final

from statespan.errors import TimeLimitError

__all__ = ["Watch"]

PAUSE = 0.5
"""Seconds between two words about the same stage of a cell."""

SENDING = 60.0
"""Seconds between two times at which a cell's files are sent, where they have to be."""


@final
class Watch:
    """Hears from training how far the cells are; they share the time that passes evenly.

    Attributes:
        limits: the seconds that each cell may train.
        stopped: the cells that took longer.
    """

    def __init__(
        self, limits: Mapping[str, float], hear: Callable[[str, str, int, int, bool], None]
    ) -> None:
        self.limits = limits
        self.stopped: set[str] = set()
        self._hear = hear
        self._began = monotonic()
        self._said: dict[tuple[str, str], float] = {}
        self._sent = dict.fromkeys(limits, self._began)

    def seconds_each(self) -> float:
        """Return a cell's share of the seconds so far."""
        return (monotonic() - self._began) / len(self.limits)

    def show(self, name: str, stage: str, done: int, total: int, remark: str) -> None:
        """Pass on how far a cell is; `remark` is not.

        Raises:
            TimeLimitError: it has trained for as long as it may, and not to the end.
        """
        del remark
        now = monotonic()
        if done == total or now - self._said.get((name, stage), -PAUSE) >= PAUSE:
            self._said[name, stage] = now
            is_time = stage == "training" and now - self._sent[name] >= SENDING
            if is_time:
                self._sent[name] = now
            self._hear(name, stage, done, total, is_time)
        if stage == "training" and done < total and self.seconds_each() > self.limits[name]:
            self.stopped.add(name)
            raise TimeLimitError(
                f"its time was over at step {done:,} of {total:,}; its last checkpoint is kept, "
                "and a larger limit_minutes goes on from it."
            )
