"""Configs are strict: what is wrong is named, with what there is."""

from __future__ import annotations

from pathlib import Path

import pytest

from statespan.errors import ConfigError, UnknownNameError
from statespan.jobs import ProbeConfig, probe_config
from statespan.models.mamba import MambaConfig
from statespan.records import read_toml, write_toml

WRONG = [
    (
        {"languag": "d-2"},
        "unknown key 'languag' in the config, the top level. Did you mean language",
    ),
    (
        {"languag": "d-2"},
        "The keys there are: language, alphabet, task, seed, initialize_from, model, data",
    ),
    ({"training": {"step": 5}}, r"unknown key 'step' in the config, training\. Did you mean steps"),
    (
        {"model": {"d_stat": 5}},
        r"in the config, model\. Did you mean d_state.*name, layers, d_model",
    ),
    ({"model": {"name": "lstm", "d_state": 5}}, "The keys there are: name, layers, d_model"),
    ({"training": {"steps": "many"}}, r"training\.steps: Expected `int`, got `str`"),
    ({"training": {"steps": -1}}, r"training\.steps: Expected `int` >= 0"),
    ({"training": {"learning_rate": 0}}, r"training\.learning_rate: Expected `float` > 0"),
    ({"data": {"sampler": "unifrom"}}, r"data\.sampler: Invalid enum value 'unifrom'"),
    ({"data": {"bins": []}}, "data.bins needs at least one range of lengths"),
    ({"data": {"bins": [[5, 2]]}}, r"ranges \[first, last\] of growing lengths.*\[\[5, 2\]\]"),
    ({"data": {"bins": [[1, 5], [5, 9]]}}, "do not overlap"),
    ({"model": "mamba"}, "model must be a table with a name, got 'mamba'"),
    ({"model": {"layers": 0}}, "layers must be at least 1, got 0"),
    ({"seed": -1}, "seed: Expected `int` >= 0"),
]


@pytest.mark.parametrize(("table", "message"), WRONG)
def test_what_is_wrong_is_named(table: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        probe_config(table)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"model": {"name": "mambo"}}, "unknown model 'mambo'. Did you mean mamba"),
        ({"training": {"loss": "symbol"}}, "unknown loss 'symbol'. Did you mean symbols"),
    ],
)
def test_unknown_names_suggest_near_ones(table: dict[str, object], message: str) -> None:
    with pytest.raises(UnknownNameError, match=message):
        probe_config(table)


def test_a_config_survives_its_file(tmp_path: Path) -> None:
    config = probe_config(
        {
            "language": "a|b",
            "alphabet": ["a", "b", "<"],
            "model": {"name": "transformer", "positions": "rotary"},
            "data": {"bins": [[0, 3], [4, 9]]},
            "training": {"learning_rate": 1e-4},
        }
    )
    write_toml(tmp_path / "config.toml", config)
    assert probe_config(read_toml(tmp_path / "config.toml")) == config


def test_what_is_left_out_has_its_default() -> None:
    assert probe_config({}) == ProbeConfig()
    assert probe_config({"model": {"layers": 3}}).model == MambaConfig(layers=3)


def test_a_file_that_is_no_toml_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("steps = = 3")
    with pytest.raises(ConfigError, match=r"run\.toml is no TOML: .*line 1"):
        read_toml(tmp_path / "run.toml")


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the config .*absent\.toml: No such file"):
        read_toml(tmp_path / "absent.toml")
