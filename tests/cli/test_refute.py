"""`statespan refute` and `statespan extract`, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from statespan.cli.app import app
from statespan.errors import InputError
from statespan.evaluation import open_predictor
from statespan.jobs import probe, probe_config
from statespan.languages import END, language_from_file, language_from_text


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probe of one step, which has learned nothing."""
    table = {
        "language": "(aa)*",
        "model": {"name": "lstm", "layers": 1, "d_model": 8},
        "data": {"bins": [[2, 8], [10, 12]], "train_words": 10, "test_words": 4},
        "training": {"steps": 1},
        "evaluation": {"curve_lengths": 0, "negatives": 0},
    }
    path = tmp_path_factory.mktemp("runs") / "run"
    probe(probe_config(table), path)
    return path


def invoke(*arguments: object) -> str:
    done = CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_a_probe_is_refuted_on_its_own_language(trained: Path) -> None:
    facts = json.loads(invoke("refute", trained, "--max-length", "60", "--json"))
    assert facts["language"] == "(aa)*"
    assert facts["refuted"]
    prefix, (sets,) = facts["prefix"], open_predictor(trained).predict(["a" * 60])
    expected = [{"a", END} if n % 2 == 0 else {"a"} for n in range(61)]
    assert len(prefix) == next(n for n in range(61) if sets[n] != expected[n])
    assert set(facts["predicted"]) == {str(symbol) for symbol in sets[len(prefix)]}
    lines = invoke("refute", trained, "(aa)*", "--max-length", "60").splitlines()
    assert lines[0].startswith("wrong on (aa)* after ")
    assert lines[0].endswith(f"({len(prefix)} symbols, the shortest there is)")
    assert "hidden counter: a again and again, modulo 2: wrong at" in lines[-1]


def test_an_automaton_is_extracted_that_every_verb_takes(trained: Path, tmp_path: Path) -> None:
    place = tmp_path / "learned.json"
    arguments = ("--max-states", "20", "--max-length", "20", "--out", place)
    facts = json.loads(invoke("extract", trained, *arguments, "--json"))
    learned = language_from_file(place)
    assert facts["states"] == learned.dfa().num_states
    assert not facts["equal"]
    differs = language_from_text("(aa)*").counterexample_to_equivalence(learned)
    assert len(facts["counterexample"]) == len(differs or "")
    assert f"automaton: {place}" in invoke("extract", trained, *arguments)
    assert json.loads(invoke("judge", place, "--json"))["states"] == facts["states"]


def test_a_folder_that_names_no_language_needs_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not say which language it is for: give LANGUAGE"):
        invoke("refute", tmp_path)
    with pytest.raises(InputError, match="no checkpoint of a probe and no compiled one"):
        invoke("refute", tmp_path, "parity")
