"""Ranges of numbers that a sweep draws from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random
from typing import Any

import msgspec

from statespan.errors import ConfigError
from statespan.records import to_struct

__all__ = ["Range", "is_range", "read_range"]

DIGITS = 4
"""Significant digits of a number that is no whole one: more would change nothing but its name."""


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The numbers from `low` to `high`, both included; whole ones if both ends are.

    Attributes:
        low: the smallest.
        high: the largest.
        log: whether the logarithm is drawn evenly, and not the number.
    """

    low: int | float
    high: int | float
    log: bool = False

    def draw(self, rng: Random) -> int | float:
        """Draw a number.

        >>> Range(low=3, high=5).draw(Random(0)) in {3, 4, 5}
        True
        >>> 1e-4 <= Range(low=1e-4, high=1e-2, log=True).draw(Random(0)) <= 1e-2
        True
        """
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        low, high = self.low, self.high + whole
        if self.log:
            value = math.exp(rng.uniform(math.log(low), math.log(high)))
        else:
            value = rng.uniform(low, high)
        value = math.floor(value) if whole else float(f"{value:.{DIGITS}g}")
        return min(max(value, self.low), self.high)


def is_range(value: Any) -> bool:
    """Return whether a value of a config is meant as a range: a table with one of its ends."""
    return isinstance(value, Mapping) and ("low" in value or "high" in value)


def read_range(table: Mapping[str, Any], place: str) -> Range:
    """Return the range in a table; `place` names it in messages.

    Raises:
        ConfigError: an unknown key, an end that is missing or no number, or an empty range.
    """
    found = to_struct(table, Range, where=place)
    if not found.low < found.high:
        raise ConfigError(f"{place} needs low < high, got {found.low} and {found.high}.")
    if found.log and found.low <= 0:
        raise ConfigError(f"{place} needs low > 0 with log, got {found.low}.")
    return found
