"""`probe`, from a config to records, a picture and a model that opens elsewhere."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import statespan
from statespan.compiler.decomposition import decompose
from statespan.compiler.targets.mamba import mamba_weights
from statespan.compiler.targets.mamba2 import mamba2_weights
from statespan.compiler.weights import Weights, convert
from statespan.errors import (
    ConfigError,
    EmptyLanguageError,
    InputError,
    LengthError,
    RunDirectoryError,
    TrainingError,
)
from statespan.jobs import ProbeConfig, ProbeResult, probe, probe_config, resume_probe
from statespan.records import (
    BinRecord,
    EndRecord,
    LengthRecord,
    RecognitionRecord,
    RunDirectory,
    RunRecord,
    TrainingRecord,
)
from statespan.training import Vocabulary

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "published"

SMALL: dict[str, Any] = {
    "language": "d-2",
    "model": {"name": "mamba", "layers": 1, "d_model": 8},
    "data": {"bins": [[2, 10], [12, 16]], "train_words": 100, "test_words": 20},
    "training": {"steps": 12, "report_every": 4, "batch_size": 8},
    "evaluation": {"curve_lengths": 5, "curve_words": 4, "negatives": 6},
}


def small(**changes: Any) -> dict[str, Any]:
    return {**SMALL, **changes}


def losses(path: Path) -> list[float]:
    records = RunDirectory.open(path).read_records("training.jsonl")
    return [record.loss_sum for record in records if isinstance(record, TrainingRecord)]


def bins(result: ProbeResult) -> list[BinRecord]:
    return [record for record in result.records if isinstance(record, BinRecord)]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"model": {"name": "mamba2", "layers": 1, "d_model": 8, "head_dim": 4, "d_state": 4}},
        {"model": {"name": "lstm", "layers": 1, "d_model": 8}},
        {"model": {"name": "transformer", "d_model": 8, "heads": 2, "d_feedforward": 8}},
        {"training": {"steps": 4, "loss": "class-mse"}},
        {"training": {"steps": 4, "loss": "class-cross-entropy"}},
        {"language": "bounded-dyck:brackets=2,depth=3"},
        {"language": "(ab|c)*", "alphabet": ["a", "b", "c", "d"]},
        {"language": "word-problem:group=S_3,generators=adjacent"},
    ],
    ids=repr,
)
def test_every_kind_of_probe_leaves_a_whole_run(changes: dict[str, Any], tmp_path: Path) -> None:
    result = probe(probe_config(small(**changes)), tmp_path / "run")
    kinds = [type(record) for record in result.records]
    assert kinds.count(RunRecord) == 1
    assert kinds.count(BinRecord) == kinds.count(RecognitionRecord) == 2
    assert kinds.count(LengthRecord) > 0
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    *records, end = RunDirectory.open(tmp_path / "run").read_records("records.jsonl")
    assert (records, end) == (result.records, EndRecord(records=len(records)))
    assert losses(tmp_path / "run")


def test_the_same_config_gives_the_same_numbers_and_another_seed_others(tmp_path: Path) -> None:
    results = [
        probe(probe_config(small(seed=seed)), tmp_path / str(index))
        for index, seed in enumerate((1, 1, 2))
    ]
    assert losses(tmp_path / "0") == losses(tmp_path / "1") != losses(tmp_path / "2")
    assert results[0].records == results[1].records


def test_progress_goes_through_all_stages(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    probe(
        probe_config(SMALL),
        tmp_path / "run",
        progress=lambda stage, done, total, _: seen.append((stage, done, total)),
    )
    stages = list(dict.fromkeys(stage for stage, _, _ in seen))
    assert stages == ["drawing words", "training", "measuring"]
    assert [done for stage, done, _ in seen if stage == "training"] == list(range(1, 13))
    assert all(0 <= done <= total for _, done, total in seen)
    assert seen[-1][1] == seen[-1][2]


def test_a_finished_run_is_only_read(tmp_path: Path) -> None:
    result = probe(probe_config(SMALL), tmp_path / "run")
    before = (tmp_path / "run" / "checkpoint.safetensors").stat().st_mtime_ns
    stages: list[str] = []
    again = resume_probe(tmp_path / "run", progress=lambda stage, *_: stages.append(stage))
    assert again.records == result.records
    assert stages == []
    assert (tmp_path / "run" / "checkpoint.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("moment", ["training", "measuring"])
def test_a_run_that_was_killed_is_resumed_to_the_same_numbers(moment: str, tmp_path: Path) -> None:
    """A separate process is killed with SIGKILL in the middle, then resumed."""
    config = small(
        training={"steps": 60, "report_every": 5, "batch_size": 8},
        evaluation={"curve_lengths": 5, "curve_words": 4, "negatives": 0},
    )
    whole = probe(probe_config(config), tmp_path / "whole")
    script = f"""
