"""Try an engine on checkpoints that never err, or write those out for engines elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from statespan.compiler.manifest import MANIFEST
from statespan.conformance import (
    ENGINES,
    RECIPES,
    Checkpoint,
    CompiledCheckpoint,
    Engine,
    Report,
    make_checkpoints,
    run_kit,
)
from statespan.conformance.engines.openai import OpenAIEngine
from statespan.conformance.kit import scenario_names
from statespan.conformance.recall_checkpoint import RecallCheckpoint
from statespan.conformance.recipes import Progress
from statespan.errors import InputError

__all__ = [
    "cache_folder",
    "checkpoint_names",
    "names_for",
    "open_checkpoint",
    "open_engine",
    "try_engine",
]


def open_engine(name: str, *, served: str | None = None) -> Engine:
    """Return the engine of that name, or the server at that address.

    `served` is what a server calls the checkpoint.

    Raises:
        UnknownNameError: there is no such engine.
        InputError: `served` is given for an engine that is no server.
    """
    if name.startswith(("http://", "https://")):
        return OpenAIEngine(name, model=served)
    if served is not None:
        raise InputError(f"served is for a server, got the engine {name!r}.")
    return ENGINES.get(name, hint="A server is named by its address, http://….")()


def open_checkpoint(folder: Path) -> Checkpoint:
    """Return the checkpoint in a folder: a compiled one, or one of recall.

    Raises:
        InputError: it holds none, or one without a certificate.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}.")
    reader = CompiledCheckpoint if (folder / MANIFEST).is_file() else RecallCheckpoint
    return reader(folder)


def checkpoint_names(engine: str, *, thorough: bool = False) -> list[str]:
    """Return the checkpoints that an engine is tried on: those for it, or else those for all."""
    recipes = [RECIPES.get(name) for name in RECIPES.names()]
    own = [recipe for recipe in recipes if engine in recipe.engines]
    chosen = own or [recipe for recipe in recipes if not recipe.engines]
    return [recipe.name for recipe in chosen if thorough or not recipe.thorough]


def names_for(engine: Engine, *, thorough: bool = False) -> list[str]:
    """Return the checkpoints that an engine is tried on if none is named; of a server, its own.

    Raises:
        InputError: a server serves no checkpoint of the kit under its name.
        EngineError: it cannot be reached.
    """
    if not isinstance(engine, OpenAIEngine):
        return checkpoint_names(engine.name, thorough=thorough)
    served = engine.served()
    names = [name for name in served if name in RECIPES]
    if not names:
        raise InputError(
            f"the server {engine.name} serves {', '.join(served) or 'nothing'}, and no checkpoint "
            "of the kit: name what it serves by the checkpoint or its folder."
        )
    return names


def cache_folder() -> Path:
    """Return where checkpoints are kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "statespan" / "conformance"


def try_engine(
    engine: Engine,
    *,
    model: Path | None = None,
    checkpoints: Sequence[str] = (),
    scenarios: Sequence[str] = (),
    thorough: bool = False,
    folder: Path | None = None,
    progress: Progress = lambda *_: None,
) -> Report:
    """Return what comes out of the kit; what is not named is all that is there for the engine.

    Checkpoints are made in `folder`, by default in the user's cache, and found there the next time.

    Raises:
        InputError: an unknown name, or a model without a certificate.
        EngineError: the engine cannot be reached.
    """
    if model is not None:
        chosen = [open_checkpoint(model)]
    else:
        names = checkpoints or names_for(engine, thorough=thorough)
        chosen = make_checkpoints(folder or cache_folder(), names, progress=progress)
    return run_kit(
        engine, chosen, scenarios or scenario_names(thorough=thorough), progress=progress
    )
