"""What an extension leaves: an adapter that PEFT opens, a model that `transformers` opens."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from statespan.adapters import merge
from statespan.jobs.extend_card import extension_card
from statespan.jobs.extend_stages import PreparedExtension
from statespan.pretrained import decelerate
from statespan.pretrained.span.plan import model_of
from statespan.records import Record, write_atomically
from statespan.records.storage import storage_error

__all__ = ["ADAPTER", "MODEL", "save_extended"]

ADAPTER, MODEL = "adapter", "model"


def save_extended(prepared: PreparedExtension, records: Sequence[Record], path: Path) -> None:
    """Save the adapter and, merged, the model, each with its tokenizer and card, whole or not.

    Raises:
        AdapterError: the merged model does not compute the same; the adapter is there already.
        StorageError: a file cannot be written.
    """
    config, model, tokenizer = prepared.config, prepared.base.model, prepared.base.tokenizer
    outer: Any = model_of(model)
    decelerate(outer)

    def write(folder: Path, *, adapter: bool) -> None:
        outer.config.save_pretrained(folder)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        card = extension_card(records, base=config.model, adapter=adapter)
        write_atomically(folder / "README.md", card.encode())

    if config.method != "full":
        _save_whole(path / ADAPTER, lambda folder: write(folder, adapter=True))
        if not config.merge:
            return
        model = merge(model)
    _save_whole(path / MODEL, lambda folder: write(folder, adapter=False))


def _save_whole(folder: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a folder, which appears whole or not at all."""
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        write(partial)
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)  # what lacks is room
        raise storage_error(folder, "write", _system_error(error)) from error


def _system_error(error: Exception) -> OSError:
    """Return the error of the system, of which safetensors tells in words."""
    if isinstance(error, OSError):
        return error
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), str(error)) if number else OSError(str(error))
