"""`statespan pretrain`: train a small hybrid from scratch on a folder of novels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statespan.cli.output import JsonOption, print_json, print_text, progress_bar
from statespan.cli.settings import SettingOption, free_directory, put_settings, resolve_paths
from statespan.errors import ConfigError

if TYPE_CHECKING:
    from statespan.jobs import PretrainResult

__all__ = ["pretrain"]

FOLDERS = ("text", "validation", "initialize_from")


def pretrain(
    config: Annotated[
        Path | None, typer.Argument(help="A TOML file; paths in it are seen from its folder.")
    ] = None,
    setting: SettingOption = None,
    out: Annotated[
        Path | None, typer.Option(help="The run directory: new, or empty. [default: in runs/]")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the run in this directory.")] = None,
    json: JsonOption = False,
) -> None:
    """Train a small hybrid of Mamba-2 and attention from scratch on the novels in a folder.

    The config needs two folders of .txt files, text to train on and validation to measure on; what
    else it leaves out has its default. The result is a folder that transformers opens.
    """
    if resume is not None and (config or setting or out):
        raise ConfigError("--resume takes the config of the run: leave the other options out.")
    from statespan import jobs

    place = resume or out
    try:
        with progress_bar() as progress:
            if resume is not None:
                result = jobs.resume_pretrain(resume, progress=progress)
            else:
                made = jobs.pretrain_config(_read_settings(config, setting or []))
                place = place or _free_directory(config)
                result = jobs.pretrain(made, place, progress=progress)
    except KeyboardInterrupt:
        begun = place is not None and (place / "config.toml").exists()
        hint = f" Continue with: statespan pretrain --resume {place}" if begun else ""
        sys.stderr.write(f"stopped.{hint}\n")
        raise typer.Exit(1) from None
    _print_result(result, json)


def _read_settings(path: Path | None, settings: list[str]) -> dict[str, Any]:
    from statespan.records import read_toml

    table = {} if path is None else resolve_paths(read_toml(path), FOLDERS, path)
    return resolve_paths(put_settings(table, settings), FOLDERS, Path("-"))


def _free_directory(config: Path | None) -> Path:
    """Return a directory in runs/ that is not there yet, named for the config."""
    base = "pretrain" if config is None else f"pretrain-{config.stem}"
    return free_directory(base)


def _print_result(result: PretrainResult, json: bool) -> None:
    import msgspec

    from statespan.report.pretraining import held_out_table, pretraining_line

    if json:
        value = {
            "directory": str(result.directory),
            "model": str(result.model),
            "picture": str(result.picture),
            "records": msgspec.to_builtins(result.records),
        }
        print_json(value)
        return
    print_text(
        pretraining_line(result.records),
        held_out_table(result.records),
        f"losses and recall by tokens: {result.picture}",
        f"the model, for transformers: {result.model}",
        f"records and checkpoint: {result.directory}",
    )
