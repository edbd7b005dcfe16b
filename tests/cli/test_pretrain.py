"""`statespan pretrain`: a config, settings over it, and what it says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest

from statespan.cli.app import main
from statespan.cli.settings import put_settings, resolve_paths
from statespan.errors import ConfigError

LANDS = ("amber", "cold", "dark", "wide")
PLACES = ("hill", "road", "tree", "door", "wood", "gate")
WORDS = [land + place for land in LANDS for place in PLACES]
CONFIG = """
text = "novels"
validation = "others"
context = 64
vocab_size = 300
mixture = { kinds = { copying = 1 } }
training = { steps = 2, rows = 1, report_every = 1, measure_every = 1 }
measurement = { documents = 1 }

[model]
layers = 2
attention_layers = [0]
d_model = 8
d_feedforward = 8
heads = 1
key_value_heads = 1
mixer_head_dim = 8
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = Random(0)
    for name in ("novels", "others"):
        (tmp_path / "configs" / name).mkdir(parents=True)
        text = "\n".join(f"The {' '.join(rng.choices(WORDS, k=8))} ends." for _ in range(90))
        (tmp_path / "configs" / name / "novel.txt").write_text(text, "utf-8")
    path = tmp_path / "configs" / "small.toml"
    path.write_text(CONFIG, "utf-8")
    return path


def call(*words: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "argv", ["statespan", "pretrain", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_a_config_s_folders_are_beside_it_and_a_run_is_named_for_it(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(str(config), "--set", "training.steps=1", monkeypatch=monkeypatch) == 0
    printed = capsys.readouterr()
    assert "bamba, 2 blocks" in printed.out
    assert "1 steps, 64 tokens" in printed.out
    assert "training: 1/1 loss" in printed.err
    assert (Path("runs") / "pretrain-small" / "model" / "model.safetensors").exists()
    assert call("--resume", "runs/pretrain-small", "--json", monkeypatch=monkeypatch) == 0
    value = json.loads(capsys.readouterr().out)
    assert [record["kind"] for record in value["records"]] == [
        "pretraining",
        "held-out",
        "held-out",
    ]
    assert Path(value["picture"]).exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "text=nowhere"], "nowhere is not there"),
        (["--set", "traning.steps=1"], "Did you mean training?"),
        (["--set", "steps"], "--set takes key=value"),
        (["--set", "text.a=1"], "text in --set text.a is no section"),
        (["--resume", "runs/x"], "leave the other options out"),
    ],
)
def test_wrong_usage_is_told(
    words: list[str],
    message: str,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(str(config), *words, monkeypatch=monkeypatch) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


def test_without_text_nothing_is_trained(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch=monkeypatch) == 2
    assert "the config needs text, a folder" in capsys.readouterr().err


def test_settings_are_read_as_toml_or_as_strings() -> None:
    table = put_settings({"a": {"b": 1}}, ["a.c=[1, 2]", "d=x y", "a.b=2.5", "e.f=true"])
    assert table == {"a": {"b": 2.5, "c": [1, 2]}, "d": "x y", "e": {"f": True}}
    with pytest.raises(ConfigError, match="one key=value"):
        put_settings({}, ["a=1\nb=2"])


def test_paths_are_seen_from_the_file_s_folder(tmp_path: Path) -> None:
    table = resolve_paths({"text": "x", "other": "y"}, ["text", "none"], tmp_path / "run.toml")
    assert table == {"text": str((tmp_path / "x").resolve()), "other": "y"}
