"""A compiled checkpoint's folder in, its certificate out, written beside it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from statespan.compiler.block_certificate import BLOCK_STATE_LIMIT
from statespan.compiler.card import model_card
from statespan.compiler.certificate import STATE_LIMIT, Certificate, Progress
from statespan.compiler.compiled_model import CERTIFICATE, VERIFICATION, CompiledModel
from statespan.compiler.folder import CARD
from statespan.compiler.verification import Verification
from statespan.errors import InputError
from statespan.records import read_bytes, write_atomically

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
    written to `certificate.json` in the folder, with the versions that it holds for, and to the
    card.

    Raises:
        InputError: the folder holds no compiled checkpoint.
        StorageError: a file cannot be read or written.
    """
    path = Path(folder)
    compiled = CompiledModel.from_pretrained(path)
    certificate = compiled.certify(
        state_limit=state_limit, block_limit=block_limit, progress=progress
    )
    card = model_card(
        compiled.report, compiled.language, _verification(path / VERIFICATION), certificate
    )
    table: dict[str, Any] = msgspec.to_builtins(certificate)
    table["proves"] = certificate.proves
    table["dtype"] = compiled.report.dtype
    table["versions"] = {name: version(name) for name in ("statespan", "torch", "transformers")}
    write_atomically(path / CERTIFICATE, msgspec.json.format(msgspec.json.encode(table)))
    write_atomically(path / CARD, card.encode())
    return certificate


def _verification(path: Path) -> Verification | None:
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(read_bytes(path), type=Verification)
    except msgspec.DecodeError as error:
        raise InputError(f"{path} is broken: {error}.") from error
