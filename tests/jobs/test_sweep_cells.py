"""A sweep's config: every combination once, random draws within bounds, and nothing unheard."""

from __future__ import annotations

import math
import re
import tomllib
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from statespan.errors import ConfigError
from statespan.jobs import SweepConfig, probe_config, sweep_cells, sweep_config
from statespan.jobs.sweep_cells import identity, probe_name
from statespan.jobs.sweep_config import RayConfig
from statespan.jobs.sweep_ranges import Range
from statespan.models import MODELS

KEYS: dict[str, st.SearchStrategy[Any]] = {
    "seed": st.integers(0, 99),
    "language": st.sampled_from(["parity", "d-2", "(ab)*", "tomita-3"]),
    "model.name": st.sampled_from(MODELS.names()),
    "training.steps": st.integers(0, 99),
    "training.learning_rate": st.floats(1e-6, 1e6),
    "data.bins": st.sampled_from([[[1, 5], [6, 7]], [[2, 9]]]),
}
GRIDS = st.lists(st.sampled_from(sorted(KEYS)), min_size=1, max_size=4, unique=True).flatmap(
    lambda keys: st.fixed_dictionaries(
        {key: st.lists(KEYS[key], min_size=1, max_size=3, unique_by=repr) for key in keys}
    )
)


def value_at(config: Any, key: str) -> Any:
    value = msgspec.to_builtins(config)
    for part in key.split("."):
        value = value[part]
    return value


@given(GRIDS)
def test_a_grid_has_every_combination_once(grid: dict[str, list[Any]]) -> None:
    cells = sweep_cells(sweep_config({"grid": grid}))
    wanted = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    assert [cell.settings for cell in cells] == wanted
    assert len({cell.name for cell in cells}) == len(cells)
    for cell in cells:
        for key, value in cell.settings.items():
            assert msgspec.json.encode(value_at(cell.config, key)) == msgspec.json.encode(value)


@given(GRIDS)
def test_keys_with_dots_and_tables_are_the_same(grid: dict[str, list[Any]]) -> None:
    tables: dict[str, Any] = {}
    for key, values in grid.items():
        *sections, name = key.split(".")
        place = tables
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = values
    dotted, nested = (sweep_cells(sweep_config({"grid": form})) for form in (grid, tables))
    assert {c.name: c.settings for c in dotted} == {c.name: c.settings for c in nested}


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 3))
def test_more_samples_keep_the_first_ones(few: int, more: int, seed: int) -> None:
    ranges = {"training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "seed": [1, 2]}
    first, second = (
        sweep_cells(sweep_config({"random": ranges, "samples": count, "draw_seed": seed}))
        for count in (few, few + more)
    )
    assert second[: len(first)] == first
    wider = {**ranges, "training.steps": {"low": 1, "high": 9}}
    third = sweep_cells(sweep_config({"random": wider, "samples": few, "draw_seed": seed}))
    drawn = [{key: cell.settings[key] for key in ranges} for cell in third]
    assert all(cell.settings in drawn for cell in first)


WHOLE = st.tuples(st.integers(1, 99), st.integers(1, 99)).filter(lambda ends: ends[0] < ends[1])
REAL = st.tuples(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9)).filter(lambda ends: ends[0] < ends[1])


@given(WHOLE | REAL, st.booleans(), st.integers(0, 99))
def test_what_is_drawn_is_in_its_range(ends: tuple[Any, Any], log: bool, seed: int) -> None:
    value = Range(low=ends[0], high=ends[1], log=log).draw(Random(seed))
    assert ends[0] <= value <= ends[1]
    assert isinstance(value, int) == isinstance(ends[0], int)


def test_whole_numbers_are_drawn_evenly_and_both_ends_come() -> None:
    drawn = [Range(low=1, high=4).draw(Random(seed)) for seed in range(400)]
    counts = [drawn.count(number) for number in (1, 2, 3, 4)]
    assert sum(counts) == 400
    assert min(counts) > 70


def test_with_log_every_power_of_ten_comes_as_often() -> None:
    drawn = [Range(low=1e-4, high=1.0, log=True).draw(Random(seed)) for seed in range(400)]
    decades = [math.floor(math.log10(value)) for value in drawn]
    assert all(70 < decades.count(decade) < 130 for decade in (-4, -3, -2, -1))


def test_cases_times_grid_times_samples() -> None:
    cells = sweep_cells(
        sweep_config(
            {
                "probe": {"training": {"steps": 7}, "model": {"name": "lstm", "layers": 1}},
                "cases": [
                    {"language": "parity", "data": {"bins": [[1, 9], [10, 12]]}},
                    {"language": "d-2"},
                ],
                "grid": {"seed": [0, 1]},
                "random": {"training": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}},
                "samples": 3,
            }
        )
    )
    assert len(cells) == 2 * 2 * 3
    first, last = cells[0], cells[-1]
    assert first.config.data.bins == [(1, 9), (10, 12)]
    assert last.config.data.bins is None
    assert {cell.config.training.steps for cell in cells} == {7}
    assert set(first.settings) == {"language", "data.bins", "seed", "training.learning_rate"}
    assert {cell.config.model for cell in cells} == {MODELS.get("lstm").Config(layers=1)}


