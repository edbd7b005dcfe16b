"""What ships with the package: a small hybrid, and a novel to read."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

__all__ = ["embedded_hybrid", "embedded_novels"]


def embedded_hybrid() -> Path:
    """Return the folder of the hybrid that ships with the package, which `transformers` opens.

    A Bamba of some two million parameters that reads English prose, and finds in 512 tokens what is
    asked for. The README.md in it is its model card.

    Example:
        >>> sorted(path.name for path in embedded_hybrid().iterdir())[:2]
        ['README.md', 'config.json']
    """
    return _asset("hybrid")


def embedded_novels() -> Path:
    """Return a folder with a novel in the public domain that the hybrid was not trained on.

    Example:
        >>> [path.name for path in embedded_novels().glob("*.txt")]
        ['moby-dick.txt']
    """
    return _asset("novels")


def _asset(name: str) -> Path:
    return Path(str(files("statespan"))) / "assets" / name
