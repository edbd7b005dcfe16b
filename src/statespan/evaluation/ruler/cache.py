"""Samples on the disk: found again if nothing that they depend on has changed."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from statespan.errors import StorageError
from statespan.evaluation.ruler.task import RulerSample, Setting
from statespan.records import read_bytes, write_atomically
from statespan.records.storage import storage_error

__all__ = ["read_samples", "samples_path", "write_samples"]

FORMAT = 1
"""Counts the changes of the generator: samples of another number are not read."""

PROBE_WORDS = 2000


def samples_path(
    folder: Path, task: str, tokenizer: Any, setting: Setting, seed: int, samples: int
) -> Path:
    """Return the file in `folder` for these samples, named for all that they depend on.

    Of the tokenizer, that is what it makes of 2,000 words of the haystack and of all words.
    """
    words, haystack = setting.words, setting.haystack
    probe = " ".join([*haystack.first(PROBE_WORDS), *words.words])
    parts = (
        FORMAT,
        seed,
        samples,
        words.source,
        haystack.name,
        haystack.sentences,
        list(tokenizer(probe)["input_ids"]),
    )
    digest = sha256(msgspec.json.encode(parts)).hexdigest()[:16]
    return folder / f"{task}-{setting.length}-{digest}.jsonl"


def read_samples(path: Path) -> list[RulerSample] | None:
    """Return the samples in a file, None if it is not there.

    Raises:
        StorageError: it cannot be read, or holds something else.
    """
    if not path.exists():
        return None
    decoder = msgspec.json.Decoder(RulerSample)
    try:
        return [decoder.decode(line) for line in read_bytes(path).splitlines()]
    except msgspec.MsgspecError as error:
        raise StorageError(f"{path} holds no samples of RULER: {error}. Delete it.") from error


def write_samples(path: Path, samples: Sequence[RulerSample]) -> None:
    """Write samples, a line each, whole or not at all.

    Raises:
        StorageError: they could not be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(path.parent, "create", error) from error
    write_atomically(path, b"".join(msgspec.json.encode(item) + b"\n" for item in samples))
