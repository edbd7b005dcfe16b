"""A run directory is there whole or not at all, and nothing in it is ever lost."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from statespan.errors import RunDirectoryError, StorageError
from statespan.jobs import ProbeConfig
from statespan.records import (
    BinRecord,
    LengthRecord,
    RecognitionRecord,
    Record,
    RunDirectory,
    RunRecord,
    TrainingRecord,
    write_atomically,
)

RECORDS: list[Record] = [
    RunRecord(
        language="d-2",
        alphabet=["a", "b"],
        model="mamba",
        layers=2,
        parameters=10,
        steps=1,
        loss="symbols",
        sampler="uniform",
        train_words=3,
        train_lengths=(1, 2),
    ),
    TrainingRecord(step=5, epoch=0, loss_sum=3.0, positions=6, learning_rate=0.1, seconds=1.0),
    BinRecord(lower=1, upper=2, words=4, correct=3, positions=9, correct_positions=8, seen=0),
    LengthRecord(length=1, words=4, correct=1),
    RecognitionRecord(lower=1, upper=2, members=2, accepted=2, negatives=3, rejected=1),
]


def test_records_survive_their_file(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", ProbeConfig())
    assert run.read_records("records.jsonl") == []
    run.write_records("records.jsonl", RECORDS[:2])
    for record in RECORDS[2:]:
        run.append("records.jsonl", record)
    assert run.read_records("records.jsonl") == RECORDS
    lines = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
    kinds = [json.loads(line)["kind"] for line in lines]
    assert kinds == ["run", "training", "bin", "length", "recognition"]


def test_shares_come_from_counts() -> None:
    _, training, in_bin, at_length, _ = RECORDS
    assert isinstance(training, TrainingRecord)
    assert isinstance(in_bin, BinRecord)
    assert isinstance(at_length, LengthRecord)
    assert (training.loss, in_bin.accuracy, at_length.accuracy) == (0.5, 75.0, 25.0)


def test_a_line_that_a_kill_cut_short_is_dropped(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", ProbeConfig())
    run.write_records("records.jsonl", RECORDS)
    path = tmp_path / "run" / "records.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    assert run.read_records("records.jsonl") == RECORDS[:-1]


def test_a_line_that_is_no_record_is_an_error_with_its_number(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", ProbeConfig())
    (tmp_path / "run" / "records.jsonl").write_text('{"kind":"length"}\n')
    with pytest.raises(StorageError, match=r"line 1 of .*records\.jsonl is no record"):
        run.read_records("records.jsonl")


def test_a_directory_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunDirectoryError, match=r"run is not empty.*--resume"):
        RunDirectory.create(tmp_path / "run", ProbeConfig())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_empty_directory_and_missing_parents_are_fine(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    RunDirectory.create(tmp_path / "empty", ProbeConfig())
    RunDirectory.create(tmp_path / "a" / "b", ProbeConfig(seed=4))
    assert RunDirectory.open(tmp_path / "a" / "b").config_table()["seed"] == 4


def test_a_run_knows_the_versions_it_ran_on(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run", ProbeConfig(), files=[("extra.bin", b"12")])
    facts = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert facts["versions"]["torch"]
    assert (tmp_path / "run" / "extra.bin").read_bytes() == b"12"


def test_there_is_nothing_to_resume_where_there_is_no_config(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="holds no run"):
        RunDirectory.open(tmp_path)


def test_a_full_disk_is_named_and_the_old_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"cannot write .*checkpoint: the disk is full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_named_when_a_record_is_appended(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run", ProbeConfig())
    (tmp_path / "run" / "training.jsonl").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"training\.jsonl: the disk is full"):
        run.append("training.jsonl", RECORDS[1])


def test_a_file_where_the_parent_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot create .*file/run"):
        RunDirectory.create(tmp_path / "file" / "run", ProbeConfig())
