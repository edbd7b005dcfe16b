"""The settings of a job: a TOML file, with `--set KEY=VALUE` put over it."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from statespan.errors import ConfigError

__all__ = ["SettingOption", "free_directory", "parse_setting", "put_settings", "resolve_paths"]

SettingOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any key of the config, as in TOML: --set training.learning_rate=1e-3.",
    ),
]


def put_settings(table: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Put each `key=value` into `table`, which is changed and returned; dots name its sections.

    A value that is no TOML is a string.

    Raises:
        ConfigError: a setting is no `key=value`, or its key goes through what is no section.
    """
    for setting in settings:
        key, value = parse_setting(setting)
        *sections, name = key.split(".")
        place: Any = table
        for section in sections:
            place = place.setdefault(section, {})
            if not isinstance(place, dict):
                raise ConfigError(f"{section} in --set {key} is no section of the config.")
        place[name] = value
    return table


def resolve_paths(table: dict[str, Any], keys: Sequence[str], beside: Path) -> dict[str, Any]:
    """Make the paths at `keys` absolute, as seen from the folder of the file `beside`."""
    for key in keys:
        if isinstance(table.get(key), str):
            table[key] = str((beside.parent / table[key]).resolve())
    return table


def free_directory(name: str) -> Path:
    """Return a directory in runs/ that is not there yet, called `name` or `name` with a number."""
    number = 1
    while (path := Path("runs") / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return path


def parse_setting(setting: str) -> tuple[str, Any]:
    """Return the key and the value of a `key=value`; a value that is no TOML is a string.

    Raises:
        ConfigError: it is no `key=value`, or more than one.
    """
    key, equals, value = setting.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set takes key=value, got {setting!r}.")
    try:
        table = tomllib.loads(f"value = {value}")
    except tomllib.TOMLDecodeError:
        return key, value
    if len(table) > 1:
        raise ConfigError(f"--set takes one key=value, got {setting!r}.")
    return key, table["value"]
