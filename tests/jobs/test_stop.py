"""A training ends where the model is right on fresh words, alone, in a fleet, and when resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from statespan.errors import ConfigError
from statespan.jobs import fleet_config, probe, probe_config, probe_fleet, resume_probe
from statespan.records import BinRecord, RunDirectory, RunRecord, TrainingRecord

STEPS, EVERY = 400, 20


def table(**changes: Any) -> dict[str, Any]:
    """Return a language that a small model soon knows."""
    return {
        "language": "a*b*",
        "model": {"name": "mamba", "layers": 1, "d_model": 16},
        "data": {"bins": [[1, 12], [13, 24]], "train_words": 200, "test_words": 40},
        "training": {
            "steps": STEPS,
            "learning_rate": 1e-2,
            "report_every": EVERY,
            "stop_words": 20,
            "batch_size": 8,
        },
        "evaluation": {"curve_lengths": 0, "negatives": 10},
        **changes,
    }


def steps_of(path: Path) -> int:
    (run,) = (
        r for r in RunDirectory(path).read_records("records.jsonl") if isinstance(r, RunRecord)
    )
    return run.steps


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stop") / "run"
    probe(probe_config(table()), path)
    return path


def test_a_training_ends_where_the_language_is_learned(stopped: Path) -> None:
    steps = steps_of(stopped)
    assert 0 < steps < STEPS
    assert steps % EVERY == 0
    log = RunDirectory(stopped).read_records("training.jsonl")
    assert [r.step for r in log if isinstance(r, TrainingRecord)] == [
        *range(EVERY, steps + 1, EVERY)
    ]
    bins = [
        r for r in RunDirectory(stopped).read_records("records.jsonl") if isinstance(r, BinRecord)
    ]
    assert [r.accuracy for r in bins] == [100, 100]


def test_what_is_not_learned_takes_all_steps(tmp_path: Path) -> None:
    config = table(language="parity")
    config["training"] |= {"steps": 2 * EVERY}
    probe(probe_config(config), tmp_path / "run")
    assert steps_of(tmp_path / "run") == 2 * EVERY


@pytest.mark.parametrize("after", ["before the last step", "at the last step"])
def test_a_run_that_was_stopped_ends_at_the_same_step(
    after: str, stopped: Path, tmp_path: Path
) -> None:
    last = steps_of(stopped)
    step = last if after == "at the last step" else last - EVERY // 2

    def stop(stage: str, done: int, total: int, remark: str) -> None:
        del total, remark
        if stage == ("measuring" if step == last else "training") and done >= step % last:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        probe(probe_config(table()), tmp_path / "run", progress=stop)
    resume_probe(tmp_path / "run")
    assert steps_of(tmp_path / "run") == last
    first, second = (
        (path / "model/model.safetensors").read_bytes() for path in (stopped, tmp_path / "run")
    )
    assert first == second


def test_members_of_a_fleet_end_each_for_itself(stopped: Path, tmp_path: Path) -> None:
    config = table()
    config["training"]["learning_rate"] = [1e-2, 2e-3]
    probe_fleet(fleet_config(config), tmp_path / "fleet", processes=1)
    quick, slow = (steps_of(tmp_path / f"fleet/learning_rate={rate}") for rate in ("0.01", "0.002"))
    assert quick == steps_of(stopped) < slow
    config["training"]["learning_rate"] = 2e-3
    probe(probe_config(config), tmp_path / "slow")
    assert steps_of(tmp_path / "slow") == slow


def test_a_task_of_numbers_has_nothing_to_be_right_on(tmp_path: Path) -> None:
    config = table(task="linear-functions")
    del config["language"]
    config["data"] = {"train_words": 20, "test_words": 20}
    with pytest.raises(ConfigError, match=r"training\.stop_words needs answers"):
        probe(probe_config(config), tmp_path / "run")
    assert not (tmp_path / "run").exists()
