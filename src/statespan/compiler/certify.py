"""A compiled checkpoint's folder in, its certificate out, written beside it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from statespan.compiler.block_certificate import BLOCK_STATE_LIMIT
from statespan.compiler.certificate import STATE_LIMIT, Certificate, Progress
from statespan.compiler.compiled_model import CERTIFICATE, CompiledModel
from statespan.records import write_atomically

__all__ = ["certify"]


def certify(
    folder: str | Path,
    *,
    state_limit: int = STATE_LIMIT,
    block_limit: int = BLOCK_STATE_LIMIT,
    progress: Progress = lambda *_: None,
) -> Certificate:
    """Search for a proof that the checkpoint in `folder` is right at every length.

    The weights are those that are in the folder now, run by `transformers`. What is found is
    written to `certificate.json` in the folder, with the versions that it holds for.

    Raises:
        InputError: the folder holds no compiled checkpoint.
        StorageError: a file cannot be read or written.
    """
    path = Path(folder)
    compiled = CompiledModel.from_pretrained(path)
    certificate = compiled.certify(
        state_limit=state_limit, block_limit=block_limit, progress=progress
    )
    table: dict[str, Any] = msgspec.to_builtins(certificate)
    table["proves"] = certificate.proves
    table["dtype"] = compiled.report.dtype
    table["versions"] = {name: version(name) for name in ("statespan", "torch", "transformers")}
    write_atomically(path / CERTIFICATE, msgspec.json.format(msgspec.json.encode(table)))
    return certificate
