"""Where text to train on is from: a folder, a file, or a data set of `datasets` on the disk.

A source is a number of units, which are read in any order; a unit is one document, or several that
are read one after the other, as those of a compressed file of JSON lines are, or of a row group.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, final

import msgspec

from statespan.errors import InputError, MissingExtraError
from statespan.training.text.parquet import count_row_groups, read_row_group
from statespan.training.text.reading import cut_at_lines, read_lines, read_text

__all__ = ["Pieces", "TextSource", "open_text"]

Pieces = Callable[[], Iterator[str]]
"""Reads one document from its beginning, piece by piece."""

SUFFIXES = (".txt", ".md", ".jsonl", ".txt.gz", ".md.gz", ".jsonl.gz", ".parquet")
LOOKED_AT = 4 << 30
"""Bytes of text that are read before a run begins, at most."""

DATA_SET, DATA_SETS = "state.json", "dataset_dict.json"


class TextSource(ABC):
    """Documents in units that can be read in any order.

    Attributes:
        name: what messages and model cards call it.
    """

    name: str

    @property
    @abstractmethod
    def num_units(self) -> int:
        """The number of units."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A digest, by which text is known to be the same: of files, names, sizes and contents.

        All text is read for it, up to `LOOKED_AT` bytes, so that what is wrong in it is found now.

        Raises:
            InputError: there is something that is not UTF-8, or no JSON with a text.
            StorageError: it cannot be read.
        """

    @abstractmethod
    def documents(self, unit: int) -> Iterator[Pieces]:
        """Yield the documents of a unit.

        Raises:
            InputError: what is there is not UTF-8, or no JSON with a text.
            StorageError: it cannot be read.
        """

    def __iter__(self) -> Iterator[Pieces]:
        """Yield all documents in order; raise what `documents` does."""
        return chain.from_iterable(map(self.documents, range(self.num_units)))


def open_text(path: Path, *, field: str = "text") -> TextSource:
    """Return the documents in `path`.

    That is a folder of `.txt`, `.md` and `.jsonl` files (each also with `.gz`) and of `.parquet`
    files, one such file, or what `save_to_disk` of `datasets` wrote. A line of a `.jsonl` file, and
    a row of a Parquet file or a data set, is a document, whose text is in `field`.

    Raises:
        InputError: there is no such file or folder, or no text in it.
        MissingExtraError: it is a data set or Parquet, and `datasets` is not installed.
        StorageError: it cannot be read.
    """
    if path.is_file():
        files = [path]
        if not path.name.endswith(SUFFIXES):
            raise InputError(f"{path} must end in {', '.join(SUFFIXES)}, or be a folder.")
    elif not path.is_dir():
        raise InputError(f"the text {path} is not there.")
    elif (path / DATA_SET).is_file() or (path / DATA_SETS).is_file():
        return _DataSet(path, field)
    else:
        found = sorted(path.rglob("*"))
        files = [file for file in found if file.name.endswith(SUFFIXES) and file.is_file()]
    source = _Files(path, files, field)
    if not source.num_units:
        raise InputError(f"there is no text in {path}: no file that ends in {', '.join(SUFFIXES)}.")
    return source


@final
class _Files(TextSource):
    """Files of a folder.

    A unit is a file, a line of a `.jsonl` file that is not compressed, or a Parquet row group.
    """

    def __init__(self, path: Path, files: Sequence[Path], field: str) -> None:
        self.name = path.name
        self._files, self._field = files, field
        self._units = array("q")  # the number of the file, and the offset or group in it, in turn
        for number, file in enumerate(files):
            if file.name.endswith(".jsonl"):
                for offset, _ in read_lines(file):
                    self._units.extend((number, offset))
            elif file.suffix == ".parquet":
                for group in range(count_row_groups(file, field)):
                    self._units.extend((number, group))
            elif file.stat().st_size:
                self._units.extend((number, 0))

    @property
    def num_units(self) -> int:
        return len(self._units) // 2

    @cached_property
    def fingerprint(self) -> str:
        facts = [f"{file.name} {file.stat().st_size}" for file in self._files]
        digest, looked_at = hashlib.sha256("\n".join(facts).encode()), 0
        for unit in range(self.num_units):
            if looked_at >= LOOKED_AT:
                break
            for document in self.documents(unit):
                for piece in document():
                    content = piece.encode()
                    digest.update(content)
                    looked_at += len(content)
        return digest.hexdigest()

    def documents(self, unit: int) -> Iterator[Pieces]:
        number, place = self._units[2 * unit], self._units[2 * unit + 1]
        file = self._files[number]
        if file.name.endswith(".jsonl"):
            _, line = next(read_lines(file, place))
            yield _line(line, self._field, f"the line at byte {place} of {file}")
        elif file.name.endswith(".jsonl.gz"):
            for count, (_, line) in enumerate(read_lines(file), start=1):
                yield _line(line, self._field, f"line {count} of {file} that is not blank")
        elif file.suffix == ".parquet":
            yield from map(_pieces, read_row_group(file, place, self._field))
        else:
            yield lambda: read_text(file)


@final
class _DataSet(TextSource):
    """A data set of `datasets` on the disk: a unit is a row."""

    def __init__(self, path: Path, field: str) -> None:
        if find_spec("datasets") is None:
            raise MissingExtraError("datasets", extra="datasets")
        loaded: Any = import_module("datasets").load_from_disk(str(path))
        if (path / DATA_SETS).is_file():
            if "train" not in loaded:
                raise InputError(f"{path} has no part train, but {', '.join(loaded)}: name one.")
            loaded = loaded["train"]
        if field not in loaded.column_names:
            there = ", ".join(loaded.column_names)
            raise InputError(f"the data set {path} has no column {field!r}, but {there}.")
        self.name = path.name
        self._path, self._rows, self._field = path, loaded, field

    @property
    def num_units(self) -> int:
        return len(self._rows)

    @property
    def fingerprint(self) -> str:
        return f"{self.num_units} {self._rows.cache_files and self._rows._fingerprint}"  # noqa: SLF001

    def documents(self, unit: int) -> Iterator[Pieces]:
        text = self._rows[unit][self._field]
        if not isinstance(text, str):
            raise InputError(f"row {unit} of {self._path} has no text in {self._field!r}.")
        yield _pieces(text)


def _pieces(text: str) -> Pieces:
    return lambda: cut_at_lines(iter([text]))


def _line(line: bytes, field: str, place: str) -> Pieces:
    try:
        text = msgspec.json.decode(line)[field]
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, IndexError) as error:
        raise InputError(f"{place} must be JSON with a string in {field!r}: {error!r}.") from error
    if not isinstance(text, str):
        raise InputError(f"{place} must have a string in {field!r}, got {type(text).__name__}.")
    return _pieces(text)
