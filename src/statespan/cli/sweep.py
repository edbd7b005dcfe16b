"""`statespan sweep`: many probes, a grid or at random over anything in a config."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from statespan.cli.output import JsonOption, print_json, print_text, progress_bar
from statespan.cli.settings import SettingOption, free_directory, put_settings
from statespan.errors import ConfigError

if TYPE_CHECKING:
    from statespan.jobs import SweepConfig, SweepResult

__all__ = ["sweep"]


def sweep(
    config: Annotated[
        Path | None, typer.Argument(help="A TOML file: [probe], and [grid], [random], [[cases]].")
    ] = None,
    setting: SettingOption = None,
    out: Annotated[
        Path | None, typer.Option(help="The sweep's folder: new, or empty. [default: in runs/]")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Continue the sweep in this folder, with more cells if CONFIG has more."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="A cluster of Ray, as host:port or auto. [default: ray.address of the config, "
            "RAY_ADDRESS, or this machine]",
            show_default=False,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Train and measure every cell of a sweep, as many at once as there are cores.

    The result is a table, a file of SQLite, and a run directory a cell. A cell that fails does not
    stop the others; it makes the exit code 1.
    """
    if resume is not None and out is not None:
        raise ConfigError("--resume takes the folder of the sweep: leave --out out.")
    if config is None and (resume is None or setting):
        raise ConfigError("a sweep needs a config, a TOML file, or --resume with its folder.")
    from statespan import jobs

    made = None if config is None else _read_config(config, setting or [])
    place = resume or out
    try:
        with progress_bar() as progress:
            if resume is not None:
                result = jobs.resume_sweep(resume, made, address=address, progress=progress)
            else:
                assert made is not None
                assert config is not None
                place = place or free_directory(config.stem)
                result = jobs.sweep(made, place, address=address, progress=progress)
    except KeyboardInterrupt:
        begun = place is not None and (place / "config.toml").exists()
        hint = f" Continue with: statespan sweep --resume {place}" if begun else ""
        sys.stderr.write(f"stopped.{hint}\n")
        raise typer.Exit(1) from None
    _print_result(result, json)


def _read_config(path: Path, settings: list[str]) -> SweepConfig:
    from statespan.jobs import sweep_config
    from statespan.records import read_toml

    table = {"folder": str(path.parent.resolve()), **read_toml(path)}
    return sweep_config(put_settings(table, settings))


def _print_result(result: SweepResult, json: bool) -> None:
    """Print a row a cell; a cell that is not finished makes the exit code 1."""
    import msgspec

    from statespan.report import cell_table

    if json:
        value = {
            "directory": str(result.directory),
            "results": str(result.results),
            "cells": [
                {**msgspec.to_builtins(record), "directory": str(result.directory / record.name)}
                for record in result.records
            ],
        }
        print_json(value)
    else:
        print_text(
            cell_table(result.records),
            f"results, for SQL: {result.results}",
            f"a run directory a cell: {result.directory}",
        )
    for name, failure in result.failures.items():
        sys.stderr.write(f"statespan: {name} is not finished: {failure}\n")
    if result.failures:
        raise typer.Exit(1)
