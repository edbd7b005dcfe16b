"""A sweep loses nothing: each cell is as it is alone, and one that fails stops no other."""

from __future__ import annotations

import errno
import json
import sqlite3
import sys
import tomllib
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from statespan.errors import (
    ConfigError,
    LengthError,
    MissingExtraError,
    RunDirectoryError,
    StorageError,
    TimeLimitError,
)
from statespan.jobs import (
    probe,
    probe_config,
    report,
    resume_probe,
    resume_sweep,
    sweep,
    sweep_cells,
    sweep_config,
)
from statespan.jobs.sweep_watch import Watch
from statespan.records import BinRecord, EndRecord, RunDirectory, TrainingRecord

sys.path.insert(0, str(Path(__file__).parent))
from sweep_inputs import PROBE, InlineWorkers, small, statuses, use


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> InlineWorkers:
    return use(InlineWorkers(), monkeypatch)


def losses(path: Path) -> list[float]:
    records = RunDirectory.open(path).read_records("training.jsonl")
    return [record.loss for record in records if isinstance(record, TrainingRecord)]


def query(path: Path, question: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path / "results.sqlite")) as connection:
        return connection.execute(question).fetchall()


@pytest.mark.parametrize("sees_folder", [True, False])
def test_a_cell_is_as_it_is_alone_wherever_it_is_run(
    sees_folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = use(InlineWorkers(cpus=1, sees_folder=sees_folder), monkeypatch)
    config = small(grid={"language": ["d-2", "(ab)*"], "training.learning_rate": [1e-3, 2e-3]})
    result = sweep(config, tmp_path / "sweep")
    assert statuses(result.records) == ["finished"] * 4
    assert [len(task.cells) for task in workers.tasks] == [4], "one shape, two languages"
    for cell, record in zip(sweep_cells(config), result.records, strict=True):
        alone = probe(cell.config, tmp_path / cell.name)
        own = tmp_path / "sweep" / record.name
        names = {str(path.relative_to(own)) for path in own.rglob("*") if path.is_file()}
        files = (path for path in alone.directory.rglob("*") if path.is_file())
        assert names == {*(str(p.relative_to(alone.directory)) for p in files), "cell.jsonl"}
        assert record.settings == cell.settings
        assert record.seconds > 0
        kinds = [[type(r) for r in records] for records in (alone.records, records_of(own))]
        assert kinds[0] == kinds[1]
        assert record.bins == [r for r in records_of(own) if isinstance(r, BinRecord)]
        drawn = [
            [(r.words, r.positions, r.seen) for r in bins_of(path)]
            for path in (own, alone.directory)
        ]
        assert drawn[0] == drawn[1]
        first, second = losses(own), losses(alone.directory)
        assert first == pytest.approx(second, rel=1e-4)
        assert len(first) == 3


def bins_of(path: Path) -> list[BinRecord]:
    return [record for record in records_of(path) if isinstance(record, BinRecord)]


def records_of(path: Path) -> list[Any]:
    *records, end = RunDirectory.open(path).read_records("records.jsonl")
    assert end == EndRecord(records=len(records))
    return records


def test_the_results_are_in_one_file(workers: InlineWorkers, tmp_path: Path) -> None:
    config = small(grid={"training.learning_rate": [1e-3, 1e30], "model.name": ["transformer"]})
    result = sweep(config, tmp_path / "sweep")
    assert result.results == tmp_path / "sweep" / "results.sqlite"
    rows = query(
        result.directory,
        'SELECT directory, status, accuracy_2, "training.learning_rate", "model.heads", failure '
        'FROM cells ORDER BY "training.learning_rate"',
    )
    for row, record in zip(rows, result.records, strict=True):
        accuracy = record.bins[1].accuracy if record.bins else None
        assert row[:3] == (record.name, record.status, accuracy)
        assert row[3:5] == (record.settings["training.learning_rate"], 2)
    assert [row[5] is None for row in rows] == [True, False]
    counts = query(result.directory, "SELECT lower, upper, words, correct FROM bins")
    bins = result.records[0].bins
    assert counts == [(b.lower, b.upper, b.words, b.correct) for b in bins]


@pytest.mark.parametrize("sees_folder", [True, False])
def test_a_cell_that_fails_stops_no_other_and_is_not_tried_again(
    sees_folder: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = use(InlineWorkers(sees_folder=sees_folder), monkeypatch)
    config = small(grid={"training.learning_rate": [1e-3, 1e30], "seed": [1, 2]})
    result = sweep(config, tmp_path / "sweep")
    assert statuses(result.records) == ["finished", "finished", "failed", "failed"]
    for name, text in result.failures.items():
        checkpoint = tmp_path / "sweep" / name / "checkpoint.safetensors"
        assert f"the last good checkpoint is kept in {checkpoint}" in text
        assert checkpoint.exists()
    assert set(result.failures) == {record.name for record in result.records[2:]}
    handed_in = len(workers.tasks)
    assert resume_sweep(tmp_path / "sweep").records == result.records
    assert len(workers.tasks) == handed_in


def test_a_worker_that_dies_costs_at_most_the_cell_that_it_dies_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small(grid={"seed": [1, 2, 3, 4]}, retries=2)
    bad = sweep_cells(config)[1].name
    workers = use(InlineWorkers(lost=lambda task: bad in task.cells), monkeypatch)
    result = sweep(config, tmp_path / "sweep")
    assert statuses(result.records) == ["finished", "lost", "finished", "finished"]
    assert result.failures == {bad: "its worker ended: on purpose"}
    assert workers.names().count([bad]) == 3, "once, and two retries"
    again = use(InlineWorkers(), monkeypatch)
    resumed = resume_sweep(tmp_path / "sweep")
    assert again.names() == [[bad]]
    assert statuses(resumed.records) == ["finished"] * 4
    assert resumed.failures == {}


def test_a_cell_with_a_damaged_checkpoint_is_lost_and_the_others_go_on(
    workers: InlineWorkers, tmp_path: Path
) -> None:
    config = small(grid={"seed": [1, 2, 3, 4]})
    result = sweep(config, tmp_path / "sweep")
    for record in result.records:
        (tmp_path / "sweep" / record.name / "records.jsonl").unlink()
    bad = tmp_path / "sweep" / result.records[0].name
    (bad / "checkpoint.safetensors").write_bytes(b"none")
    resumed = resume_sweep(tmp_path / "sweep")
    assert statuses(resumed.records) == ["lost", "finished", "finished", "finished"]
    assert "cannot read the checkpoint" in resumed.failures[bad.name]
    assert [r.bins for r in resumed.records[1:]] == [r.bins for r in result.records[1:]]


def test_a_sweep_grows_and_finished_cells_are_only_read(
    workers: InlineWorkers, tmp_path: Path
) -> None:
    path = tmp_path / "sweep"
    first = sweep(small(grid={"seed": [1, 2]}), path)
    written = {p: p.stat().st_mtime_ns for p in path.glob("*/checkpoint.safetensors")}
    workers.tasks.clear()
    larger = small(grid={"seed": [3, 2, 1], "training.steps": [12, 13]})
    grown = resume_sweep(path, larger)
    before = {record.name for record in first.records}
    assert sorted(chain(*workers.names())) == sorted({r.name for r in grown.records} - before)
    assert {p: p.stat().st_mtime_ns for p in written} == written
    assert len(grown.records) == len(query(path, "SELECT * FROM cells")) == 6
    assert sweep_config(RunDirectory.open(path).config_table()) == larger
    with pytest.raises(RunDirectoryError, match=r"another sweep: 4 of its 6 cells .* own for this"):
        resume_sweep(path, small(grid={"seed": [1, 2, 4]}))
    assert sweep_config(RunDirectory.open(path).config_table()) == larger


def test_what_a_kill_left_half_made_is_not_taken_for_a_cell(
    workers: InlineWorkers, tmp_path: Path
) -> None:
    path = tmp_path / "sweep"
    result = sweep(small(grid={"seed": [1]}), path)
    name = result.records[0].name
    (path / name).rename(path / f".{name}.x1y2z3")
    resumed = resume_sweep(path)
    assert [record.name for record in resumed.records] == [name]
    assert (path / name / "records.jsonl").exists()


def test_a_probe_that_ran_alone_is_taken_up(workers: InlineWorkers, tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    sweep(small(grid={"seed": [1]}), path)
    workers.tasks.clear()
    alone = probe(probe_config({**PROBE, "seed": 2}), path / "mine")
    grown = resume_sweep(path, small(grid={"seed": [1, 2]}))
    assert workers.tasks == []
    assert [record.name for record in grown.records][1] == "mine"
    assert grown.records[1].bins == [r for r in alone.records if isinstance(r, BinRecord)]


def test_a_cell_that_takes_too_long_keeps_its_checkpoint_and_goes_on_when_it_may(
    workers: InlineWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sweep(small(), tmp_path / "whole")
    # The share of a cell of two is a second after four steps of the fleet, of a look each.
    clock = (step / 4 for step in range(10**9))
    monkeypatch.setattr("statespan.jobs.sweep_watch.monotonic", lambda: next(clock))
    path = tmp_path / "sweep"
    stopped = sweep(small(limit_minutes=0.05), path)
    assert statuses(stopped.records) == ["stopped", "stopped"]
    for record in stopped.records:
        assert record.failure is not None
        assert "its last checkpoint is kept, and a larger limit_minutes" in record.failure
        assert (path / record.name / "checkpoint.safetensors").exists()
        assert record.bins == []
        assert record.seconds >= 3
    workers.tasks.clear()
    assert resume_sweep(path).records == stopped.records
    assert workers.tasks == []
    longer = resume_sweep(path, small(limit_minutes=60))
    assert [record.bins for record in longer.records] == [record.bins for record in whole.records]
    assert all(r.seconds > s.seconds for r, s in zip(longer.records, stopped.records, strict=True))


def test_a_watch_stops_the_one_that_has_had_its_time() -> None:
    heard: list[tuple[str, str, int, int, bool]] = []
    watch = Watch({"a": -1.0, "b": 1e9}, lambda *words: heard.append(words))
    watch.show("b", "training", 5, 9, "")
    watch.show("a", "measuring", 1, 9, "")
    watch.show("a", "training", 9, 9, "")
    with pytest.raises(TimeLimitError, match="its time was over at step 1,000 of 2,000"):
        watch.show("a", "training", 1000, 2000, "")
    assert watch.stopped == {"a"}
    assert [words[:3] for words in heard][:2] == [("b", "training", 5), ("a", "measuring", 1)]


@pytest.mark.parametrize("full_at", ["cell.jsonl", "results", "checkpoint"])
def test_a_full_disk_stops_a_sweep_that_can_be_resumed(
    full_at: str, workers: InlineWorkers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = sweep(small(), tmp_path / "whole")
    path = tmp_path / "sweep"
    with monkeypatch.context() as patch:
        fill_disk(full_at, patch)
        if full_at == "checkpoint":  # met by a worker: whoever can write goes on
            lost = sweep(small(retries=0), path)
            assert statuses(lost.records) == ["lost", "lost"]
            assert all("the disk is full" in text for text in lost.failures.values())
        else:
            with pytest.raises(StorageError, match=r"disk is full|disk I/O"):
                sweep(small(), path)
            assert not (path / "records.jsonl").exists()
    use(InlineWorkers(), monkeypatch)
    resumed = resume_sweep(path)
    assert [record.bins for record in resumed.records] == [r.bins for r in whole.records]
    assert statuses(resumed.records) == ["finished", "finished"]


def fill_disk(full_at: str, patch: pytest.MonkeyPatch) -> None:
    """Have no space left for one kind of file, after the first of it."""
    import os

    from statespan.records import storage

    if full_at == "results":
        patch.setattr("statespan.records.results_store._insert", no_space)
        return
    writes = 0
    fsync = os.fsync

    def full(descriptor: int) -> None:
        nonlocal writes
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        writes += full_at in name
        if full_at in name and writes > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    patch.setattr(storage.os, "fsync", full)


def no_space(connection: sqlite3.Connection, table: str, values: Any) -> None:
    raise sqlite3.OperationalError("database or disk is full")


def test_a_results_file_that_is_lost_or_damaged_is_made_again(
    workers: InlineWorkers, tmp_path: Path
) -> None:
    path = tmp_path / "sweep"
    result = sweep(small(), path)
    rows = query(path, "SELECT * FROM cells")
    for damage in (b"", b"no database", None):
        result.results.unlink()
        if damage is not None:
            result.results.write_bytes(damage)
        (path / "records.jsonl").unlink()
        assert resume_sweep(path).records == result.records
        assert query(path, "SELECT * FROM cells") == rows


def test_records_and_configs_of_another_version_are_named(
    workers: InlineWorkers, tmp_path: Path
) -> None:
    path = tmp_path / "sweep"
    result = sweep(small(), path)
    own = path / result.records[0].name
    kept = {file: file.read_bytes() for file in own.iterdir() if file.is_file()}
    (own / "records.jsonl").write_text(json.dumps({"kind": "bin", "lower": 1}) + "\n")
    with pytest.raises(StorageError, match=rf"line 1 of {own / 'records.jsonl'} is no record"):
        resume_sweep(path)
    (own / "records.jsonl").write_bytes(kept[own / "records.jsonl"])
    (own / "config.toml").write_text("colour = 3\n")
    with pytest.raises(RunDirectoryError, match=rf"{own} is no run that this version.*'colour'"):
        resume_sweep(path)
    (own / "config.toml").write_bytes(kept[own / "config.toml"])
    assert resume_sweep(path).records == result.records
    assert {file: file.read_bytes() for file in kept} == kept


def test_two_sweeps_never_share_a_folder(workers: InlineWorkers, tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    sweep(small(), path)
    with pytest.raises(RunDirectoryError, match=r"is not empty.*--resume"):
        sweep(small(grid={"seed": [7, 8]}), path)
    with (
        RunDirectory.open(path).lock(),
        pytest.raises(RunDirectoryError, match="another process is at work"),
    ):
        resume_sweep(path)
    run = probe(probe_config(PROBE), tmp_path / "probe")
    with pytest.raises(RunDirectoryError, match="holds no sweep, but another run"):
        resume_sweep(run.directory)
    with pytest.raises(RunDirectoryError, match="holds no run"):
        resume_sweep(tmp_path)


def test_what_cannot_be_swept_leaves_no_folder(workers: InlineWorkers, tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    words = {"cases": [{"data.bins": [[2, 4], [5, 5]]}, {"data.bins": [[2, 2], [3, 3]]}]}
    with pytest.raises(LengthError, match="no word of aa-star has length"):
        sweep(small(grid={"language": ["aa-star"]}, **words), path)
    with pytest.raises(ConfigError, match="heads"):
        sweep(small(grid={"model.heads": [3]}), path)
    assert list(tmp_path.iterdir()) == []
    sweep(small(grid={"seed": [1]}), path)
    kept = (path / "config.toml").read_bytes()
    with pytest.raises(LengthError, match="no word of aaa has length"):
        resume_sweep(path, small(grid={"language": ["d-2", "aaa"], "seed": [1]}))
    assert (path / "config.toml").read_bytes() == kept


def test_an_automaton_beside_the_config_is_kept_with_each_cell(
    workers: InlineWorkers, tmp_path: Path
) -> None:
    automaton = {
        "alphabet": ["a", "b"],
        "start": 0,
        "accepting": [0],
        "transitions": [[0, "a", 1], [1, "a", 0], [0, "b", 0], [1, "b", 1]],
    }
    (tmp_path / "even.json").write_text(json.dumps(automaton))
    grid = {"language": ["even.json", "d-2"]}
    result = sweep(small(grid=grid, folder=str(tmp_path)), tmp_path / "sweep")
    (tmp_path / "even.json").unlink()
    (tmp_path / "sweep" / result.records[0].name / "records.jsonl").unlink()
    assert [r.bins for r in resume_sweep(tmp_path / "sweep").records] == [
        r.bins for r in result.records
    ]


def test_without_ray_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("statespan.jobs.sweep_ray.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"'ray'.*pip install 'statespan\[sweep\]'"):
        sweep(small(), tmp_path / "sweep")
    assert list(tmp_path.iterdir()) == []


def test_progress_grows_to_the_end_and_counts_the_cells(
    workers: InlineWorkers, tmp_path: Path
) -> None:
    shown: list[tuple[int, str]] = []
    config = small(grid={"seed": [1, 2], "training.learning_rate": [1e-3, 1e30]})
    sweep(
        config,
        tmp_path / "sweep",
        progress=lambda stage, done, total, remark: shown.append((done, remark)),
    )
    percents = [percent for percent, _ in shown]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert shown[-1][1].startswith("2 of 4 cells done, 0 running, 2 failed or stopped, about 0 s")


def test_a_report_reads_a_sweep_that_is_whole_and_one_that_is_not(
    workers: InlineWorkers, tmp_path: Path
) -> None:
    path = tmp_path / "sweep"
    result = sweep(small(grid={"training.learning_rate": [1e-3, 1e30], "seed": [1, 2]}), path)
    page = tmp_path / "page.html"
    found = report([path], page)
    assert (found.runs, found.unfinished) == (1 + 2, [])
    text = page.read_text("utf-8")
    assert f"statespan sweep {path / 'config.toml'}" in text
    assert "training.learning_rate" in text
    assert "failed" in text
    (path / "records.jsonl").unlink()
    failed = sorted(path / record.name for record in result.records[2:])
    found = report([path], page)
    assert (found.runs, sorted(found.unfinished)) == (2, failed)


def test_a_cell_is_resumed_by_probe_as_well(workers: InlineWorkers, tmp_path: Path) -> None:
    path = tmp_path / "sweep"
    result = sweep(small(), path)
    own = path / result.records[0].name
    (own / "records.jsonl").unlink()
    found = resume_probe(own)
    assert [r for r in found.records if isinstance(r, BinRecord)] == result.records[0].bins
    assert tomllib.loads((own / "config.toml").read_text())["seed"] == 1


def test_files_from_elsewhere_are_in_order_for_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is there before the checkpoint that covers it, and the records come last."""
    from statespan.jobs import sweep_directory

    written: list[str] = []
    monkeypatch.setattr(
        sweep_directory, "write_atomically", lambda path, content: written.append(path.name)
    )
    names = ["checkpoint.safetensors", "records.jsonl", "training.jsonl", "model/readout.json"]
    sweep_directory.write_files(tmp_path, dict.fromkeys(names, b""))
    assert written == ["training.jsonl", "checkpoint.safetensors", "readout.json", "records.jsonl"]
