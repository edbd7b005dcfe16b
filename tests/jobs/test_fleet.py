"""A fleet is its probes, each as it is alone, whatever runs them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from statespan.errors import ConfigError, LengthError, RunDirectoryError, StorageError
from statespan.jobs import (
    fleet_config,
    is_fleet,
    probe,
    probe_config,
    probe_fleet,
    resume_fleet,
    resume_probe,
)
from statespan.jobs.fleet_plan import estimate_seconds, num_processes
from statespan.languages import language_from_text
from statespan.records import (
    BinRecord,
    LengthRecord,
    RecognitionRecord,
    RunDirectory,
    TrainingRecord,
)

TRANSFORMER = {"name": "transformer", "layers": 1, "d_model": 8, "heads": 2, "d_feedforward": 8}
SMALL: dict[str, Any] = {
    "language": "d-2",
    "model": TRANSFORMER,
    "data": {"bins": [[2, 10], [12, 16]], "train_words": 60, "test_words": 10},
    "training": {"steps": 12, "report_every": 4, "batch_size": 8, "warmup": 0},
    "evaluation": {"curve_lengths": 2, "curve_words": 3, "negatives": 4},
}


def several(seeds: Any = None, rates: Any = None, **training: Any) -> dict[str, Any]:
    table = {**SMALL, "training": {**SMALL["training"], **training}}
    if seeds is not None:
        table["seed"] = seeds
    if rates is not None:
        table["training"]["learning_rate"] = rates
    return table


def assert_same_run(one: Path, other: Path) -> None:
    """The same files, with the same numbers up to rounding."""
    assert {p.name for p in one.iterdir()} == {p.name for p in other.iterdir()}
    assert (one / "config.toml").read_bytes() == (other / "config.toml").read_bytes()
    for name in ("checkpoint.safetensors", "model/model.safetensors"):
        left, right = load_file(one / name), load_file(other / name)
        assert left.keys() == right.keys()
        for key, value in left.items():
            # Embeddings are small before a norm, so that rounding shows in their gradients' means.
            scale = float(value.abs().max()) if key.startswith("optimizer") else 0.01
            torch.testing.assert_close(value, right[key], rtol=1e-4, atol=1e-3 * scale)
    first, second = (
        RunDirectory.open(path).read_records("training.jsonl") for path in (one, other)
    )
    for left_record, right_record in zip(first, second, strict=True):
        assert isinstance(left_record, TrainingRecord)
        assert isinstance(right_record, TrainingRecord)
        assert left_record.step == right_record.step
        assert left_record.positions == right_record.positions
        assert left_record.loss == pytest.approx(right_record.loss, rel=1e-4)
    kinds = (BinRecord, LengthRecord, RecognitionRecord)
    measured = [
        [(type(r), getattr(r, "words", None)) for r in found if isinstance(r, kinds)]
        for found in (RunDirectory.open(p).read_records("records.jsonl") for p in (one, other))
    ]
    assert measured[0] == measured[1]


def test_all_combinations_are_run_each_as_alone(tmp_path: Path) -> None:
    result = probe_fleet(fleet_config(several([3, 4], [1e-3, 2e-3])), tmp_path / "fleet")
    assert [(r.seed, r.learning_rate) for r in result.records] == [
        (3, 1e-3),
        (3, 2e-3),
        (4, 1e-3),
        (4, 2e-3),
    ]
    for index, record in enumerate(result.records):
        table = several(record.seed, record.learning_rate)
        alone = probe(probe_config(table), tmp_path / str(index))
        assert_same_run(tmp_path / "fleet" / record.name, alone.directory)
        own = RunDirectory.open(tmp_path / "fleet" / record.name).read_records("records.jsonl")
        assert record.bins == [r for r in own if isinstance(r, BinRecord)]
        assert record.loss == pytest.approx(
            next(
                r.loss
                for r in reversed(RunDirectory.open(alone.directory).read_records("training.jsonl"))
                if isinstance(r, TrainingRecord)
            ),
            rel=1e-4,
        )


@pytest.mark.slow
@pytest.mark.parametrize("model", [{"name": "lstm", "layers": 1, "d_model": 8}, TRANSFORMER])
def test_two_processes_give_what_one_gives(model: dict[str, Any], tmp_path: Path) -> None:
    config = fleet_config({**several([1, 2, 3]), "model": model})
    shown: list[tuple[str, int, int]] = []
    results = [
        probe_fleet(
            config,
            tmp_path / str(count),
            processes=count,
            progress=lambda stage, done, total, _: shown.append((stage, done, total)),
        )
        for count in (1, 2)
    ]
    for one, other in zip(*(result.records for result in results), strict=True):
        assert_same_run(tmp_path / "1" / one.name, tmp_path / "2" / other.name)
    for stage, whole in (("drawing words", 3), ("training", 36), ("measuring", 3)):
        counts = [done for name, done, total in shown if name == stage and total == whole]
        assert counts.count(whole) >= 2
        assert all(0 <= done <= whole for done in counts)


def test_members_may_be_hybrids(tmp_path: Path) -> None:
    model = {"name": "hybrid", "layers": 2, "d_model": 8, "heads": 2, "sizes": {"d_state": 4}}
    result = probe_fleet(fleet_config({**several([1, 2]), "model": model}), tmp_path / "fleet")
    assert [record.failure for record in result.records] == [None, None]
    assert all(record.bins for record in result.records)


def test_a_model_too_large_for_a_fleet_is_trained_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr(
        "statespan.jobs.fleet_members.train_fleet",
        lambda runs: calls.append(len(runs)) or [None] * len(runs),
    )
    probe_fleet(fleet_config(several([1, 2])), tmp_path / "small")
    assert calls == [2]
    monkeypatch.setattr("statespan.jobs.fleet_members.FLEET_NUMBERS", 1)
    probe_fleet(fleet_config(several([1, 2])), tmp_path / "large")
    assert calls == [2]


def test_short_work_starts_no_processes_and_long_work_one_a_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("statespan.jobs.fleet_plan.num_cores", lambda: 4)
    language = language_from_text("d-2")
    short = probe_config(several(1))
    long = probe_config(several(1, steps=100_000))
    threaded = probe_config(several(1, steps=100_000, threads=2))
    assert estimate_seconds(short, language) < 5 < estimate_seconds(long, language)
    assert num_processes(short, language, 3) == 1
    assert [num_processes(long, language, members) for members in (1, 3, 32)] == [1, 3, 4]
    assert num_processes(threaded, language, 32) == 2


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_member_that_diverges_does_not_stop_the_others(count: int, tmp_path: Path) -> None:
    config = fleet_config(several([1, 2], [1e-3, 1e30], report_every=1))
    result = probe_fleet(config, tmp_path / "fleet", processes=count)
    failed = {r.name for r in result.records if r.failure is not None}
    assert failed == set(result.failures)
    assert failed == {f"seed={seed},learning_rate=1e+30" for seed in (1, 2)}
    assert all("checkpoint" in text for text in result.failures.values())
    assert [bool(r.bins) for r in result.records] == [True, False, True, False]
    for name in failed:
        assert (tmp_path / "fleet" / name / "checkpoint.safetensors").exists()
        assert not (tmp_path / "fleet" / name / "records.jsonl").exists()


def test_a_finished_fleet_is_only_read(tmp_path: Path) -> None:
    result = probe_fleet(fleet_config(several([1, 2])), tmp_path / "fleet")
    stages: list[str] = []
    again = resume_fleet(tmp_path / "fleet", progress=lambda stage, *_: stages.append(stage))
    assert again.records == result.records
    assert stages == []


def test_a_lone_run_and_a_fleet_take_up_each_other_s_members(tmp_path: Path) -> None:
    whole = probe_fleet(fleet_config(several([1, 2])), tmp_path / "whole")
    path = tmp_path / "fleet"
    probe_fleet(fleet_config(several([1, 2])), path)
    for name in ("records.jsonl", "seed=1/records.jsonl", "seed=2/records.jsonl"):
        (path / name).unlink()
    log = path / "seed=1" / "training.jsonl"
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:1]))
    for name in ("checkpoint.safetensors", "training.jsonl"):
        (path / "seed=1" / name).unlink()
    resume_probe(path / "seed=2")
    (path / "seed=2" / "accuracy.png").unlink()
    again = resume_fleet(path)
    assert [r.bins for r in again.records] == [r.bins for r in whole.records]
    for name in ("seed=1", "seed=2"):
        assert_same_run(path / name, tmp_path / "whole" / name)


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_fleet_that_was_killed_is_resumed_to_the_same_numbers(count: int, tmp_path: Path) -> None:
    """A separate process is killed with SIGKILL in the middle of training, with its workers."""
    table = several([1, 2, 3], steps=60, report_every=5)
    whole = probe_fleet(fleet_config(table), tmp_path / "whole", processes=count)
    script = f"""
