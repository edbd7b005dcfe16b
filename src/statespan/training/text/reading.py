"""Text files a piece at a time: plain or compressed, and always checked to be UTF-8."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from statespan.errors import InputError
from statespan.records.storage import storage_error

__all__ = ["cut_at_lines", "opened", "read_lines", "read_text"]

BLOCK = 1 << 16
"""Bytes that are read at once, and characters of a piece, more or less."""

COMPRESSED = ".gz"


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, which is decompressed on the way if its name ends in `.gz`.

    Raises:
        InputError: it ends in `.gz` and is not compressed so, or is cut short.
        StorageError: it cannot be read.
    """
    try:
        if path.suffix == COMPRESSED:
            with gzip.open(path, "rb") as file:
                yield cast("IO[bytes]", file)
        else:
            with path.open("rb") as plain:
                yield plain
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is no whole gzip file: {error}.") from error
    except OSError as error:
        raise storage_error(path, "read", error) from error


def read_text(path: Path) -> Iterator[str]:
    """Yield the text of a file in pieces of about 65,536 characters, cut after a line.

    A line that is longer than that is a piece of its own.

    Raises:
        InputError: it is not UTF-8, with the position, or no whole gzip file.
        StorageError: it cannot be read.
    """
    yield from cut_at_lines(_characters(path))


def read_lines(path: Path, begin: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield (offset, line) of each line of a file that is not blank, from the offset `begin` on.

    Raises:
        InputError: it is no whole gzip file.
        StorageError: it cannot be read.
    """
    with opened(path) as file:
        file.seek(begin)
        place = begin
        for line in file:
            if line.strip():
                yield place, line
            place += len(line)


def cut_at_lines(characters: Iterator[str]) -> Iterator[str]:
    """Yield the same characters in pieces that end with a line, where there is one to end with."""
    kept = ""
    for block in characters:
        kept += block
        while len(kept) > BLOCK:
            cut = kept.rfind("\n", 0, BLOCK) + 1 or kept.find("\n") + 1
            if not cut:
                break
            yield kept[:cut]
            kept = kept[cut:]
    if kept:
        yield kept


def _characters(path: Path) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    begin = 0
    try:
        with opened(path) as file:
            while block := file.read(BLOCK):
                yield decoder.decode(block)
                begin += len(block)
            yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8: {error.reason}, near byte {begin + error.start}. Convert it, for"
            " example with iconv -f latin1 -t utf8, or leave it out."
        ) from error
