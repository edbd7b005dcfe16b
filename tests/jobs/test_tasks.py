"""`probe` of a task: the same stages, files and laws as of a language."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from statespan.errors import ConfigError, InputError, LengthError, UnknownNameError
from statespan.evaluation import open_predictor
from statespan.jobs import (
    ProbeResult,
    fleet_config,
    probe,
    probe_config,
    probe_fleet,
    report,
    resume_probe,
)
from statespan.records import (
    BinRecord,
    ErrorRecord,
    LengthRecord,
    PositionRecord,
    RunDirectory,
    RunRecord,
    TrainingRecord,
)
from statespan.report import member_table

SMALL: dict[str, Any] = {
    "task": "mqar:pairs=2,keys=4,values=4",
    "model": {"name": "mamba", "layers": 1, "d_model": 8},
    "data": {"bins": [[6, 10], [12, 20]], "train_words": 100, "test_words": 20},
    "training": {"steps": 12, "report_every": 4, "batch_size": 8},
    "evaluation": {"curve_lengths": 4, "curve_words": 4},
}
FAMILIES = [
    *("mqar:pairs=2", "copying:symbols=3", "selective-copying:count=2"),
    *("word-problem:group=S_3", "automata:longest=4", "bounded-grammar:depth=2"),
]


def small(**changes: Any) -> dict[str, Any]:
    return {**SMALL, **changes}


def losses(path: Path) -> list[float]:
    records = RunDirectory.open(path).read_records("training.jsonl")
    return [record.loss_sum for record in records if isinstance(record, TrainingRecord)]


def bins(result: ProbeResult) -> list[BinRecord]:
    return [record for record in result.records if isinstance(record, BinRecord)]


@pytest.mark.parametrize("task", FAMILIES)
def test_every_family_leaves_a_whole_run(task: str, tmp_path: Path) -> None:
    result = probe(probe_config(small(task=task)), tmp_path / "run")
    run, *rest = result.records
    assert isinstance(run, RunRecord)
    assert (run.language, run.is_task, run.subject) == (task, True, f"{task} (task)")
    assert [type(record) for record in rest[:2]] == [BinRecord, BinRecord]
    assert all(0 < record.words <= 20 for record in bins(result))
    assert any(isinstance(record, LengthRecord) for record in rest)
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    assert len(losses(tmp_path / "run")) == 3


@pytest.mark.parametrize(
    "model",
    [
        {"name": "hybrid", "d_model": 8, "heads": 2, "d_feedforward": 8},
        {"name": "lstm", "layers": 1, "d_model": 8},
        {"name": "transformer", "d_model": 8, "heads": 2, "d_feedforward": 8},
    ],
    ids=lambda model: str(model["name"]),
)
def test_other_architectures_take_tasks_too(model: dict[str, Any], tmp_path: Path) -> None:
    result = probe(probe_config(small(model=model)), tmp_path / "run")
    assert len(bins(result)) == 2


def test_only_what_is_asked_counts(tmp_path: Path) -> None:
    result = probe(probe_config(SMALL), tmp_path / "run")
    for record in bins(result):
        assert record.positions == 2 * record.words
    kept = RunDirectory.open(tmp_path / "run").read_records("training.jsonl")
    assert [r.positions for r in kept if isinstance(r, TrainingRecord)] == [4 * 8 * 2, 56, 64]


def test_training_learns_what_was_asked(tmp_path: Path) -> None:
    """Products of two elements, whose group a small LSTM follows over short words."""
    config = small(
        task="word-problem:group=Z_2",
        model={"name": "lstm", "layers": 1, "d_model": 16},
        data={"bins": [[1, 8], [9, 12]], "train_words": 400, "test_words": 40},
        training={"steps": 300, "batch_size": 32, "learning_rate": 1e-2, "report_every": 100},
    )
    result = probe(probe_config(config), tmp_path / "run")
    assert [record.accuracy for record in bins(result)] == [100, 100]


def test_a_run_that_broke_off_is_resumed_to_the_same_numbers(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def stop(stage: str, done: int, total: int, remark: str) -> None:
        if stage == "training" and done == 7:
            raise Killed

    whole = probe(probe_config(SMALL), tmp_path / "whole")
    with pytest.raises(Killed):
        probe(probe_config(SMALL), tmp_path / "broken", progress=stop)
    resumed = resume_probe(tmp_path / "broken")
    assert resumed.records == whole.records
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    assert resume_probe(tmp_path / "broken").records == whole.records


def test_a_fleet_gives_what_lone_runs_give(tmp_path: Path) -> None:
    fleet = probe_fleet(fleet_config(small(seed=[1, 2])), tmp_path / "fleet", processes=1)
    assert not fleet.failures
    for seed in (1, 2):
        alone = probe(probe_config(small(seed=seed)), tmp_path / f"{seed}")
        member = tmp_path / "fleet" / f"seed={seed}"
        assert losses(member) == pytest.approx(losses(tmp_path / f"{seed}"), rel=1e-4)
        ours = load_file(member / "model" / "model.safetensors")
        for name, value in load_file(alone.directory / "model" / "model.safetensors").items():
            assert (ours[name] - value).abs().max() < 1e-4, name


VALUES = small(
    task="linear-functions:dimension=2", data={**SMALL["data"], "bins": [[2, 8], [9, 16]]}
)


@pytest.mark.parametrize("task", ["linear-functions:dimension=2", "dynamic-smoothness:window=2"])
@pytest.mark.parametrize("model", ["mamba", "lstm"])
def test_numbers_are_estimated_from_vectors(task: str, model: str, tmp_path: Path) -> None:
    config = {**VALUES, "task": task, "model": {"name": model, "layers": 1, "d_model": 8}}
    result = probe(probe_config(config), tmp_path / "run")
    run, *rest = result.records
    assert isinstance(run, RunRecord)
    assert (run.alphabet, run.is_task) == ([], True)
    errors = [record for record in rest if isinstance(record, ErrorRecord)]
    positions = [record for record in rest if isinstance(record, PositionRecord)]
    assert [(record.lower, record.upper) for record in errors] == [(2, 8), (9, 16)]
    assert all(record.error > 0 and record.baseline_error > 0 for record in errors)
    assert errors[-1].positions == sum(record.samples for record in positions)
    assert result.picture.name == "errors.png"
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    text = report([result.directory], tmp_path / "page.html").page.read_text("utf-8")
    assert errors[0].baseline in text


def test_a_hybrid_learns_a_function_of_one_weight(tmp_path: Path) -> None:
    """y / x of one pair is enough; the error falls well below that of answering 0."""
    config = {
        **VALUES,
        "task": "linear-functions:dimension=1",
        "model": {"name": "hybrid", "d_model": 16, "heads": 2, "d_feedforward": 32},
        "data": {"bins": [[8, 12], [13, 16]], "train_words": 2000, "test_words": 50},
        "training": {"steps": 120, "batch_size": 32, "learning_rate": 1e-2, "warmup": 10},
    }
    result = probe(probe_config(config), tmp_path / "run")
    late = [r for r in result.records if isinstance(r, PositionRecord) and r.position >= 7]
    assert sum(r.squared_error for r in late) / sum(r.samples for r in late) < 0.4


def test_resuming_and_fleets_hold_for_numbers_too(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def stop(stage: str, done: int, total: int, remark: str) -> None:
        if stage == "training" and done == 7:
            raise Killed

    whole = probe(probe_config({**VALUES, "seed": 1}), tmp_path / "whole")
    with pytest.raises(Killed):
        probe(probe_config({**VALUES, "seed": 1}), tmp_path / "broken", progress=stop)
    assert resume_probe(tmp_path / "broken").records == whole.records
    fleet = probe_fleet(fleet_config({**VALUES, "seed": [1, 2]}), tmp_path / "fleet", processes=1)
    assert not fleet.failures
    member = losses(tmp_path / "fleet" / "seed=1")
    assert member == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)
    ours = [record.error for record in fleet.records[0].errors]
    alone = [record.error for record in whole.records if isinstance(record, ErrorRecord)]
    assert ours == pytest.approx(alone, rel=1e-3)
    table = member_table(fleet.records)
    assert [str(column.header) for column in table.columns][4:] == ["2–8 (trained)", "9–16"]
    assert next(iter(table.columns[4].cells)) == f"{ours[0]:.4g}"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"language": "parity"}, r"of a language or of a task, got language 'parity' and task"),
        ({"alphabet": ["a"]}, "alphabet is for languages"),
        ({"initialize_from": "folder"}, "initialize_from is for languages"),
        ({"data": {"sampler": "uniform"}}, "data.sampler is for languages"),
        ({"training": {"loss": "class-mse"}}, "training.loss is for languages"),
    ],
)
def test_what_only_a_language_has_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        probe_config(small(**changes))


def test_a_task_that_cannot_be_drawn_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(LengthError, match="no sample of mqar:pairs=5 has length 6 to 10"):
        probe(probe_config(small(task="mqar:pairs=5")), tmp_path / "run")
    with pytest.raises(UnknownNameError, match="unknown task"):
        probe(probe_config(small(task="recall")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_asks_for_a_language_is_told_that_the_run_is_of_a_task(tmp_path: Path) -> None:
    result = probe(probe_config(SMALL), tmp_path / "run")
    with pytest.raises(InputError, match="is of a task; one of a language is needed"):
        open_predictor(result.directory)


def test_a_report_shows_a_task_without_a_verdict(tmp_path: Path) -> None:
    result = probe(probe_config(SMALL), tmp_path / "run")
    made = report([result.directory], tmp_path / "page.html")
    text = made.page.read_text("utf-8")
    assert "mqar:pairs=2,keys=4,values=4 (task)" in text
    assert "Samples with every answer right" in text
