"""What ships with the package: a small hybrid, a novel, and how processes are launched."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from statespan.errors import InputError, StorageError, UnknownNameError
from statespan.pretrained import assets

__all__ = ["default_extension", "launch_config"]

NOVEL = "assets/novels/moby-dick.txt"
NOTHING = (
    "this installation ships no model to extend: name one, as in\n"
    "  statespan extend MODEL --text FOLDER --length 4096"
)
LENGTHENED = 8
"""How many times the length that the shipped hybrid was trained on."""


def default_extension() -> dict[str, Any]:
    """Return the table of the default extension: the shipped hybrid, on a shipped novel.

    Raises:
        InputError: this installation ships no model.
    """
    text = Path(str(resources.files("statespan"))) / NOVEL
    try:
        folder = assets.embedded_hybrid()
    except StorageError as error:
        raise InputError(NOTHING) from error
    if not text.is_file():
        raise InputError(NOTHING)
    return {
        "model": str(folder),
        "text": str(text),
        "length": LENGTHENED * _trained_length(folder),
        "recall": {"share": 0.5, "kinds": {"needle": 1.0, "key-value": 1.0}},
        "training": {"threads": 2, "steps": 208},
        "evaluation": {
            "threads": 2,
            "samples": 10,
            "batch_size": 10,
            "suite": ["perplexity", "ruler", "lists"],
            "tasks": ["niah_single_1", "niah_multiquery"],
            "perplexity": {"tokens": 32_768},
        },
    }


def launch_config(name: str) -> Path:
    """Return the shipped file for `accelerate launch --config_file`: "fsdp2" or "deepspeed".

    Raises:
        UnknownNameError: there is no such file.
    """
    folder = Path(str(resources.files("statespan.jobs") / "launch"))
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise UnknownNameError("launch config", name, known)
    return folder / f"{name}.yaml"


def _trained_length(folder: Path) -> int:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    length: int = config["max_position_embeddings"]
    return length
