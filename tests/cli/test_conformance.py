"""`statespan conformance`: what it prints, and with which exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from statespan.cli.app import app
from statespan.conformance import ENGINES
from statespan.conformance.engines.statespan import StatespanEngine
from statespan.errors import InputError, StatespanError, UnknownNameError

RUNNER = CliRunner()
SMALL = ["--checkpoint", "tomita-7-mamba-f32"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("checkpoints"))


def refused(*arguments: str) -> StatespanError:
    """Return the error of a call that must be refused."""
    error = RUNNER.invoke(app, ["conformance", *arguments]).exception
    assert isinstance(error, StatespanError)
    return error


def test_a_fault_is_shown_and_the_exit_code_is_1(folder: str) -> None:
    chosen = ["--scenario", "random-chunks", "--scenario", "whole", "--scenario", "rollback"]
    done = RUNNER.invoke(app, ["conformance", "transformers", "--folder", folder, *SMALL, *chosen])
    assert done.exit_code == 1
    assert "FAULT: random-chunks on tomita-7-mamba-f32 (float32)" in done.stdout
    assert "1. feed session 0 with" in done.stdout
    assert ": the recurrent state. It held" in done.stdout
    assert "conformance: 3/3" in done.stderr


def test_json_and_markdown_say_the_same(folder: str) -> None:
    call = ["conformance", "statespan", "--folder", folder, *SMALL, "--scenario", "whole"]
    done = RUNNER.invoke(app, [*call, "--json"])
    assert done.exit_code == 0
    report = json.loads(done.stdout)
    assert [result["status"] for result in report["results"]] == ["passed"]
    assert report["results"][0]["margin"] == 64
    assert report["promises"].keys() == {"whole"}
    table = RUNNER.invoke(app, [*call, "--markdown"]).stdout
    assert table == "| scenario | mamba |\n| --- | --- |\n| `whole` | passed |\n"


def test_one_folder_can_be_tried(folder: str) -> None:
    RUNNER.invoke(app, ["conformance", "--export", f"{folder}/set", *SMALL])
    model = f"{folder}/set/tomita-7-mamba-f32"
    call = ["conformance", "accelerated", "--model", model, "--scenario", "packed", "--json"]
    done = RUNNER.invoke(app, call)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["results"][0]["status"] == "passed"
    (Path(model) / "certificate.json").unlink()
    assert "has no certificate" in str(refused("accelerated", "--model", model))


def test_bad_input_is_refused(folder: str, tmp_path: Path) -> None:
    unknown = refused("transformer")
    assert isinstance(unknown, UnknownNameError)
    assert "Did you mean transformers?" in str(unknown)
    assert "name an engine" in str(refused())
    assert "no folder" in str(refused("statespan", "--model", str(tmp_path / "none")))
    both = refused("statespan", "--model", folder, *SMALL)
    assert isinstance(both, InputError)
    assert "not both" in str(both)
    assert "served is for a server" in str(refused("statespan", "--served", "x"))
    assert "unknown scenario 'hole'" in str(
        refused("statespan", "--folder", folder, *SMALL, "--scenario", "hole")
    )
    assert "unknown checkpoint" in str(refused("statespan", "--checkpoint", "tomita"))


def test_engines_come_from_entry_points_too() -> None:
    assert ENGINES.group == "statespan.engines"
    assert ENGINES.get("statespan") is StatespanEngine
