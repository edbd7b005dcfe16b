"""Checks of the sizes in a config."""

from __future__ import annotations

from statespan.errors import ConfigError

__all__ = ["check_whole"]


def check_whole(name: str, value: object, *, least: int, even: bool = False) -> None:
    """Check that a value is a whole number, large enough and, if asked, even.

    Raises:
        ConfigError: it is not.
    """
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
    if not whole or (even and int(str(value)) % 2):
        kind = "an even" if even else "a whole"
        raise ConfigError(f"{name} must be {kind} number, at least {least}, got {value!r}.")
