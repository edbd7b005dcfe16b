"""The checkpoints as a folder for engines that are not written in Python."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from statespan.compiler.certification import weights_hash
from statespan.conformance.checkpoint import Checkpoint
from statespan.conformance.recipes import Progress, make_checkpoints
from statespan.errors import InputError
from statespan.records import write_atomically
from statespan.training import BOS, EOS, PAD

__all__ = ["ANSWERS", "MANIFEST", "export_checkpoints"]

ANSWERS = "answers.jsonl"
MANIFEST = "manifest.json"
LENGTHS = (1, 2, 3, 7, 16, 33, 64, 65, 100, 130, 257)
FORMAT = 1
RULE = (
    "After each token of `tokens`, the logits of the tokens in `may_follow` are positive, and all "
    "others are negative; among probabilities, those that may follow are equal, and the others "
    "are next to 0. null: nothing is promised there."
)


def export_checkpoints(
    folder: Path, names: Sequence[str], *, seed: int = 0, progress: Progress = lambda *_: None
) -> dict[str, Any]:
    """Write checkpoints, their expected answers and a manifest to `folder`; return the manifest.

    Each checkpoint is a folder of `transformers` (config, safetensors, tokenizer) with its
    certificate, and `answers.jsonl` in it: rows of tokens, a line each, with the tokens that may
    follow after each. The rows depend on the seed alone.

    Raises:
        InputError: the folder holds something else.
        UnknownNameError: there is no such checkpoint.
        StorageError: something cannot be written.
    """
    if folder.exists() and not (folder / MANIFEST).is_file() and any(folder.iterdir()):
        raise InputError(f"the folder {folder} is not empty: name another one.")
    checkpoints = make_checkpoints(folder, names, progress=progress)
    for checkpoint in checkpoints:
        lines = [msgspec.json.encode(row) for row in _rows(checkpoint, seed)]
        write_atomically(checkpoint.folder / ANSWERS, b"\n".join([*lines, b""]))
    manifest = {
        "format": FORMAT,
        "rule": RULE,
        "tokens": {"bos": BOS, "eos": EOS, "pad": PAD},
        "versions": {name: version(name) for name in ("statespan", "torch", "transformers")},
        "checkpoints": [_entry(checkpoint) for checkpoint in checkpoints],
    }
    write_atomically(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest)))
    return manifest


def _rows(checkpoint: Checkpoint, seed: int) -> list[dict[str, Any]]:
    rng = Random(f"{seed} {checkpoint.name}")
    rows = []
    for length in LENGTHS:
        tokens = checkpoint.draw(length, rng=rng)
        answers = checkpoint.expected(tokens)
        may_follow = [None if answer is None else sorted(answer) for answer in answers]
        rows.append({"tokens": tokens, "may_follow": may_follow})
    return rows


def _entry(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "name": checkpoint.name,
        "folder": checkpoint.name,
        "family": checkpoint.family,
        "dtype": checkpoint.dtype,
        "symbols": list(checkpoint.symbols),
        "promise": checkpoint.promise,
        "certificate": checkpoint.certificate,
        "explanation": checkpoint.explanation,
        "answers": f"{checkpoint.name}/{ANSWERS}",
        "weights_sha256": weights_hash(checkpoint.folder),
    }
