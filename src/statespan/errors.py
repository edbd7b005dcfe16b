"""Every error of the package, in one tree.

::

    StatespanError                  exit 1: the work failed
    ├── InputError                  exit 2: what was given cannot be used (also a ValueError)
    │   ├── UnknownNameError        a name that no registry holds
    │   ├── SymbolError             a symbol outside the alphabet, or an alphabet that is none
    │   ├── ExpressionError         an expression that does not parse
    │   ├── AutomatonError          a table that is not a complete deterministic automaton
    │   ├── EmptyLanguageError      a language without words where one is needed
    │   ├── LengthError             a length that no word has, or that is none
    │   ├── NotRegularError         a language that no finite automaton accepts
    │   ├── NotExpressibleError     a language that an architecture cannot express, or not compiled
    │   ├── UnsupportedError        something that an engine does not run, or does not offer
    │   ├── ConfigError             a config with an unknown key or a value out of range
    │   └── RunDirectoryError       a run directory that is not empty, or is no run
    ├── AdapterError                an adapter that does not train, or that cannot be merged
    ├── EngineError                 an engine that broke its protocol, or cannot be reached
    ├── LimitError                  a search grew past its limit
    ├── TrainingError               a loss or weight that is no longer finite
    │   └── TimeLimitError          a training that took as long as it may
    ├── StorageError                a file that could not be written (disk full) or read
    └── MissingExtraError           an optional dependency that is not installed
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "AdapterError",
    "AutomatonError",
    "ConfigError",
    "EmptyLanguageError",
    "EngineError",
    "ExpressionError",
    "InputError",
    "LengthError",
    "LimitError",
    "MissingExtraError",
    "NotExpressibleError",
    "NotRegularError",
    "RunDirectoryError",
    "StatespanError",
    "StorageError",
    "SymbolError",
    "TimeLimitError",
    "TrainingError",
    "UnknownNameError",
    "UnsupportedError",
    "suggest",
]


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the known names near `name`, or with all of them if none is near.

    >>> suggest("partiy", ["parity", "dyck-1"])
    'Did you mean parity?'
    >>> suggest("x", ["parity", "dyck-1"])
    'There are: dyck-1, parity.'
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"There are: {', '.join(names)}." if names else "There are none."


class StatespanError(Exception):
    """The root of all errors that this package raises on purpose."""

    exit_code = 1


class InputError(StatespanError, ValueError):
    """What was given cannot be used; nothing was done."""

    exit_code = 2


class UnknownNameError(InputError):
    """A name that is not registered."""

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.name = name
        message = f"unknown {kind} {name!r}. {suggest(name, known)}"
        super().__init__(f"{message} {hint}".rstrip())


class SymbolError(InputError):
    """A symbol outside the alphabet, or an alphabet that is none."""


class ExpressionError(InputError):
    """An expression that does not parse; the message points at the position."""

    def __init__(self, message: str, text: str, position: int) -> None:
        self.text = text
        self.position = position
        super().__init__(
            f"the expression does not parse at position {position}: {message}\n"
            f"  {text}\n  {' ' * position}^"
        )


class AutomatonError(InputError):
    """A table that is not a complete deterministic finite automaton."""


class EmptyLanguageError(InputError):
    """A language without words where at least one is needed."""


class LengthError(InputError):
    """A length that no word of the language has, or that is no length."""


class NotRegularError(InputError):
    """A language that no finite automaton accepts, where one is needed."""


class NotExpressibleError(InputError):
    """A language that an architecture cannot express, or that the compiler finds no weights for."""


class UnsupportedError(InputError):
    """Something that an engine does not run, or does not offer."""


class ConfigError(InputError):
    """A config with an unknown key, a missing one, or a value out of range."""


class RunDirectoryError(InputError):
    """A run directory that already holds something, or that holds no run to resume."""


class AdapterError(StatespanError):
    """An adapter trains less than it promises, or cannot be merged; the model is as it was."""


class EngineError(StatespanError):
    """An engine answered something else than it must, or could not be reached."""


class LimitError(StatespanError):
    """A search that grew past its limit; the message says how far it came."""


class TrainingError(StatespanError):
    """A loss or a weight stopped being finite; the last good checkpoint is kept."""


class TimeLimitError(TrainingError):
    """A training took as long as it may; the last checkpoint is kept."""


class StorageError(StatespanError):
    """A file could not be written or read; what was there before is intact."""


class MissingExtraError(StatespanError):
    """An optional dependency is not installed."""

    exit_code = 2

    def __init__(self, package: str, *, extra: str) -> None:
        super().__init__(
            f"this needs the package {package!r}, which is not installed: "
            f"pip install 'statespan[{extra}]'"
        )
