"""The config of a probe: everything that its numbers depend on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec

from statespan.errors import ConfigError
from statespan.models import MODELS, ModelConfig, architecture
from statespan.models.mamba import MambaConfig
from statespan.records import to_struct
from statespan.training import READOUTS, DataConfig, TrainingConfig
from statespan.training.initial_weights import read_architecture

__all__ = [
    "EvaluationConfig",
    "ProbeConfig",
    "check_same_model",
    "is_fleet",
    "probe_config",
    "table_config",
]

SEED = "seed"
RATE = "learning_rate"

AtLeast0: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
AtLeast1: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]


class EvaluationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is measured after training, beside the bins.

    Attributes:
        curve_lengths: the number of lengths, spread evenly, of the accuracy curve.
        curve_words: words drawn at each of them.
        negatives: near misses drawn for each bin.
    """

    curve_lengths: AtLeast0 = 75
    curve_words: AtLeast1 = 50
    negatives: AtLeast0 = 500


class ProbeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One probe: everything that its numbers depend on.

    Attributes:
        language: a name of the catalogue (`bounded-dyck:brackets=2,depth=3`), an automaton's
            `.json` file, or a regular expression; empty where there is a task.
        alphabet: the alphabet of an expression, when it is more than the symbols used.
        task: a name of `statespan tasks` (`mqar:pairs=8`), in the place of a language.
        seed: of all random streams (data, initialization, order, evaluation).
        initialize_from: a folder whose weights the training starts from: a compiled checkpoint, or
            the folder `model` of an earlier run. `model` must be what they are of.
        model: the architecture (`name`) and its sizes.
    """

    language: str = "012-star-02-star"
    alphabet: list[str] | None = None
    task: str | None = None
    seed: AtLeast0 = 0
    initialize_from: str | None = None
    model: ModelConfig = MambaConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()


def probe_config(table: Mapping[str, Any]) -> ProbeConfig:
    """Return the config that a table describes; what it leaves out has its default.

    With `initialize_from`, the architecture is that of the weights there.

    Raises:
        ConfigError: an unknown key, a wrong type, a value out of range, or a model other than
            that of the weights to start from.
        UnknownNameError: no such model or loss.
        StorageError: the weights to start from cannot be read.

    Example:
        >>> probe_config({"language": "parity", "model": {"name": "lstm", "layers": 1}}).model
        LSTMConfig(layers=1, d_model=64)
    """
    folder, given = table.get("initialize_from"), table.get("model", {})
    is_language = table.get("task") is None
    if not is_language or not isinstance(folder, str) or not isinstance(given, Mapping):
        return table_config(table)
    model = read_architecture(Path(folder))
    config = table_config({**table, "model": {"name": architecture(model), **given}})
    check_same_model(config.model, model, given, folder)
    return msgspec.structs.replace(config, model=model)


def check_same_model(
    config: ModelConfig, model: ModelConfig, keys: Iterable[str], folder: str
) -> None:
    """Check that `config` has the values of `model`, of the weights in `folder`, at `keys`.

    Raises:
        ConfigError: it has others.
    """
    wanted, there = msgspec.to_builtins(config), msgspec.to_builtins(model)
    for key in sorted(keys, key=lambda key: key != "name"):
        if wanted[key] != there.get(key):
            raise ConfigError(
                f"model.{key} is {wanted[key]!r} in the config, but {there.get(key)!r} in "
                f"{folder}, whose weights are to start from: leave it out, or use others."
            )


def is_fleet(table: Mapping[str, Any]) -> bool:
    """Return whether a table describes a fleet: it has a list of seeds or of learning rates.

    Example:
        >>> is_fleet({"seed": 1}), is_fleet({"seed": [1, 2]})
        (False, True)
    """
    training = table.get("training")
    rates = training.get(RATE) if isinstance(training, Mapping) else None
    return isinstance(table.get(SEED), list) or isinstance(rates, list)


def table_config(table: Mapping[str, Any]) -> ProbeConfig:
    """Return the config that a table describes by itself, whatever weights it starts from.

    Raises:
        ConfigError: an unknown key, a wrong type, or a value out of range.
        UnknownNameError: no such model or loss.
    """
    if is_fleet(table):
        raise ConfigError(
            f"a list of {SEED}s or learning rates is for a fleet: use fleet_config and "
            "probe_fleet, or give one value."
        )
    model_table = table.get("model", {})
    if not isinstance(model_table, Mapping):
        raise ConfigError(f"model must be a table with a name, got {model_table!r}.")
    name = model_table.get("name", "mamba")
    if not isinstance(name, str):
        raise ConfigError(f"model.name must be a string, got {name!r}.")
    model_class = MODELS.get(name)
    model = to_struct(model_table, model_class.Config, where="model")
    rest = {key: value for key, value in table.items() if key != "model"}
    config = msgspec.structs.replace(to_struct(rest, ProbeConfig), model=model)
    READOUTS.get(config.training.loss)
    return config if config.task is None else _without_language(config, table)


def _without_language(config: ProbeConfig, table: Mapping[str, Any]) -> ProbeConfig:
    """Return the config of a task.

    Raises:
        ConfigError: it says something that only a language can have.
    """
    if table.get("language"):
        raise ConfigError(
            f"a probe is of a language or of a task, got language {config.language!r} and task "
            f"{config.task!r}: leave one out."
        )
    taken = {
        "alphabet": config.alphabet is not None,
        "initialize_from": config.initialize_from is not None,
        "data.sampler": config.data.sampler is not None,
        "training.loss": config.training.loss != TrainingConfig().loss,
    }
    for key, is_given in taken.items():
        if is_given:
            raise ConfigError(f"{key} is for languages: leave it out where task is given.")
    return msgspec.structs.replace(config, language="")
