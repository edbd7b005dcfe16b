"""`statespan extend`: let a pretrained model read far past the length that it was trained on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statespan.cli.output import JsonOption, print_json, print_text, progress_bar
from statespan.cli.settings import SettingOption, free_directory, put_settings, resolve_paths
from statespan.errors import ConfigError

if TYPE_CHECKING:
    from statespan.jobs import ExtendResult

__all__ = ["extend"]

PATHS = ("model", "text")
KINDS = "full, span, sliding, s2, moba"


def extend(
    model: Annotated[
        Path | None,
        typer.Argument(
            help="The folder of a model, or a TOML file, which the options override; with "
            "--resume, the run directory. [default: the small hybrid that is shipped]"
        ),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(help="A folder or file to train on, or a data set saved on the disk."),
    ] = None,
    length: Annotated[int | None, typer.Option(help="The tokens of a row.", min=1)] = None,
    method: Annotated[
        str | None, typer.Option(help="hylora, lora+, lora or full. [default: hylora]")
    ] = None,
    train_attention: Annotated[str | None, typer.Option(help=f"{KINDS}. [default: span]")] = None,
    eval_attention: Annotated[
        str | None,
        typer.Option(help=f"{KINDS}, with commas between. [default: full,span]"),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps.", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="The seed of all streams.", min=0)] = None,
    setting: SettingOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "--out", help="The run directory: new, or empty."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --output, or in MODEL's place.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Train a pretrained model on longer rows, and tell what it reads before and after.

    With no arguments: the hybrid and the novel that are shipped, to 8 times the hybrid's length.
    What is left out has the paper's value, scaled to the model. The result is an adapter that PEFT
    opens, the model with it merged, a table, pictures and a page.
    """
    options = {
        "text": None if text is None else str(text.resolve()),
        "length": length,
        "method": method,
        "train_attention": train_attention,
        "seed": seed,
        "training.steps": steps,
        "evaluation.attention": None if eval_attention is None else _split(eval_attention),
    }
    given = {key: value for key, value in options.items() if value is not None}
    from statespan import jobs

    table: dict[str, Any] = {}
    if resume:
        place = _resumed(model, output, given, setting)
    else:
        table = _read_settings(model, given, setting or [])
        place = output or _free_directory(table)
    try:
        with progress_bar() as progress:
            if resume:
                result = jobs.resume_extend(place, progress=progress)
            else:
                result = jobs.extend(jobs.extend_config(table), place, progress=progress)
    except KeyboardInterrupt:
        begun = (place / "config.toml").exists()
        hint = f" Continue with: statespan extend --resume {place}" if begun else ""
        sys.stderr.write(f"stopped.{hint}\n")
        raise typer.Exit(1) from None
    if result.records:
        _print_result(result, json)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _resumed(
    model: Path | None, output: Path | None, given: dict[str, Any], setting: list[str] | None
) -> Path:
    place = model or output
    if place is None or (model and output) or given or setting:
        raise ConfigError(
            "--resume takes one run directory and its config: statespan extend --resume DIRECTORY, "
            "or --output DIRECTORY --resume, and no other option."
        )
    return place


def _read_settings(path: Path | None, given: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Return the config's table: the default, a file, or a model; the options are put over it."""
    from statespan.jobs import default_extension
    from statespan.records import read_toml

    table: dict[str, Any] = {}
    if path is None and "text" not in given:
        table = default_extension()
    elif path is not None and path.suffix == ".toml":
        table = resolve_paths(read_toml(path), PATHS, path)
    elif path is not None:
        table = {"model": str(path.resolve())}
    for key, value in given.items():
        section, _, name = key.rpartition(".")
        place = table.setdefault(section, {}) if section else table
        place[name] = value
    return resolve_paths(put_settings(table, settings), PATHS, Path("-"))


def _free_directory(table: dict[str, Any]) -> Path:
    """Return a directory in runs/ that is not there yet, named for the model."""
    base = f"extend-{Path(str(table.get('model', 'model'))).name}"
    return free_directory(base)


def _print_result(result: ExtendResult, json: bool) -> None:
    import msgspec

    from statespan.report import evaluation_notes, evaluation_table
    from statespan.report.extension import extension_line

    places = {
        "directory": result.directory,
        "adapter": result.adapter,
        "model": result.model,
        "report": result.report,
    }
    if json:
        value = {key: None if path is None else str(path) for key, path in places.items()}
        pictures = [str(path) for path in result.pictures]
        records = msgspec.to_builtins(result.records)
        print_json({**value, "pictures": pictures, "records": records})
        return
    print_text(
        extension_line(result.records),
        evaluation_table(result.records),
        *evaluation_notes(result.records),
        *(f"picture: {path}" for path in result.pictures),
        *(f"{key}: {path}" for key, path in places.items() if path is not None),
    )
