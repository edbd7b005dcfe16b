"""`evaluate`, from a config to records, pictures and a table, and after a kill."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from statespan.cli.app import main
from statespan.errors import (
    ConfigError,
    InputError,
    LengthError,
    RunDirectoryError,
    UnknownNameError,
)
from statespan.evaluation import default_prose
from statespan.jobs import evaluate, evaluate_config, evaluate_suites, resume_evaluate
from statespan.records import (
    EndRecord,
    ModelRecord,
    PerplexityRecord,
    PredictionRecord,
    RecallRecord,
    RulerRecord,
    RunDirectory,
)
from statespan.report import evaluation_table
from tests.evaluation.small_models import save_tiny

SMALL: dict[str, Any] = {
    "suite": ["perplexity", "ruler", "recall"],
    "lengths": [256, 320],
    "attention": ["full", "narrow"],
    "attentions": {"narrow": {"kind": "sliding", "window": 32}},
    "tasks": ["niah_single_1", "niah_single_2", "copying", "needle"],
    "samples": 2,
    "threads": 1,
    "perplexity": {"tokens": 320},
    "recall": {"depths": 2},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("tiny") / "model")


def small(folder: Path, **changes: Any) -> dict[str, Any]:
    return {**SMALL, "model": str(folder), **changes}


def run_program(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["statespan", "evaluate", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


@pytest.mark.parametrize(
    ("batch_size", "rows"), [(10, {512: 40, 768: 26, 2048: 10}), (1, {512: 1})]
)
def test_shorter_samples_run_more_at_a_time(batch_size: int, rows: dict[int, int]) -> None:
    config = evaluate_config({"model": "m", "lengths": [512, 768, 2048], "batch_size": batch_size})
    assert {length: config.rows(length) for length in rows} == rows


@pytest.mark.slow
def test_an_evaluation_leaves_a_whole_run(folder: Path, tmp_path: Path) -> None:
    result = evaluate(evaluate_config(small(folder)), tmp_path / "run")
    kinds = [type(record) for record in result.records]
    assert kinds[0] is ModelRecord
    assert kinds.count(PerplexityRecord) == 2 * 2
    assert kinds.count(RulerRecord) == 2 * 2 * 2
    assert kinds.count(RecallRecord) == 2 * 2 * (1 + 2)
    directory = RunDirectory.open(tmp_path / "run")
    *records, end = directory.read_records("records.jsonl")
    assert (records, end) == (result.records, EndRecord(records=len(records)))
    answers = directory.read_records("predictions.jsonl")
    assert len(answers) == 2 * 2 * 2 * 2
    assert all(isinstance(answer, PredictionRecord) for answer in answers)
    assert [path.name for path in result.pictures] == ["perplexity.png", "ruler.png", "recall.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in result.pictures)
    losses = {(r.attention, r.length): r.loss_sum for r in records if type(r) is PerplexityRecord}
    assert losses["full", 256] != losses["narrow", 256]
    again = evaluate(evaluate_config(small(folder)), tmp_path / "again")
    assert again.records == result.records


def test_a_finished_run_is_only_read_and_another_config_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    config = evaluate_config(small(folder, suite=["recall"], tasks=["copying"]))
    result = evaluate(config, tmp_path / "run")
    stages: list[str] = []
    for again in (
        evaluate(config, tmp_path / "run", progress=lambda stage, *_: stages.append(stage)),
        resume_evaluate(tmp_path / "run", progress=lambda stage, *_: stages.append(stage)),
    ):
        assert again.records == result.records
    assert stages == []
    other = evaluate_config(small(folder, suite=["recall"], tasks=["copying"], seed=1))
    with pytest.raises(RunDirectoryError, match="is not empty"):
        evaluate(other, tmp_path / "run")


@pytest.mark.slow
def test_a_run_that_was_killed_is_continued_where_it_stopped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A separate process is killed with SIGKILL in the middle; finished cells are not run again."""
    table = small(folder, suite=["recall", "ruler"], attention=["full"], attentions={})
    whole = evaluate(evaluate_config(table), tmp_path / "whole")
    script = f"""
import sys, time
from pathlib import Path
from statespan.jobs import evaluate, evaluate_config
def progress(stage, done, total, remark):
    if done == 5:
        print("half", flush=True)
        time.sleep(60)
evaluate(evaluate_config({table!r}), Path(sys.argv[1]), progress=progress)
"""
    run = [sys.executable, "-c", script, str(tmp_path / "killed")]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
    ran: list[str] = []
    for kind in (evaluate_suites.RecallSuite, evaluate_suites.RulerSuite):
        own = kind.run

        def count(self: Any, bench: Any, cell: Any, show: Any, own: Any = own) -> Any:
            ran.append(str(cell))
            return own(self, bench, cell, show)

        monkeypatch.setattr(kind, "run", count)
    with (tmp_path / "killed" / "predictions.jsonl").open("ab") as file:
        file.write(b'{"kind": "predic')
    resumed = resume_evaluate(tmp_path / "killed")
    assert resumed.records == whole.records
    assert ran == ["ruler niah_single_2 256 full", "ruler niah_single_1 320 full",
                   "ruler niah_single_2 320 full"]  # fmt: skip
    kept = [
        RunDirectory.open(tmp_path / name).read_records("predictions.jsonl")
        for name in ("killed", "whole")
    ]
    assert kept[0] == kept[1]


