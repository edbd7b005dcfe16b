"""The config of a fleet: that of a probe, with lists where a probe has one value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, final

from statespan.errors import ConfigError
from statespan.jobs.probe_config import RATE, SEED, ProbeConfig, probe_config
from statespan.records.config import to_table

__all__ = ["FleetConfig", "distinct", "fleet_config"]


@final
@dataclass(frozen=True, slots=True)
class FleetConfig:
    """Several probes that differ in seed or learning rate: every combination of both.

    Attributes:
        members: the probes by name, as their run directories are called.
        seeds: the seeds, None if the config had one and no list.
        learning_rates: the learning rates, None likewise.
    """

    members: dict[str, ProbeConfig]
    seeds: list[int] | None = None
    learning_rates: list[float] | None = None

    @property
    def table(self) -> dict[str, Any]:
        """The config as it stands in a file."""
        table = to_table(next(iter(self.members.values())))
        if self.seeds is not None:
            table[SEED] = self.seeds
        if self.learning_rates is not None:
            table["training"][RATE] = self.learning_rates
        return table


def fleet_config(table: Mapping[str, Any]) -> FleetConfig:
    """Return the fleet that a table describes.

    Raises:
        ConfigError: a list is empty or has a value twice, or as `probe_config`.
        UnknownNameError: no such model or loss.
        StorageError: the weights to start from cannot be read.

    Example:
        >>> config = fleet_config({"seed": [1, 2], "training": {"learning_rate": [1e-3, 2e-3]}})
        >>> list(config.members)[:2]
        ['seed=1,learning_rate=0.001', 'seed=1,learning_rate=0.002']
    """
    training = table.get("training", {})
    seeds = distinct(SEED, table.get(SEED))
    rates = None
    if isinstance(training, Mapping):
        rates = distinct(f"training.{RATE}", training.get(RATE))
    members = {}
    for seed, rate in product(seeds or [None], rates or [None]):
        own = dict(table)
        if seed is not None:
            own[SEED] = seed
        if rate is not None:
            own["training"] = {**training, RATE: rate}
        parts = ((SEED, seed), (RATE, rate))
        name = ",".join(f"{key}={value}" for key, value in parts if value is not None)
        members[name] = probe_config(own)
    return FleetConfig(members, seeds, rates)


def distinct(key: str, values: Any) -> list[Any] | None:
    """Return the values of a key that has a list of them, None of one that has not.

    Raises:
        ConfigError: there are none, or one comes twice.
    """
    if not isinstance(values, list):
        return None
    if not values:
        raise ConfigError(f"{key} needs at least one value, got none.")
    repeated = [value for index, value in enumerate(values) if value in values[:index]]
    if repeated:
        raise ConfigError(f"the values of {key} must differ, got {repeated[0]!r} twice.")
    return values
