"""A bound on what a search may do, counted in steps, never in seconds.

Steps are the same in every process, so that a search ends at the same place in all of them.
"""

from __future__ import annotations

from typing import final

from statespan.errors import LimitError

__all__ = ["SEARCH_STEPS", "Work"]

SEARCH_STEPS = 100_000_000
"""What the search for one cascade may take; about a minute."""


@final
class Work:
    """The steps that are left to a search."""

    def __init__(self, steps: int) -> None:
        self.limit = steps
        self.left = steps

    @property
    def used(self) -> int:
        """The steps taken, no more than there were."""
        return self.limit - max(0, self.left)

    def spend(self, steps: int) -> None:
        """Take `steps` away.

        Raises:
            LimitError: fewer were left.
        """
        self.left -= steps
        if self.left < 0:
            raise LimitError(f"the search for a cascade takes more than {self.limit:,} steps.")

    def half(self) -> Work:
        """Return what may be spent on one of several trials: half of what is left."""
        return Work(max(0, self.left // 2))