@pytest.mark.slow
def test_the_program_prints_one_table_and_says_what_it_measured(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [
        str(folder), "--suite", "ruler,perplexity,recall", "--lengths", "256,320",
        "--attention", "full,sliding", "--set", "attentions.sliding.window=32",
        "--tasks", "niah_single_2,niah_single_1,needle", "--samples", "2",
        "--set", "perplexity.tokens=320", "--output", str(tmp_path / "run"),
    ]  # fmt: skip
    assert run_program(monkeypatch, *arguments) == 0
    shown = capsys.readouterr()
    for row in (
        r"perplexity", "RULER niah_single_1", "RULER NIAH-S, mean of 2", "recall needle"
    ):  # fmt: skip
        rows = [line for line in shown.out.splitlines() if row in line]
        assert [("full" in line, "sliding" in line) for line in rows[:2]] == [
            (True, False),
            (False, True),
        ]
    assert "256" in shown.out
    assert "RULER's haystack of prose: Persuasion" in shown.out
    assert "evaluating: 0/" in shown.err
    assert run_program(monkeypatch, "--resume", str(tmp_path / "run"), "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert {record["kind"] for record in value["records"]} == {
        "model", "perplexity", "ruler", "recall"
    }  # fmt: skip
    assert run_program(monkeypatch, *arguments) == 0


def test_a_toml_file_says_the_same(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "run.toml").write_text(
        'model = "model"\nsuite = ["recall"]\nlengths = [64]\ntasks = ["copying"]\n', "utf-8"
    )
    out = str(tmp_path / "run")
    arguments = (str(tmp_path / "run.toml"), "--samples", "3", "--out", out, "--json")
    assert run_program(monkeypatch, *arguments) == 0
    _, record = json.loads(capsys.readouterr().out)["records"]
    assert (record["samples"], record["length"]) == (3, 64)


def test_text_under_another_name_is_read(folder: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"body": default_prose()[begin : begin + 2000]}) for begin in (0, 2000)]
    (tmp_path / "all.jsonl").write_text("\n".join(lines), "utf-8")
    own = {"suite": ["perplexity"], "lengths": [64], "text": str(tmp_path / "all.jsonl")}
    table = {"model": str(folder), "threads": 1, **own}
    with pytest.raises(InputError, match=r"all.jsonl must be JSON with a string in 'text'"):
        evaluate(evaluate_config(table), tmp_path / "refused")
    result = evaluate(evaluate_config({**table, "field": "body"}), tmp_path / "run")
    (record,) = (record for record in result.records if isinstance(record, PerplexityRecord))
    assert (record.text, record.documents) == ("all.jsonl", 2)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"suite": ["rular"]}, UnknownNameError, "unknown suite 'rular'. Did you mean ruler"),
        ({"tasks": ["niah_singl_1"]}, UnknownNameError, "Did you mean niah_single_1"),
        ({"attention": ["ful"]}, UnknownNameError, "Did you mean full"),
        ({"lengths": [128]}, LengthError, "at least 256 tokens for RULER, got 128"),
        ({"lengths": [200_000]}, LengthError, "must have a document of 200,000 tokens or more"),
        ({"text": "nowhere"}, InputError, "the text nowhere is not there"),
        ({"essays": "nowhere"}, InputError, "the text nowhere is not there"),
        ({"model": "nowhere"}, InputError, "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(
    changes: dict[str, Any], error: type[Exception], message: str, folder: Path, tmp_path: Path
) -> None:
    plain = small(folder, attention=["full"], attentions={})
    with pytest.raises(error, match=message):
        evaluate(evaluate_config({**plain, **changes}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_task_without_room_is_left_out_unless_it_is_named(folder: Path, tmp_path: Path) -> None:
    plain = small(folder, attention=["full"], attentions={}, suite=["ruler"], samples=1)
    del plain["tasks"]
    told: list[str] = []
    found = evaluate(
        evaluate_config({**plain, "lengths": [256, 700]}),
        tmp_path / "run",
        progress=lambda stage, *_: told.append(stage),
    )
    measured = {(r.task, r.length) for r in found.records if isinstance(r, RulerRecord)}
    left_out = {(task, 256) for task, length in measured if length == 700} - measured
    assert ("cwe", 256) in left_out
    assert ("niah_single_1", 256) in measured
    assert {stage.split(":")[1].strip() for stage in told if stage.startswith("left out")} == {
        f"{task} at 256" for task, _ in left_out
    }
    table = evaluation_table(found.records)
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    ((_, _, short, long),) = (row for row in rows if "average" in row[0])
    assert short == "–" != long  # of fewer tasks, it would be another mean
    with pytest.raises(LengthError, match="cwe needs"):
        evaluate(evaluate_config({**plain, "lengths": [256], "tasks": ["cwe"]}), tmp_path / "no")
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lenghts": [64]}, "Did you mean lengths"),
        ({"lengths": []}, "lengths needs at least one value"),
        ({"lengths": [64, 64]}, "the values of lengths must differ, got 64 twice"),
        ({"samples": 0}, "samples"),
        ({"perplexity": {"stride": 300}}, "at most the shortest length, 256, got 300"),
        ({"attentions": {"wide": {}}}, "attentions.wide is not among attention"),
    ],
)
def test_configs_that_are_none(changes: dict[str, Any], message: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        evaluate_config(small(folder, **changes))
    with pytest.raises(ConfigError, match="the config needs model"):
        evaluate_config({})


def test_wrong_usage_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for arguments, message in (
        ([], "needs MODEL, a folder or a TOML file"),
        (["x", "--resume", "y"], "--resume takes the config of the run"),
        ([str(tmp_path)], "no config.json in it"),
        ([str(tmp_path), "--lengths", "5,x"], "--lengths takes numbers"),
    ):
        assert run_program(monkeypatch, *arguments) == 2
        assert message in capsys.readouterr().err
