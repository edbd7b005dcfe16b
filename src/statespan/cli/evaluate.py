"""`statespan evaluate`: how far a model reads, with which attention."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statespan.cli.output import JsonOption, print_json, print_text, progress_bar
from statespan.cli.settings import SettingOption, free_directory, put_settings, resolve_paths
from statespan.errors import ConfigError

if TYPE_CHECKING:
    from statespan.jobs import EvaluateConfig, EvaluateResult

__all__ = ["evaluate"]

PATHS = ("model", "text", "essays")


def evaluate(
    model: Annotated[
        Path | None,
        typer.Argument(help="The folder of a model, or a TOML file, which the options override."),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="perplexity, ruler, recall, lists, harness. [default: the first three]"),
    ] = None,
    lengths: Annotated[
        str | None, typer.Option(help="In tokens. [default: 512,1024,2048,4096]")
    ] = None,
    attention: Annotated[
        str | None, typer.Option(help="full, span, sliding, s2, moba. [default: full]")
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Tasks of ruler, recall or harness. [default: all]")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Of each task and length. [default: 50]", min=1)
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(help="A folder or file for perplexity. [default: the novel that is shipped]"),
    ] = None,
    essays: Annotated[
        Path | None,
        typer.Option(help="A folder for RULER's haystack. [default: the novel that is shipped]"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="The seed of all samples.", min=0)] = None,
    setting: SettingOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "--out", help="The run directory; a stopped run in it is continued."
        ),
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the run in this directory.")] = None,
    json: JsonOption = False,
) -> None:
    """Measure how far a model reads: perplexity, RULER and recall by length.

    Options that name several things take them with commas between. Settings of an attention:
    --set attentions.span.chunk=512. Nothing is downloaded, but by tasks of the harness.
    """
    options = {
        "suite": _split(suite),
        "lengths": None if lengths is None else _numbers(lengths),
        "attention": _split(attention),
        "tasks": _split(tasks),
        "samples": samples,
        "seed": seed,
        "text": None if text is None else str(text.resolve()),
        "essays": None if essays is None else str(essays.resolve()),
    }
    given = {key: value for key, value in options.items() if value is not None}
    if resume is not None and (model or given or setting or output):
        raise ConfigError("--resume takes the config of the run: leave the other options out.")
    if resume is None and model is None:
        raise ConfigError(
            "evaluate needs MODEL, a folder or a TOML file, or --resume; got neither."
        )
    from statespan import jobs

    place = resume or output
    try:
        with progress_bar() as progress:
            if resume is not None:
                result = jobs.resume_evaluate(resume, progress=progress)
            else:
                assert model is not None
                config = jobs.evaluate_config(_read_settings(model, given, setting or []))
                place = place or _free_directory(config)
                result = jobs.evaluate(config, place, progress=progress)
    except KeyboardInterrupt:
        begun = place is not None and (place / "config.toml").exists()
        hint = f" Continue with: statespan evaluate --resume {place}" if begun else ""
        sys.stderr.write(f"stopped.{hint}\n")
        raise typer.Exit(1) from None
    _print_result(result, json)


def _split(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in _split(text) or ()]
    except ValueError as error:
        raise ConfigError(f"--lengths takes numbers with commas between, got {text!r}.") from error


def _read_settings(path: Path, given: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Return the config's table: the file, or the model alone, with the options put over it."""
    from statespan.records import read_toml

    table: dict[str, Any] = {"model": str(path.resolve())}
    if path.suffix == ".toml":
        table = resolve_paths(read_toml(path), PATHS, path)
    table = resolve_paths(put_settings({**table, **given}, settings), PATHS, Path("-"))
    harness = table.setdefault("harness", {})
    if "samples" in given and isinstance(harness, dict):
        harness.setdefault("samples", given["samples"])
    return table


def _free_directory(config: EvaluateConfig) -> Path:
    """Return a directory in runs/ that is not there yet, named for the model."""
    base = f"evaluate-{Path(config.model).name}"
    return free_directory(base)


def _print_result(result: EvaluateResult, json: bool) -> None:
    import msgspec

    from statespan.report import evaluation_line, evaluation_notes, evaluation_table

    if json:
        value = {
            "directory": str(result.directory),
            "pictures": [str(picture) for picture in result.pictures],
            "records": msgspec.to_builtins(result.records),
        }
        print_json(value)
        return
    print_text(
        evaluation_line(result.records),
        evaluation_table(result.records),
        *evaluation_notes(result.records),
        *(f"picture: {picture}" for picture in result.pictures),
        f"records and answers: {result.directory}",
    )
