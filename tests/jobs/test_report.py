"""A report gathers runs where they lie, and tells what it cannot read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from statespan.errors import InputError, StorageError
from statespan.jobs import fleet_config, probe, probe_config, probe_fleet, report
from statespan.jobs.probe_stages import reopen_probe
from statespan.jobs.refutation import refute_run
from statespan.jobs.report import _verdicts
from statespan.records import BinRecord, RefutationRecord, RunDirectory
from statespan.report import Source

TABLE = {
    "language": "(aa)*",
    "model": {"name": "lstm", "layers": 1, "d_model": 8},
    "data": {"bins": [[2, 8], [10, 12]], "train_words": 10, "test_words": 4},
    "training": {"steps": 1},
    "evaluation": {"curve_lengths": 2, "negatives": 0},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    probe(probe_config(TABLE), folder / "one")
    probe_fleet(fleet_config({**TABLE, "seed": [0, 1]}), folder / "many", processes=1)
    return folder


def test_runs_are_found_in_folders_and_files(runs: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    whole = report([runs], page)
    assert (whole.page, whole.unfinished) == (page, [])
    text = page.read_text("utf-8")
    assert f"statespan probe {runs / 'one' / 'config.toml'}" in text
    assert f"statespan report {runs} --out {page}" in text.replace("&#39;", "'")
    assert report([runs / "one", runs / "one"], page).runs == 1
    records = runs / "one" / "records.jsonl"
    loose = tmp_path / "loose"
    loose.mkdir()
    (loose / "mine.jsonl").write_bytes(records.read_bytes())
    assert report([loose], page).runs == report([loose / "mine.jsonl"], page).runs == 1
    assert "mine" in page.read_text("utf-8")
    assert whole.runs == 1 + 1 + 2  # a probe, a fleet, and its members


def test_the_theory_stands_beside_the_measurement(runs: Path) -> None:
    records = runs / "one" / "records.jsonl"
    read = RunDirectory(records.parent).read_records(records.name)
    family = "nonlinear recurrence"
    verdicts = list(_verdicts([(records, Source("one", "", read), family)]))
    assert [(v.language, v.model, v.verdict) for v in verdicts] == [("(aa)*", "lstm", "yes")]


def test_a_refutation_is_of_one_run(runs: Path) -> None:
    with pytest.raises(InputError, match="many is a fleet: name one of its members"):
        reopen_probe(runs / "many")


def test_variants_of_one_architecture_have_verdicts_of_their_own(tmp_path: Path) -> None:
    for rate in (1, 2):
        model = {"name": "deltanet", "layers": 1, "d_model": 8, "heads": 1, "max_rate": rate}
        probe(probe_config({**TABLE, "language": "parity", "model": model}), tmp_path / str(rate))
    report([tmp_path], tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "deltanet (delta rule)" in text
    assert "deltanet (reflections)" in text
    report([tmp_path / "1"], tmp_path / "page.html")
    assert "deltanet (delta rule)" not in (tmp_path / "page.html").read_text("utf-8")


def test_what_is_not_finished_is_named(runs: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "config.toml").write_bytes((runs / "one" / "config.toml").read_bytes())
    result = report([runs / "one", begun], tmp_path / "page.html")
    assert (result.runs, result.unfinished) == (1, [begun])
    with pytest.raises(InputError, match=rf"no finished run in .*: {begun} is not finished"):
        report([begun], tmp_path / "none.html")
    assert not (tmp_path / "none.html").exists()


def test_wrong_places_and_records_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no run"):
        report([tmp_path / "absent"], tmp_path / "page.html")
    with pytest.raises(InputError, match="no finished run"):
        report([tmp_path], tmp_path / "page.html")
    older = tmp_path / "older.jsonl"
    older.write_text(json.dumps({"kind": "bin", "lower": 1}) + "\n")
    with pytest.raises(StorageError, match=r"older\.jsonl"):
        report([older], tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_a_model_that_is_right_against_the_theory_is_shown_to_err(tmp_path: Path) -> None:
    config = {
        **TABLE,
        "model": {"name": "mamba", "layers": 1, "d_model": 16},
        "data": {"bins": [[2, 6]], "train_words": 20, "test_words": 4},
        "training": {"steps": 400, "learning_rate": 1e-2, "batch_size": 4, "weight_decay": 0.0},
    }
    records = probe(probe_config(config), tmp_path / "run").records
    assert [r.accuracy for r in records if isinstance(r, BinRecord)] == [100]
    report([tmp_path / "run"], tmp_path / "page.html")
    (found,) = RunDirectory(tmp_path / "run").read_records("refutation.jsonl")
    assert isinstance(found, RefutationRecord)
    assert len(found.prefix) > 6
    assert set(found.prefix) == {"a"}
    assert f"errs after {len(found.prefix)} symbols" in (tmp_path / "page.html").read_text("utf-8")
    (tmp_path / "run/model/model.safetensors").unlink()  # what was found is only read
    report([tmp_path / "run"], tmp_path / "page.html")


def test_a_run_that_is_not_finished_is_not_refuted(runs: Path, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "config.toml").write_bytes((runs / "one" / "config.toml").read_bytes())
    with pytest.raises(InputError, match="must be a finished probe of a language"):
        refute_run(begun)
