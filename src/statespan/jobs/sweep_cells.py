"""The cells of a sweep: every probe that its config describes, and what each is called."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any, final

import msgspec

from statespan.errors import ConfigError, InputError
from statespan.jobs.probe_config import ProbeConfig, probe_config
from statespan.jobs.sweep_config import SweepConfig, leaves
from statespan.jobs.sweep_ranges import Range
from statespan.models import architecture
from statespan.training import python_stream

__all__ = ["MOST_CELLS", "Cell", "identity", "probe_name", "sweep_cells"]

MOST_CELLS = 100_000
"""A sweep of more cells is taken for a mistake."""


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """One probe of a sweep.

    Attributes:
        name: what its run directory is called: by its config, so that it stays the same when the
            sweep grows.
        settings: the keys that the sweep sets, with their values here.
        config: the whole config.
    """

    name: str
    settings: dict[str, Any]
    config: ProbeConfig


def sweep_cells(config: SweepConfig) -> list[Cell]:
    """Return the cells of a sweep, each once: cases first, then the grid, then the samples.

    Raises:
        ConfigError: a cell is no config of a probe (the message says which), or there are too many.
        StorageError: weights to start from cannot be read.

    Example:
        >>> from statespan.jobs.sweep_config import sweep_config
        >>> grid = {"seed": [0, 1], "language": ["parity", "d-2"]}
        >>> cells = sweep_cells(sweep_config({"probe": {"model": {"name": "lstm"}}, "grid": grid}))
        >>> [cell.settings for cell in cells][:2]
        [{'seed': 0, 'language': 'parity'}, {'seed': 0, 'language': 'd-2'}]
        >>> cells[0].name.startswith("parity-lstm-2-")
        True
    """
    cells: dict[bytes, Cell] = {}
    for settings in _settings(config):
        made = _make_config(config, settings)
        name = f"{probe_name(made)}-{hashlib.sha256(identity(made)).hexdigest()[:8]}"
        cells.setdefault(identity(made), Cell(name, settings, made))
    return list(cells.values())


def identity(config: ProbeConfig) -> bytes:
    """Return what two configs share if and only if they are the same."""
    return msgspec.json.encode(config)


def probe_name(config: ProbeConfig) -> str:
    """Return a name for files: the language or task, the architecture and the number of layers.

    >>> probe_name(ProbeConfig(language="(a|b)*"))
    'a_b-mamba-2'
    """
    subject = config.task or Path(config.language).name
    subject = re.sub(r"[^A-Za-z0-9._=-]+", "_", subject)[:60].strip("_.")
    return f"{subject or 'expression'}-{architecture(config.model)}-{config.model.layers}"


def _settings(config: SweepConfig) -> Iterator[dict[str, Any]]:
    """Yield what each cell sets, by key."""
    cases = [dict(leaves(case)) for case in config.cases or [{}]]
    grid = config.grid_values()
    samples = list(_samples(config)) or [{}]
    count = len(cases) * len(samples) * math.prod(map(len, grid.values()))
    if count > MOST_CELLS:
        raise ConfigError(f"a sweep has at most {MOST_CELLS:,} cells, got {count:,}.")
    for case, values, sample in product(cases, product(*grid.values()), samples):
        yield {**case, **dict(zip(grid, values, strict=True)), **sample}


def _samples(config: SweepConfig) -> Iterator[dict[str, Any]]:
    """Yield the random samples; each key of each sample has a stream of its own."""
    values = config.random_values()
    for number in range(config.samples or 0):
        streams = {key: python_stream(config.draw_seed, f"sweep/{number}/{key}") for key in values}
        yield {
            key: item.draw(streams[key]) if isinstance(item, Range) else streams[key].choice(item)
            for key, item in values.items()
        }


def _make_config(config: SweepConfig, settings: Mapping[str, Any]) -> ProbeConfig:
    table = reduce(_merge, (_nested(*setting) for setting in settings.items()), config.probe)
    folder = Path(config.folder)
    if str(table.get("language", "")).endswith(".json"):
        table["language"] = str((folder / table["language"]).resolve())
    if isinstance(table.get("initialize_from"), str):
        table["initialize_from"] = str((folder / table["initialize_from"]).resolve())
    try:
        return probe_config(table)
    except InputError as error:
        place = ", ".join(f"{key} = {value!r}" for key, value in settings.items())
        raise ConfigError(f"in the cell with {place}: {error}") from error


def _nested(key: str, value: Any) -> dict[str, Any]:
    """Return the table that has `value` at a key with dots."""
    first, *rest = reversed(key.split("."))
    return reduce(lambda table, part: {part: table}, rest, {first: value})


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `over` put over it: tables are merged, everything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        there = merged.get(key)
        if isinstance(there, Mapping) and isinstance(value, Mapping):
            merged[key] = _merge(there, value)
        else:
            merged[key] = value
    return merged