import sys, time
from pathlib import Path
from statespan.jobs import probe, probe_config
def progress(stage, done, total, remark):
    if stage == {moment!r} and done >= total // 2:
        print("half", flush=True)
        time.sleep(60)
probe(probe_config({config!r}), Path(sys.argv[1]), progress=progress)
"""
    run = [sys.executable, "-c", script, str(tmp_path / "killed")]
    with subprocess.Popen(run, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "killed" / "records.jsonl").exists()
    resumed = resume_probe(tmp_path / "killed")
    assert resumed.records == whole.records
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def test_kills_at_arbitrary_moments_lose_nothing(tmp_path: Path) -> None:
    """Killed again and again a little later each time, the run still ends at its numbers."""
    config = small(
        training={"steps": 40, "report_every": 2, "batch_size": 8},
        evaluation={"curve_lengths": 3, "curve_words": 4, "negatives": 0},
    )
    whole = probe(probe_config(config), tmp_path / "whole")
    (tmp_path / "config.json").write_text(json.dumps(config))
    script = f"""
import json, sys
from pathlib import Path
from statespan.jobs import probe, probe_config, resume_probe
path = Path({str(tmp_path / "killed")!r})
print("ready", flush=True)
if path.exists():
    resume_probe(path)
else:
    probe(probe_config(json.loads(Path({str(tmp_path / "config.json")!r}).read_text())), path)
