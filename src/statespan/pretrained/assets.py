"""What ships with the package: a small hybrid, and a novel to read."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from statespan.errors import StorageError

__all__ = ["embedded_hybrid", "embedded_novels"]

ASSETS = Path(str(files("statespan"))) / "assets"


def embedded_hybrid() -> Path:
    """Return the folder of the hybrid that ships with the package, which `transformers` opens.

    The README.md in it is its model card.

    Raises:
        StorageError: this copy of the package has none.
    """
    return _asset("hybrid")


def embedded_novels() -> Path:
    """Return a folder with a novel in the public domain that the hybrid was not trained on.

    Raises:
        StorageError: this copy of the package has none.

    Example:
        >>> [path.name for path in embedded_novels().glob("*.txt")]
        ['moby-dick.txt']
    """
    return _asset("novels")


def _asset(name: str) -> Path:
    folder = ASSETS / name
    if not folder.is_dir():
        raise StorageError(
            f"this copy of the package has no {name}, which belongs in {folder}: install the "
            "released package, or make one with `statespan pretrain`."
        )
    return folder
