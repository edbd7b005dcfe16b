"""The verb `extend`: options over a file, results to standard output, errors in one message."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from statespan.cli.app import main
from statespan.records import write_toml

sys.path.insert(0, str(Path(__file__).parents[1] / "jobs"))
from extend_inputs import table, write_model, write_text


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["statespan", "extend", *arguments])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(str(exit_.value.code))


def test_a_file_with_options_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    config = table(Path("model"), Path("text"))
    config["evaluation"]["text"] = str(write_text(tmp_path / "text"))
    write_model(tmp_path / "model")
    write_toml(tmp_path / "run.toml", config)
    options = ["--steps", "1", "--eval-attention", "full", "--train-attention", "sliding"]
    assert run(["run.toml", *options, "--output", "run", "--json"], monkeypatch) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["records"][0]["steps"] == 1
    assert shown["records"][0]["attention"].startswith("SlidingAttention(window=32")
    assert {record.get("attention") for record in shown["records"][1:]} == {
        "full, before",
        "full, after",
    }
    assert run(["run.toml", "--output", "run"], monkeypatch) == 2
    assert "is not empty" in capsys.readouterr().err
    for again in (["--resume", "run"], ["--output", "run", "--resume"]):
        assert run(again, monkeypatch) == 0
        assert "full, before" in capsys.readouterr().out


def test_wrong_usage_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["model", "--length", "64"], monkeypatch) == 2
    assert "needs text, a folder or a file to train on" in capsys.readouterr().err
    assert run(["--resume"], monkeypatch) == 2
    assert "--resume takes one run directory" in capsys.readouterr().err
    assert run(["--resume", "run", "--length", "64"], monkeypatch) == 2
    assert not (tmp_path / "runs").exists()


def test_without_what_ships_it_says_what_to_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from statespan.jobs import extend_default

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(extend_default, "NOVEL", "assets/none.txt")
    assert run([], monkeypatch) == 2
    assert "statespan extend MODEL --text FOLDER --length 4096" in capsys.readouterr().err
