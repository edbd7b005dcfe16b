"""`statespan sweep`: a config, a table of cells, and exit codes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from statespan.cli.app import main

sys.path.insert(0, str(Path(__file__).parents[1] / "jobs"))
from sweep_inputs import InlineWorkers, use

CONFIG = """
[probe]
language = "d-2"
model = { name = "lstm", layers = 1, d_model = 8 }
data = { bins = [[2, 10], [12, 16]], train_words = 60, test_words = 10 }
training = { steps = 4, batch_size = 8, warmup = 0 }
evaluation = { curve_lengths = 2, curve_words = 3, negatives = 0 }

[grid]
training.learning_rate = [1e-3, 1e30]
"""


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InlineWorkers:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rates.toml").write_text(CONFIG, "utf-8")
    return use(InlineWorkers(), monkeypatch)


def call(*words: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "argv", ["statespan", "sweep", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_a_sweep_prints_a_row_a_cell_and_names_what_failed(
    workers: InlineWorkers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("rates.toml", monkeypatch=monkeypatch) == 1
    printed = capsys.readouterr()
    lines = [line for line in printed.out.splitlines() if line.startswith("│")]
    assert [("finished" in line, "failed" in line) for line in lines] == [
        (True, False),
        (False, True),
    ]
    assert "results, for SQL: runs/rates/results.sqlite" in printed.out
    assert "sweep: 100/100 1 of 2 cells done" in printed.err
    assert "is not finished: the loss is" in printed.err
    workers.tasks.clear()
    assert call("--resume", "runs/rates", "--json", monkeypatch=monkeypatch) == 1
    value = json.loads(capsys.readouterr().out)
    assert [item["status"] for item in value["cells"]] == ["finished", "failed"]
    assert all(Path(item["directory"], "config.toml").is_file() for item in value["cells"])
    assert workers.tasks == []


def test_settings_go_over_the_file_and_more_cells_into_the_same_folder(
    workers: InlineWorkers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rates = "grid.training.learning_rate=[1e-3]"
    assert call("rates.toml", "--set", rates, "--out", "here", monkeypatch=monkeypatch) == 0
    more = "grid.training.learning_rate=[1e-3, 2e-3]"
    again = ("rates.toml", "--set", more, "--resume", "here", "--json")
    capsys.readouterr()
    assert call(*again, monkeypatch=monkeypatch) == 0
    assert len(json.loads(capsys.readouterr().out)["cells"]) == 2
    assert [len(task.cells) for task in workers.tasks] == [1, 1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a sweep needs a config"),
        (["--set", "retries=2", "--resume", "runs/x"], "a sweep needs a config"),
        (["rates.toml", "--resume", "runs/x", "--out", "y"], "leave --out out"),
        (["nowhere.toml"], "cannot read the config nowhere.toml"),
        (["rates.toml", "--set", "grid={}"], "[grid] needs at least one key, got none"),
        (["rates.toml", "--set", "grid.sede=[1]"], "unknown key 'sede'"),
        (["rates.toml", "--set", "gird.seed=[1]"], "Did you mean grid?"),
        (["rates.toml", "--resume", "runs/x"], "runs/x holds no run"),
    ],
    ids=str,
)
def test_wrong_usage_is_told(
    words: list[str],
    message: str,
    workers: InlineWorkers,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert call(*words, monkeypatch=monkeypatch) == 2
    assert message in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_sweep_that_is_interrupted_says_how_to_go_on(
    workers: InlineWorkers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "next_messages", interrupt)
    assert call("rates.toml", monkeypatch=monkeypatch) == 1
    hint = "stopped. Continue with: statespan sweep --resume runs/rates"
    assert hint in capsys.readouterr().err
