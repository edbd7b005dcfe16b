"""The config of a sweep: a probe, and what is to be changed in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeAlias

import msgspec

from statespan.errors import ConfigError
from statespan.jobs.fleet_config import distinct
from statespan.jobs.probe_config import is_fleet
from statespan.jobs.sweep_ranges import Range, is_range, read_range
from statespan.records import to_struct

__all__ = ["RayConfig", "SweepConfig", "leaves", "sweep_config"]

AtLeast0: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
AtLeast1: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]


class RayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the cells are run; it changes no number.

    Attributes:
        address: of a cluster of Ray; None stands for the environment's `RAY_ADDRESS`, and "local",
            or nothing in either, for this machine.
        cpus: how many cores of this machine are used, by default all; a cluster uses its own.
    """

    address: str | None = None
    cpus: AtLeast1 | None = None


class SweepConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Many probes: a case, put over the probe, times a point of the grid, times a random sample.

    Keys of `grid` and `random` are those of a probe, with dots or as tables.

    Attributes:
        probe: the config that all cells begin with.
        cases: tables that are put over it, one after the other.
        grid: a list of values a key; all combinations are run.
        random: a list to choose from, or a range, a key.
        samples: how many times the keys of `random` are drawn.
        draw_seed: the seed of these draws; more samples keep the first ones.
        limit_minutes: how long a cell may train; cells that train stacked share their time evenly.
        retries: how many times a cell whose worker died is begun again before it is given up.
        folder: where paths in the cells' configs are seen from.
        ray: where the cells are run.
    """

    probe: dict[str, Any] = {}
    cases: list[dict[str, Any]] | None = None
    grid: dict[str, Any] | None = None
    random: dict[str, Any] | None = None
    samples: AtLeast1 | None = None
    draw_seed: AtLeast0 = 0
    limit_minutes: Positive | None = None
    retries: AtLeast0 = 1
    folder: str = "."
    ray: RayConfig = RayConfig()

    def grid_values(self) -> dict[str, list[Any]]:
        """Return the values of each key of the grid.

        Raises:
            ConfigError: a key has no list, an empty one, or one with a value twice.
        """
        values = {}
        for key, given in leaves(self.grid or {}):
            listed = distinct(f"grid.{key}", given)
            if listed is None:
                raise ConfigError(f"grid.{key} needs a list of values, got {given!r}.")
            values[key] = listed
        return values

    def random_values(self) -> dict[str, list[Any] | Range]:
        """Return what each random key is drawn from.

        Raises:
            ConfigError: a key has neither a list nor a range, or one that is empty.
        """
        values: dict[str, list[Any] | Range] = {}
        for key, given in leaves(self.random or {}):
            place = f"random.{key}"
            if is_range(given):
                values[key] = read_range(given, place)
                continue
            listed = distinct(place, given)
            if listed is None:
                raise ConfigError(
                    f"{place} needs a list of values or a range {{low = …, high = …}}, got "
                    f"{given!r}."
                )
            values[key] = listed
        return values


def sweep_config(table: Mapping[str, Any]) -> SweepConfig:
    """Return the sweep that a table describes; the probes in it are looked at by `sweep_cells`.

    Raises:
        ConfigError: an unknown key, a value that is out of range, nothing to sweep over, an empty
            list or table, or a key in two places.

    Example:
        >>> config = sweep_config({"grid": {"seed": [1, 2], "training": {"steps": [10, 20]}}})
        >>> config.grid_values()
        {'seed': [1, 2], 'training.steps': [10, 20]}
    """
    config = to_struct(table, SweepConfig)
    if is_fleet(config.probe):
        raise ConfigError("[probe] takes one seed and one learning rate: lists stand in [grid].")
    parts = (
        ("[[cases]]", "table", config.cases),
        ("[grid]", "key", config.grid),
        ("[random]", "key", config.random),
    )
    for name, what, part in parts:
        if part is not None and not part:
            raise ConfigError(f"{name} needs at least one {what}, got none.")
    if not (config.cases or config.grid or config.random):
        raise ConfigError("a sweep needs [grid], [random] or [[cases]], got none of them.")
    if (config.samples is None) == bool(config.random):
        raise ConfigError("samples and [random] belong together: give both or neither.")
    _check_places(config)
    return config


def _check_places(config: SweepConfig) -> None:
    """Check that no key is set in two places, one of which would do nothing."""
    places = {key: "[[cases]]" for case in config.cases or [] for key, _ in leaves(case)}
    for name, values in (("[grid]", config.grid_values()), ("[random]", config.random_values())):
        for key in values:
            if key in places:
                raise ConfigError(f"{key} is in {places[key]} and in {name}: leave one out.")
            places[key] = name


def leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield what stands in a table of tables, each with its keys, joined by dots.

    >>> list(leaves({"seed": [1], "training": {"steps": [2], "clip": {"low": 0, "high": 1}}}))
    [('seed', [1]), ('training.steps', [2]), ('training.clip', {'low': 0, 'high': 1})]
    """
    for key, value in table.items():
        if isinstance(value, Mapping) and not is_range(value):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
