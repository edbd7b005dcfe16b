"""Strict TOML into frozen structs: an unknown key is told which keys there are."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import tomli_w

from statespan.errors import ConfigError, suggest
from statespan.records.storage import write_atomically

__all__ = ["read_toml", "to_struct", "to_table", "write_toml"]

Struct = TypeVar("Struct", bound=msgspec.Struct)

_UNKNOWN = re.compile(r"Object contains unknown field `(.+?)`(?: - at `\$(.*)`)?")
_AT = re.compile(r"^(.*?)(?: - at `\$\.?(.*)`)?$", re.DOTALL)


def read_toml(path: Path) -> dict[str, Any]:
    """Return the table in a TOML file.

    Raises:
        ConfigError: it cannot be read, or is no TOML (with the line and column).
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the config {path}: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no TOML: {error}.") from error


def write_toml(path: Path, config: msgspec.Struct | Mapping[str, Any]) -> None:
    """Write a config, or its table, as TOML, atomically; options that are None are left out."""
    write_atomically(path, tomli_w.dumps(to_table(config)).encode())


def to_table(config: msgspec.Struct | Mapping[str, Any]) -> dict[str, Any]:
    """Return a config as plain tables, without the options that are None."""
    table: dict[str, Any] = _drop_none(msgspec.to_builtins(config))
    return table


def _drop_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _drop_none(item) for key, item in value.items() if item is not None}
    return [_drop_none(item) for item in value] if isinstance(value, (list, tuple)) else value


def to_struct(table: Mapping[str, Any], struct: type[Struct], *, where: str = "") -> Struct:
    """Return `table` as a frozen struct; `where` names the table in messages.

    Raises:
        ConfigError: an unknown key (with those there are), a value of the wrong type or out of
            range.
    """
    try:
        return msgspec.convert(table, struct)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), struct, where)) from error


def _explain(message: str, struct: type[msgspec.Struct], where: str) -> str:
    unknown = _UNKNOWN.fullmatch(message)
    if unknown is None:
        matched = _AT.fullmatch(message)
        assert matched is not None
        place = ".".join(part for part in (where, matched[2]) if part)
        return f"in the config, {place or 'the top level'}: {matched[1]}"
    name, path = unknown[1], (unknown[2] or "").removeprefix(".")
    section: Any = struct
    for part in path.split(".") if path else []:
        section = next(f.type for f in msgspec.structs.fields(section) if f.encode_name == part)
    keys = [field.encode_name for field in msgspec.structs.fields(section)]
    if section.__struct_config__.tag_field:
        keys.insert(0, section.__struct_config__.tag_field)
    place = ".".join(part for part in (where, path) if part)
    listed = f"The keys there are: {', '.join(keys)}."
    near = suggest(name, keys)
    near = f"{near} " if near.startswith("Did") else ""
    return f"unknown key {name!r} in the config, {place or 'the top level'}. {near}{listed}"