def test_the_sweeps_of_the_documents_are_sweeps() -> None:
    text = (Path(__file__).parents[2] / "docs/how-to/run-a-sweep.md").read_text("utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    sweeps = [sweep_cells(sweep_config(tomllib.loads(block))) for block in blocks]
    assert [len(cells) for cells in sweeps] == [2 * 2 * 2, 2 * 20]
    documented = set(re.findall(r"^\| `\[*([\w.]+)\]*` \| [^|]+ \| [^|]+ \|$", text, re.MULTILINE))
    keys = {field.name for field in msgspec.structs.fields(SweepConfig)} - {"ray"}
    keys |= {f"ray.{field.name}" for field in msgspec.structs.fields(RayConfig)}
    assert keys <= documented


def test_a_cell_that_is_drawn_twice_is_one() -> None:
    config = sweep_config({"random": {"seed": [1, 2]}, "samples": 20})
    assert [cell.config.seed for cell in sweep_cells(config)] in ([1, 2], [2, 1])


def test_a_cell_is_called_the_same_however_the_sweep_grows() -> None:
    one = sweep_cells(sweep_config({"grid": {"seed": [1]}}))
    other = sweep_cells(sweep_config({"grid": {"training.steps": [600, 700], "seed": [0, 1]}}))
    assert one[0].name in {cell.name for cell in other}
    assert identity(one[0].config) == identity(probe_config({"seed": 1}))


def test_a_name_is_one_of_a_file() -> None:
    assert probe_name(probe_config({"language": "((a|b)/*)*"})) == "expression-mamba-2"
    assert probe_name(probe_config({"language": "lists/even.json"})) == "even.json-mamba-2"


def test_paths_are_seen_from_the_folder_of_the_sweep(tmp_path: Path) -> None:
    config = sweep_config({"folder": str(tmp_path), "grid": {"language": ["even.json", "parity"]}})
    languages = [cell.config.language for cell in sweep_cells(config)]
    assert languages == [str(tmp_path.resolve() / "even.json"), "parity"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, r"needs \[grid\], \[random\] or \[\[cases\]\]"),
        ({"grid": {}}, r"\[grid\] needs at least one key"),
        ({"cases": []}, r"\[\[cases\]\] needs at least one table"),
        ({"random": {}, "samples": 2}, r"\[random\] needs at least one key"),
        ({"grid": {"seed": []}}, "grid.seed needs at least one value"),
        ({"grid": {"seed": 1}}, "grid.seed needs a list of values, got 1"),
        ({"grid": {"seed": [1, 2, 1]}}, "the values of grid.seed must differ, got 1 twice"),
        ({"gird": {"seed": [1]}}, "unknown key 'gird'.* Did you mean grid?"),
        ({"ray": {"adress": "x"}, "grid": {"seed": [1]}}, "unknown key 'adress'.*, ray"),
        ({"grid": {"seed": [1]}, "samples": 2}, "samples and .random. belong together"),
        ({"random": {"seed": [1]}}, "samples and .random. belong together"),
        ({"random": {"seed": 3}, "samples": 1}, "random.seed needs a list of values or a range"),
        ({"random": {"seed": {"low": 3}}, "samples": 1}, "random.seed: Object missing .*`high`"),
        (
            {"random": {"seed": {"low": 1, "hihg": 3}}, "samples": 1},
            "unknown key 'hihg' in the config, random.seed. Did you mean high?",
        ),
        ({"random": {"seed": {"low": 3, "high": 3}}, "samples": 1}, "needs low < high, got 3"),
        (
            {"random": {"seed": {"low": 0, "high": 3, "log": True}}, "samples": 1},
            "random.seed needs low > 0 with log, got 0",
        ),
        ({"grid": {"seed": [1]}, "cases": [{"seed": 2}]}, r"seed is in \[\[cases\]\] and in"),
        (
            {"grid": {"seed": [1]}, "random": {"seed": [1]}, "samples": 1},
            r"seed is in \[grid\] and in \[random\]",
        ),
        ({"probe": {"seed": [1]}, "grid": {"training.steps": [1]}}, r"lists stand in \[grid\]"),
        ({"limit_minutes": 0, "grid": {"seed": [1]}}, "limit_minutes: Expected `float` > 0"),
    ],
    ids=str,
)
def test_a_config_that_is_no_sweep_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sweep_config(table)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"grid": {"sede": [3]}}, "in the cell with sede = 3: unknown key 'sede'.*mean seed?"),
        ({"grid": {"training.stesp": [3]}}, "unknown key 'stesp' in the config, training"),
        ({"grid": {"model.name": ["mamba", "mabma"]}}, "model.name = 'mabma': unknown model"),
        ({"grid": {"seed": [1, -1]}}, "in the cell with seed = -1: .*seed: Expected `int` >= 0"),
        ({"probe": {"lagnuage": "x"}, "grid": {"seed": [1]}}, "unknown key 'lagnuage'"),
        (
            {"probe": {"model": {"d_state": 4}}, "grid": {"model.name": ["mamba", "lstm"]}},
            "in the cell with model.name = 'lstm': unknown key 'd_state'",
        ),
        ({"grid": {"seed": [*range(500)], "training.steps": [*range(500)]}}, "at most 100,000"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_cell_that_is_no_probe_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sweep_cells(sweep_config(table))
