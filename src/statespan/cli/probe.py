"""`statespan probe`: train a model on short words, and say at which lengths it knows the rest."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statespan.cli.output import JsonOption, print_json, print_text, progress_bar
from statespan.cli.settings import SettingOption, free_directory, parse_setting
from statespan.errors import ConfigError

if TYPE_CHECKING:
    from statespan.jobs import FleetConfig, FleetResult, ProbeConfig, ProbeResult
    from statespan.jobs.probe_stages import Progress

__all__ = ["probe"]


def probe(
    config: Annotated[
        Path | None, typer.Argument(help="A TOML file; the options below override it.")
    ] = None,
    language: Annotated[
        str | None,
        typer.Option(
            help="A name of the catalogue, an automaton's .json file, or a regular expression."
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="A task in the place of a language, as statespan tasks lists them."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A name in docs/architectures.md: mamba, lstm, deltanet, …")
    ] = None,
    layers: Annotated[int | None, typer.Option(help="The number of layers.")] = None,
    steps: Annotated[int | None, typer.Option(help="The number of training steps.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed of all random streams.")] = None,
    initialize_from: Annotated[
        Path | None,
        typer.Option(
            help="Start from the weights in this folder: a compiled checkpoint, or the folder "
            "model of a run."
        ),
    ] = None,
    setting: SettingOption = None,
    out: Annotated[
        Path | None, typer.Option(help="The run directory: new, or empty. [default: in runs/]")
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Continue the run in this directory.")] = None,
    json: JsonOption = False,
) -> None:
    """Train a model on short words of a language, or samples of a task; measure it on longer ones.

    With no arguments: a Mamba of 2 layers on {0,1,2}*02*, in a minute or two on two cores.
    With a list of seeds or learning rates (--set "seed=[1, 2, 3]"): all combinations at once.
    """
    options = {
        "language": language,
        "task": task,
        "model.name": model,
        "model.layers": layers,
        "training.steps": steps,
        "seed": seed,
        "initialize_from": None if initialize_from is None else str(initialize_from.resolve()),
    }
    given = {key: value for key, value in options.items() if value is not None}
    if resume is not None and (config or given or setting or out):
        raise ConfigError("--resume takes the config of the run: leave the other options out.")
    from statespan import jobs

    try:
        with progress_bar() as progress:
            if resume is not None:
                result = _resume(resume, progress)
            else:
                made = _make_config(_read_settings(config, given, setting or []))
                out = out or _free_directory(made)
                result = _begin(made, out, progress)
    except KeyboardInterrupt:
        place = resume or out
        begun = place is not None and (place / "config.toml").exists()
        hint = f" Continue with: statespan probe --resume {place}" if begun else ""
        sys.stderr.write(f"stopped.{hint}\n")
        raise typer.Exit(1) from None
    if isinstance(result, jobs.FleetResult):
        _print_fleet(result, json)
    else:
        _print_result(result, json)


def _make_config(settings: dict[str, Any]) -> ProbeConfig | FleetConfig:
    from statespan import jobs

    several = jobs.is_fleet(settings)
    return jobs.fleet_config(settings) if several else jobs.probe_config(settings)


def _begin(
    config: ProbeConfig | FleetConfig, out: Path, progress: Progress
) -> ProbeResult | FleetResult:
    from statespan import jobs

    if isinstance(config, jobs.FleetConfig):
        return jobs.probe_fleet(config, out, progress=progress)
    return jobs.probe(config, out, progress=progress)


def _resume(path: Path, progress: Progress) -> ProbeResult | FleetResult:
    from statespan import jobs
    from statespan.records import RunDirectory

    if jobs.is_fleet(RunDirectory.open(path).config_table()):
        return jobs.resume_fleet(path, progress=progress)
    return jobs.resume_probe(path, progress=progress)


def _read_settings(path: Path | None, given: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """Return the config's table: the file, with the options and settings put over it."""
    from statespan.records import read_toml

    table = read_toml(path) if path is not None else {}
    if path is not None and str(table.get("language", "")).endswith(".json"):
        table["language"] = str(path.parent / table["language"])
    if path is not None and isinstance(table.get("initialize_from"), str):
        table["initialize_from"] = str((path.parent / table["initialize_from"]).resolve())
    changes = {**given, **dict(map(parse_setting, settings))}
    for key, value in sorted(changes.items(), key=lambda change: change[0] != "model.name"):
        *sections, name = key.split(".")
        place = table
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{section} in --set {key} is no section of the config.")
        if key == "model.name" and place.get("name", value) != value:
            place.clear()
        place[name] = value
    return table


def _free_directory(config: ProbeConfig | FleetConfig) -> Path:
    """Return a directory in runs/ that is not there yet, named for the language and the model."""
    from statespan.jobs import FleetConfig
    from statespan.jobs.sweep_cells import probe_name

    base = probe_name(
        next(iter(config.members.values())) if isinstance(config, FleetConfig) else config
    )
    return free_directory(base)


def _print_result(result: ProbeResult, json: bool) -> None:
    import msgspec

    from statespan.records import ErrorRecord
    from statespan.report import bin_table, error_table, recognition_lines, summary_line

    if json:
        value = {
            "directory": str(result.directory),
            "picture": str(result.picture),
            "records": msgspec.to_builtins(result.records),
        }
        print_json(value)
        return
    has_errors = any(isinstance(record, ErrorRecord) for record in result.records)
    print_text(
        summary_line(result.records),
        (error_table if has_errors else bin_table)(result.records),
        *recognition_lines(result.records),
        f"{'errors by position' if has_errors else 'accuracy by length'}: {result.picture}",
        f"records and checkpoint: {result.directory}",
    )


def _print_fleet(result: FleetResult, json: bool) -> None:
    """Print a row a member; a member that failed makes the exit code 1."""
    import msgspec

    from statespan.report import median_bins, member_table

    if json:
        medians = median_bins(result.records)
        value = {
            "directory": str(result.directory),
            "members": [
                {**msgspec.to_builtins(record), "directory": str(result.directory / record.name)}
                for record in result.records
            ],
            "median": [
                {"lower": lower, "upper": upper, "accuracy": accuracy}
                for lower, upper, accuracy in medians
            ],
        }
        print_json(value)
    else:
        print_text(member_table(result.records), f"a run directory a member: {result.directory}")
    for name, failure in result.failures.items():
        sys.stderr.write(f"statespan: {name} was not trained to the end: {failure}\n")
    if result.failures:
        raise typer.Exit(1)