import sys, time
from pathlib import Path
from statespan.jobs import probe_fleet, fleet_config
def progress(stage, done, total, remark):
    if stage == "training" and done >= total // 2:
        print("half", flush=True)
        time.sleep(60)
probe_fleet(fleet_config({table!r}), Path(sys.argv[1]), progress=progress, processes={count})
"""
    run = [sys.executable, "-c", script, str(tmp_path / "killed")]
    with subprocess.Popen(run, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "killed" / "records.jsonl").exists()
    resumed = resume_fleet(tmp_path / "killed", processes=count)
    for record, other in zip(resumed.records, whole.records, strict=True):
        assert_same_run(tmp_path / "killed" / record.name, tmp_path / "whole" / other.name)


def test_a_fleet_repeats_from_its_own_config_and_automaton(tmp_path: Path) -> None:
    automaton = {
        "alphabet": ["a", "b"],
        "start": 0,
        "accepting": [0],
        "transitions": [[0, "a", 1], [1, "a", 0], [0, "b", 0], [1, "b", 1]],
    }
    file = tmp_path / "even.json"
    file.write_text(json.dumps(automaton))
    config = fleet_config({**several([1, 2], [2e-3]), "language": str(file)})
    first = probe_fleet(config, tmp_path / "first")
    file.unlink()
    table = RunDirectory.open(tmp_path / "first").config_table()
    assert is_fleet(table)
    assert fleet_config(table) == config
    for name in ("records.jsonl", "seed=1,learning_rate=0.002/records.jsonl"):
        (tmp_path / "first" / name).unlink()
    assert resume_fleet(tmp_path / "first").records == first.records


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_directory_where_another_process_is_at_work_is_left_alone(
    count: int, tmp_path: Path
) -> None:
    probe_fleet(fleet_config(several([1, 2])), tmp_path / "fleet")
    (tmp_path / "fleet" / "records.jsonl").unlink()
    with (
        RunDirectory.open(tmp_path / "fleet" / "seed=2").lock(),
        pytest.raises(RunDirectoryError, match="another process is at work"),
    ):
        resume_fleet(tmp_path / "fleet", processes=count)


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_damaged_checkpoint_stops_a_fleet_in_whatever_process(count: int, tmp_path: Path) -> None:
    probe_fleet(fleet_config(several([1, 2])), tmp_path / "fleet")
    for name in ("records.jsonl", "seed=2/records.jsonl"):
        (tmp_path / "fleet" / name).unlink()
    (tmp_path / "fleet" / "seed=2" / "checkpoint.safetensors").write_bytes(b"none")
    with pytest.raises(StorageError, match="cannot read the checkpoint"):
        resume_fleet(tmp_path / "fleet", processes=count)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (several([]), "seed needs at least one value"),
        (several(None, []), r"training.learning_rate needs at least one value"),
        (several([1, 2, 1]), "the values of seed must differ, got 1 twice"),
        (several([1, -1]), "seed: Expected `int` >= 0"),
        (several([1, "x"]), "seed: Expected `int`"),
        (several(None, [1e-3, 0]), "training.learning_rate: Expected `float` > 0"),
        ({"seed": [1, 2], "training": 3}, "training: Expected `object`"),
        ({"seed": [1, 2], "sed": 3}, "unknown key 'sed'"),
    ],
    ids=str,
)
def test_a_config_that_is_no_fleet_is_refused(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fleet_config(table)


def test_a_probe_takes_one_seed_and_one_rate(tmp_path: Path) -> None:
    for table in (several([1, 2]), several(None, [1e-3])):
        assert is_fleet(table)
        with pytest.raises(ConfigError, match="is for a fleet: use fleet_config"):
            probe_config(table)
    assert not is_fleet(several(1, 1e-3))
    probe_fleet(fleet_config(several([1])), tmp_path / "fleet")
    (tmp_path / "fleet" / "records.jsonl").unlink()
    with pytest.raises(ConfigError, match="is a fleet: name one of its members"):
        resume_probe(tmp_path / "fleet")


def test_what_cannot_be_swept_leaves_no_directory(tmp_path: Path) -> None:
    table = {**several([1, 2]), "language": "aa-star", "data": {"bins": [[2, 2], [3, 3]]}}
    with pytest.raises(LengthError, match="no word of aa-star has length 3"):
        probe_fleet(fleet_config(table), tmp_path / "fleet")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine").write_text("")
    with pytest.raises(RunDirectoryError, match="is not empty"):
        probe_fleet(fleet_config(several([1, 2])), tmp_path / "notes")
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]