"""
    for attempt in range(4):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(0.05 + 0.15 * attempt)
            process.kill()
    if not (tmp_path / "killed").exists():
        probe(probe_config(config), tmp_path / "killed")
    resumed = resume_probe(tmp_path / "killed")
    assert resumed.records == whole.records
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def test_records_with_some_missing_are_measured_again(tmp_path: Path) -> None:
    result = probe(probe_config(SMALL), tmp_path / "run")
    path = tmp_path / "run" / "records.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    for damaged in (lines[:2], lines[1:], [*lines[:3], lines[3][:20]], [*lines[:4], *lines[5:]]):
        path.write_bytes(b"".join(damaged))
        assert resume_probe(tmp_path / "run").records == result.records
        assert path.read_bytes() == b"".join(lines)


def test_two_processes_never_write_into_one_run(tmp_path: Path) -> None:
    probe(probe_config(SMALL), tmp_path / "run")
    with (
        RunDirectory.open(tmp_path / "run").lock(),
        pytest.raises(RunDirectoryError, match="another process is at work"),
    ):
        resume_probe(tmp_path / "run")
    resume_probe(tmp_path / "run")


@pytest.mark.parametrize("language", ["($^$|b)*", "(a$_$)*|b*", "(<\\frac>|b)*"])
def test_a_language_of_any_symbols_is_drawn(language: str, tmp_path: Path) -> None:
    assert probe(probe_config(small(language=language)), tmp_path / "run").picture.exists()


def test_published_figures_stand_beside_their_own_language_only(tmp_path: Path) -> None:
    table = {
        "alphabet": ["x", "yy"],
        "start": 0,
        "accepting": [0],
        "transitions": [[0, "x", 0], [0, "yy", 0]],
    }
    (tmp_path / "d-2.json").write_text(json.dumps(table))
    config = small(language=str(tmp_path / "d-2.json"), data={"train_words": 60, "test_words": 9})
    result = probe(probe_config(config), tmp_path / "run")
    assert [(r.lower, r.upper) for r in bins(result)] == [(1, 50), (51, 100), (101, 150)]
    assert all(r.published is None and r.published_transformer is None for r in bins(result))


def test_learned_positions_that_do_not_reach_the_test_are_refused_at_once(tmp_path: Path) -> None:
    model = {"name": "transformer", "positions": "learned", "max_length": 16, "d_model": 8}
    with pytest.raises(ConfigError, match=r"max_length must reach .* 17 tokens, got 16"):
        probe(probe_config(small(model={**model, "heads": 2})), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_alphabet_is_for_expressions(tmp_path: Path) -> None:
    for language in ("parity", "automaton.json"):
        with pytest.raises(InputError, match="has its own"):
            probe(probe_config(small(language=language, alphabet=["0", "1"])), tmp_path / "run")


def test_a_loss_that_is_not_finite_leaves_a_run_that_can_be_read(tmp_path: Path) -> None:
    config = small(training={"steps": 50, "learning_rate": 1e30, "warmup": 0, "report_every": 1})
    with pytest.raises(TrainingError, match="checkpoint"):
        probe(probe_config(config), tmp_path / "run")
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()
    assert not (tmp_path / "run" / "records.jsonl").exists()


def test_what_cannot_be_probed_leaves_no_directory(tmp_path: Path) -> None:
    with pytest.raises(EmptyLanguageError, match="has no words"):
        probe(probe_config(small(language="a&b")), tmp_path / "run")
    with pytest.raises(LengthError, match="no word of aa-star has length 3"):
        probe(
            probe_config(small(language="aa-star", data={"bins": [[2, 2], [3, 3]]})),
            tmp_path / "run",
        )
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_something_in_it_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunDirectoryError, match="is not empty"):
        probe(probe_config(SMALL), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_automaton_is_kept_with_the_run(tmp_path: Path) -> None:
    table = {
        "alphabet": ["a", "b"],
        "start": 0,
        "accepting": [0],
        "transitions": [[0, "a", 1], [1, "a", 0], [0, "b", 0], [1, "b", 1]],
    }
    file = tmp_path / "even.json"
    file.write_text(json.dumps(table))
    result = probe(probe_config(small(language=str(file))), tmp_path / "run")
    file.unlink()
    (tmp_path / "run" / "records.jsonl").unlink()
    assert resume_probe(tmp_path / "run").records == result.records
    assert isinstance(result.records[0], RunRecord)
    assert result.records[0].language == "even"


def test_the_trained_model_opens_in_transformers_with_the_same_answers(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="a base dependency")
    config = small(training={"steps": 60, "learning_rate": 1e-2, "batch_size": 16})
    probe(probe_config(config), tmp_path / "run")
    with torch.random.fork_rng():
        model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    ids = (model.config.bos_token_id, model.config.eos_token_id, model.config.pad_token_id)
    assert ids == (0, 1, 2)
    language = statespan.language("d-2")
    vocabulary = Vocabulary(language.alphabet)
    with torch.no_grad():
        logits = model(torch.tensor([vocabulary.encode("aabbab")])).logits[0]
    answers = (logits[:, vocabulary.answer_ids] > 0).tolist()
    after_the_start = vocabulary.symbols(answers[0])
    assert after_the_start == language.next_symbols("")


def test_published_words_train_where_a_published_figure_stands(tmp_path: Path) -> None:
    for name, language, sampler in (("a", "d-2", "published"), ("b", "(ab)*", "uniform")):
        result = probe(probe_config(small(language=language)), tmp_path / name)
        assert isinstance(result.records[0], RunRecord)
        assert result.records[0].sampler == sampler


STARTED: dict[str, Any] = {**SMALL, "training": {"steps": 0}}
del STARTED["model"]


def write_compiled(folder: Path, weights: Weights, dtype: str) -> str:
    """Write a compiled checkpoint, as far as a probe looks at it."""
    folder.mkdir()
    save_file(convert(weights, dtype), folder / "model.safetensors", metadata={"format": "pt"})
    table = {**weights.config, "dtype": dtype, "statespan": {"alphabet": weights.alphabet}}
    (folder / "config.json").write_text(json.dumps(table))
    return str(folder)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("compiler", [mamba_weights, mamba2_weights])
@pytest.mark.parametrize("name", ["d-2", "tomita-4"])
def test_compiled_weights_that_are_not_trained_are_right(
    name: str, compiler: Any, dtype: str, tmp_path: Path
) -> None:
    weights = compiler(decompose(statespan.language(name).dfa()))
    folder = write_compiled(tmp_path / "compiled", weights, dtype)
    config = probe_config({**STARTED, "language": name, "initialize_from": folder})
    assert config.model.layers == weights.config["num_hidden_layers"]
    result = probe(config, tmp_path / "run")
    assert [record.accuracy for record in bins(result)] == [100.0, 100.0]
    for record in result.records:
        if isinstance(record, RecognitionRecord):
            assert (record.accepted, record.rejected) == (record.members, record.negatives)
    assert isinstance(result.records[0], RunRecord)
    assert result.records[0].steps == 0
    trained = load_file(tmp_path / "run" / "model" / "model.safetensors")
    for key, value in convert(weights, "float32").items():
        assert torch.equal(trained[key], value)


def test_compiled_weights_are_trained_and_resumed_without_their_folder(tmp_path: Path) -> None:
    weights = mamba_weights(decompose(statespan.language("d-2").dfa()))
    folder = write_compiled(tmp_path / "compiled", weights, "bfloat16")
    table = {**STARTED, "initialize_from": folder, "training": {**SMALL["training"], "warmup": 0}}
    result = probe(probe_config(table), tmp_path / "run")
    (tmp_path / "compiled" / "model.safetensors").unlink()
    (tmp_path / "compiled" / "config.json").unlink()
    for name in ("records.jsonl", "checkpoint.safetensors", "training.jsonl"):
        (tmp_path / "run" / name).unlink()
    before = load_file(tmp_path / "run" / "model" / "model.safetensors")
    again = resume_probe(tmp_path / "run")
    assert again.records == result.records
    after = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert all(torch.equal(after[key], value) for key, value in before.items())
    start = convert(weights, "float32")
    assert any(not torch.equal(after[key], value) for key, value in start.items())
    head = next(record for record in result.records if isinstance(record, RunRecord))
    assert (head.weights_from, head.is_compiled) == ("compiler", False)
    kept = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert kept["initialize_from"] == folder
    assert kept["model"]["d_model"] == weights.config["hidden_size"]


def test_a_probe_goes_on_from_the_model_of_another(tmp_path: Path) -> None:
    for model in ({"name": "lstm", "layers": 1, "d_model": 8}, {"name": "diagonal", "layers": 1}):
        place = tmp_path / str(model["name"])
        first = probe(probe_config(small(model=model)), place / "first")
        table = {**STARTED, "initialize_from": str(first.directory / "model"), "model": model}
        again = probe(probe_config(table), place / "again")
        assert bins(again) == bins(first)
        heads = [r.records[0] for r in (first, again)]
        assert [h.weights_from for h in heads if isinstance(h, RunRecord)] == ["random", "probe"]


def test_the_shell_finds_weights_from_where_it_stands_and_a_file_from_its_own_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from statespan.cli.probe import _read_settings

    (tmp_path / "inner").mkdir()
    file = tmp_path / "inner" / "run.toml"
    file.write_text('initialize_from = "../compiled"\n')
    monkeypatch.chdir(tmp_path)
    table = _read_settings(Path("inner/run.toml"), {}, [])
    assert table["initialize_from"] == str(tmp_path / "compiled")


def test_weights_of_another_model_alphabet_or_output_are_refused(tmp_path: Path) -> None:
    weights = mamba_weights(decompose(statespan.language("d-2").dfa()))
    folder = write_compiled(tmp_path / "compiled", weights, "float32")
    table = {**STARTED, "initialize_from": folder}
    width = weights.config["hidden_size"]
    for model, message in (
        ({"d_model": 48}, f"model.d_model is 48 in the config, but {width} in .*compiled"),
        ({"name": "lstm"}, "model.name is 'lstm' in the config, but 'mamba' in .*compiled"),
        ({"name": "lstm", "d_model": 3}, "model.name is 'lstm'"),
    ):
        with pytest.raises(ConfigError, match=message):
            probe_config({**table, "model": model})
    with pytest.raises(ConfigError, match=r"model.layers is 2 in the config"):
        probe(ProbeConfig(language="d-2", initialize_from=folder), tmp_path / "run")
    for changes, message in (
        ({"language": "parity"}, "are for the alphabet a b, but parity has 0 1"),
        ({"training": {"loss": "class-mse"}}, "needs a loss with one output a token"),
        ({"initialize_from": str(tmp_path / "nowhere")}, "must be a folder with weights"),
        ({"initialize_from": 3}, "initialize_from: Expected `str"),
    ):
        with pytest.raises(ConfigError, match=message):
            probe(probe_config({**table, **changes}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", sorted(path.stem for path in EXPERIMENTS.glob("*.toml")))
def test_the_published_result_is_reached(name: str, tmp_path: Path) -> None:
    table = tomllib.loads((EXPERIMENTS / f"{name}.toml").read_text())
    result = probe(probe_config(table), tmp_path / "run")
    assert [record.accuracy for record in bins(result)] == [100.0, 100.0]
    assert all(record.seen == 0 and record.words >= 30 for record in bins(result))
