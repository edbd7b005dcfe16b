"""A model is extended: from end to end, resumed exactly, and refused where it cannot be."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from statespan.errors import (
    AdapterError,
    ConfigError,
    InputError,
    LengthError,
    MissingExtraError,
    RunDirectoryError,
    StorageError,
    TrainingError,
    UnknownNameError,
)
from statespan.jobs import extend, extend_config, launch_config, resume_extend
from statespan.pretrained import attention_setting
from statespan.records import (
    ExtensionRecord,
    PerplexityRecord,
    RunDirectory,
    TokensRecord,
    write_toml,
)

sys.path.insert(0, str(Path(__file__).parent))
from extend_inputs import FAMILIES, table, write_model, write_text

SCRIPT = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from statespan.jobs import extend, extend_config, resume_extend
config, path = json.loads(sys.argv[1]), Path(sys.argv[2])
resume_extend(path) if path.exists() else extend(extend_config(config), path)
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    made = {name: write_model(folder / name, name) for name in FAMILIES}
    return {**made, "text": write_text(folder / "text")}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    import transformers

    transformers.logging.disable_progress_bar()
    yield
    transformers.logging.enable_progress_bar()


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoint.safetensors")


def assert_same_weights(first: Path, second: Path) -> None:
    one, two = weights(first), weights(second)
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


@pytest.fixture(scope="module")
def finished(inputs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "run"
    extend(extend_config(table(inputs["bamba"], inputs["text"])), path)
    return path


def test_a_run_ends_in_an_adapter_a_model_pictures_and_a_page(
    finished: Path, inputs: dict[str, Path]
) -> None:
    result = resume_extend(finished)  # finished: only read
    run, *measured = result.records
    assert isinstance(run, ExtensionRecord)
    assert (run.context, run.length, run.steps, run.tokens, run.packed) == (16, 64, 4, 512, True)
    found = [(r.attention, r.length) for r in measured if isinstance(r, PerplexityRecord)]
    stages = ("full, before", "full, after", "span, after")
    assert sorted(found) == sorted((stage, length) for stage in stages for length in (32, 64))
    assert result.pictures == [finished / "perplexity.png"]
    page = (finished / "report.html").read_text("utf-8")
    assert "full, before" in page
    assert "data:image/png" in page
    for folder in (finished / "adapter", finished / "model"):
        card = (folder / "README.md").read_text("utf-8")
        assert "| perplexity | span, after |" in card
    log = RunDirectory.open(finished).read_records("training.jsonl")
    assert [r.step for r in log if isinstance(r, TokensRecord)] == [2, 4]


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")  # PEFT reads it
def test_the_adapter_and_the_model_are_plain_and_compute_the_same(
    finished: Path, inputs: dict[str, Path]
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ids = torch.arange(3, 14)[None]
    with torch.no_grad(), torch.random.fork_rng():
        base = AutoModelForCausalLM.from_pretrained(inputs["bamba"])
        before = base(ids).logits
        adapted = PeftModel.from_pretrained(base, finished / "adapter")(ids).logits
        model = AutoModelForCausalLM.from_pretrained(finished / "model")
        merged = model(ids).logits
    torch.testing.assert_close(adapted, merged, rtol=1e-4, atol=1e-5)
    assert (merged - before).abs().max() > 1e-3
    assert model.config.max_position_embeddings == 64
    assert attention_setting(model).steps == 4
    assert len(AutoTokenizer.from_pretrained(finished / "model")) == 14


def test_positions_are_stretched_in_what_is_saved(inputs: dict[str, Path], tmp_path: Path) -> None:
    extend(extend_config(table(inputs["llama"], inputs["text"])), tmp_path / "run")
    for folder in ("adapter", "model"):
        config = json.loads((tmp_path / "run" / folder / "config.json").read_text("utf-8"))
        assert config["rope_parameters"]["rope_type"] == "linear"
        assert config["rope_parameters"]["factor"] == 4.0
        assert config["max_position_embeddings"] == 64


@pytest.mark.parametrize(
    ("method", "attention"),
    [("full", "full"), ("lora", "sliding"), ("lora+", "s2"), ("hylora", "moba")],
)
def test_methods_and_attentions_train(
    method: str, attention: str, inputs: dict[str, Path], tmp_path: Path
) -> None:
    config = table(inputs["bamba"], inputs["text"], method=method, train_attention=attention)
    config["evaluation"] = {**config["evaluation"], "attention": ["full"], "lengths": [32]}
    config["training"] = {**config["training"], "steps": 1, "gradient_checkpointing": True}
    result = extend(extend_config(config), tmp_path / "run")
    assert (result.adapter is None) == (method == "full")
    trained = [name for name in weights(tmp_path / "run") if name.startswith("model.")]
    assert any("conv1d" in name for name in trained) == (method in ("full", "hylora"))
    assert any("norm" in name for name in trained) == (method != "lora")


def test_what_was_before_is_measured_unless_it_is_not_asked_for(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    config = table(inputs["bamba"], inputs["text"], measure_before=False, merge=False)
    config["training"] = {**config["training"], "steps": 1}
    result = extend(extend_config(config), tmp_path / "run")
    measured = {r.attention for r in result.records if isinstance(r, PerplexityRecord)}
    assert measured == {"full, after", "span, after"}
    assert not (tmp_path / "run" / "before").exists()


def stop_after(step: int, within: str = "training") -> Any:
    def progress(stage: str, done: int, total: int, remark: str) -> None:
        del total, remark
        if stage == within and done == step:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize(
    ("stage", "step"),
    [
        pytest.param("measuring before", 1, marks=pytest.mark.slow),
        pytest.param("training", 1, marks=pytest.mark.slow),
        ("training", 3),
        pytest.param("measuring after", 2, marks=pytest.mark.slow),
    ],
)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(
    stage: str, step: int, finished: Path, inputs: dict[str, Path], tmp_path: Path
) -> None:
    config = extend_config(table(inputs["bamba"], inputs["text"]))
    with pytest.raises(KeyboardInterrupt):
        extend(config, tmp_path / "run", progress=stop_after(step, stage))
    assert not (tmp_path / "run/model").exists()
    result = resume_extend(tmp_path / "run")
    assert_same_weights(tmp_path / "run", finished)
    assert result.records == resume_extend(finished).records
    for name in ("adapter_model.safetensors", "config.json"):
        one, two = (path / "adapter" / name for path in (tmp_path / "run", finished))
        assert one.read_bytes() == two.read_bytes()
    log = RunDirectory.open(tmp_path / "run").read_records("training.jsonl")
    assert [record.step for record in log if isinstance(record, TokensRecord)] == [2, 4]


def test_a_run_with_rows_that_ask_for_recall_goes_on_as_if_it_had_not_been(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    novel = resources.files("statespan") / "assets/novels/moby-dick.txt"
    (tmp_path / "novel.txt").write_text(novel.read_text("utf-8")[:60_000], "utf-8")
    settings = table(inputs["bamba"], tmp_path / "novel.txt")
    settings |= {"length": 256, "recall": {"share": 0.5, "kinds": {"key-value": 1.0}}}
    config = extend_config(settings)
    whole = extend(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        extend(config, tmp_path / "run", progress=stop_after(3))
    resumed = resume_extend(tmp_path / "run")
    assert resumed.records == whole.records
    assert_same_weights(tmp_path / "run", tmp_path / "whole")
    run = resumed.records[0]
    assert isinstance(run, ExtensionRecord)
    assert run.recall == 0.5
    assert "50% of the rows" in (tmp_path / "run/adapter/README.md").read_text("utf-8")


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    config = table(inputs["bamba"], inputs["text"])
    config["training"] |= {"steps": 60, "checkpoint_every": 5}
    extend(extend_config(config), tmp_path / "whole")
    command = [sys.executable, "-c", SCRIPT, json.dumps(config), str(tmp_path / "run")]
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    log = tmp_path / "run/training.jsonl"
    end = time.monotonic() + 120
    while not (log.exists() and log.read_bytes().count(b"\n") >= 3):
        assert time.monotonic() < end
        assert running.poll() is None
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not (tmp_path / "run/records.jsonl").exists()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_parts_of_a_step_add_up_to_it(inputs: dict[str, Path], tmp_path: Path) -> None:
    for name, size in (("parts", 1), ("whole", 2)):
        config = table(inputs["bamba"], inputs["text"])
        config["training"] |= {"batch_size": size, "steps": 2}
        config["evaluation"] |= {"attention": ["full"], "lengths": [32]}
        extend(extend_config(config), tmp_path / name)
    one, two = weights(tmp_path / "parts"), weights(tmp_path / "whole")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_two_processes_that_share_the_weights_train_as_one_does(
    finished: Path, inputs: dict[str, Path], tmp_path: Path
) -> None:
    write_toml(tmp_path / "run.toml", table(inputs["bamba"], inputs["text"]))
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(launch_config("fsdp2"))]
    command = [sys.executable, *launch, "--num_processes", "2", "--main_process_port", "0"]
    command += ["-m", "statespan", "extend", str(tmp_path / "run.toml")]
    command += ["--output", str(tmp_path / "run"), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["records"][0]["steps"] == 4
    assert done.stderr.count("training: 4/4") == 1
    one, two = weights(finished), weights(tmp_path / "run")
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-2, atol=2e-4)


def refused(
    inputs: dict[str, Path],
    error: type[Exception],
    match: str,
    family: str = "bamba",
    **changes: Any,
) -> None:
    config = table(inputs[family], inputs["text"])
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (config[section] if section else config)[name or key] = value
    path = inputs["text"].parent / "never"
    with pytest.raises(error, match=match):
        extend(extend_config(config), path)
    assert not path.exists()


def test_what_cannot_be_is_refused_before_anything_is_written(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    missing, short, foreign = tmp_path / "none", tmp_path / "short", tmp_path / "foreign"
    write_text(short, words=36)
    foreign.mkdir()
    (foreign / "a.txt").write_bytes(b"the sea\n" * 400 + b"\xe9t\xe9")
    refused(
        inputs, ConfigError, "more than the 16 tokens that bamba was made for, got 16", length=16
    )
    refused(inputs, LengthError, "64 tokens or more, got 2 files", text=str(short))
    refused(inputs, InputError, "is not UTF-8", text=str(foreign), length=2_000)
    refused(inputs, InputError, "the text .* is not there", text=str(missing))
    refused(inputs, InputError, "there is no folder", model=str(missing))
    refused(inputs, InputError, "no attention", family="mamba")
    refused(inputs, UnknownNameError, "Did you mean span", train_attention="spam")
    refused(inputs, ConfigError, "block must divide chunk", attentions={"span": {"chunk": 15}})
    refused(inputs, ConfigError, "unknown key 'stepz'.*Did you mean steps", training__stepz=1)
    refused(inputs, ConfigError, "training: |training", training__learning_rate=0)
    refused(inputs, UnknownNameError, "suite", evaluation__suite=["perplexities"])
    refused(inputs, ConfigError, "unknown tracker 'tensorbord'", training__trackers=["tensorbord"])
    refused(inputs, MissingExtraError, "swanlab", training__trackers=["swanlab"])


def test_a_tokenizer_of_another_model_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    small = write_model(tmp_path / "small", vocab_size=7, pad_token_id=0, eos_token_id=1)
    with pytest.raises(InputError, match="the tokenizer does not match small"):
        extend(extend_config(table(small, inputs["text"])), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_directory_is_never_written_over(finished: Path, inputs: dict[str, Path]) -> None:
    before = sorted(finished.rglob("*"))
    with pytest.raises(RunDirectoryError, match=r"is not empty.*--resume"):
        extend(extend_config(table(inputs["bamba"], inputs["text"])), finished)
    assert sorted(finished.rglob("*")) == before
    with pytest.raises(RunDirectoryError, match="holds no run"):
        resume_extend(inputs["text"])


def stopped(inputs: dict[str, Path], path: Path) -> Path:
    with pytest.raises(KeyboardInterrupt):
        extend(extend_config(table(inputs["bamba"], inputs["text"])), path, progress=stop_after(3))
    return path


def test_a_checkpoint_that_is_corrupt_or_of_another_model_is_told(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    path = stopped(inputs, tmp_path / "run")
    checkpoint = path / "checkpoint.safetensors"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:100])
    with pytest.raises(StorageError, match="cannot read the checkpoint"):
        resume_extend(path)
    assert checkpoint.read_bytes() == whole[:100]
    config = (path / "config.toml").read_text("utf-8")
    checkpoint.write_bytes(whole)
    (path / "config.toml").write_text(config.replace("rank = 8", "rank = 4"), "utf-8")
    with pytest.raises(StorageError, match=r"is of another model: .* has the shape"):
        resume_extend(path)
    (path / "config.toml").write_text(config.replace('"hylora"', '"lora"'), "utf-8")
    with pytest.raises(StorageError, match=r"is of another model: .* is only in it"):
        resume_extend(path)


def test_changed_text_is_told(inputs: dict[str, Path], tmp_path: Path) -> None:
    text = write_text(tmp_path / "text")
    path = stopped({**inputs, "text": text}, tmp_path / "run")
    old = (text / "0.txt").read_text("utf-8")
    for changed in ("the sea " * 400, old.replace("sea", "cow", 1)):
        (text / "0.txt").write_text(changed, "utf-8")
        with pytest.raises(InputError, match="has changed since the run"):
            resume_extend(path)
    (text / "0.txt").write_text(old, "utf-8")
    assert resume_extend(path).model is not None


def test_text_that_is_not_utf_8_is_told_before_training_though_it_is_read_late(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    text = write_text(tmp_path / "text", files=9)
    for number in range(9):
        whole = (text / f"{number}.txt").read_bytes()
        (text / f"{number}.txt").write_bytes(whole + b"\xe9t\xe9")
        with pytest.raises(InputError, match=f"{number}.txt is not UTF-8"):
            extend(extend_config(table(inputs["bamba"], text)), tmp_path / "run")
        (text / f"{number}.txt").write_bytes(whole)
    assert not (tmp_path / "run").exists()


def test_what_has_no_room_in_the_length_is_left_out_or_refused_before_training(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    config = table(inputs["bamba"], inputs["text"])
    config["evaluation"] |= {"suite": ["ruler"]}  # of 32 and 64 tokens
    with pytest.raises(LengthError, match="at least 256 tokens for RULER"):
        extend(extend_config(config), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    del config["evaluation"]["suite"]
    found = extend(extend_config(config), tmp_path / "run")
    kinds = {type(record).__name__ for record in found.records}
    assert "PerplexityRecord" in kinds
    assert "RulerRecord" not in kinds


def test_a_full_disk_keeps_the_checkpoint_before(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from statespan.training import trainable_state

    path, written = tmp_path / "run", trainable_state.write_atomically

    def full(file: Path, content: bytes) -> None:
        if file.exists():
            from statespan.records.storage import storage_error

            raise storage_error(file, "write", OSError(errno.ENOSPC, "full"))
        written(file, content)

    monkeypatch.setattr(trainable_state, "write_atomically", full)
    with pytest.raises(StorageError, match=r"disk is full.*--resume"):
        extend(extend_config(table(inputs["bamba"], inputs["text"])), path)
    monkeypatch.undo()
    assert resume_extend(path).model is not None


def test_a_disk_that_is_full_when_the_model_is_saved_leaves_nothing_half(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What safetensors says of a full disk was seen on one."""
    from statespan.jobs import extend_saving

    def full(file: Path, content: bytes) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    path = tmp_path / "run"
    monkeypatch.setattr(extend_saving, "write_atomically", full)
    with pytest.raises(StorageError, match=r"disk is full.*--resume"):
        extend(extend_config(table(inputs["bamba"], inputs["text"])), path)
    assert not list(path.glob("*.partial"))
    assert not list(path.glob(".*.partial"))
    monkeypatch.undo()
    assert resume_extend(path).model is not None


def test_a_loss_that_is_not_finite_ends_the_run(inputs: dict[str, Path], tmp_path: Path) -> None:
    config = table(inputs["bamba"], inputs["text"])
    config["training"] |= {"learning_rate": 1e30, "warmup": 0, "clip": 0.0}
    with pytest.raises(TrainingError, match=r"last good checkpoint|checkpoint before it"):
        extend(extend_config(config), tmp_path / "run")
    assert (tmp_path / "run/checkpoint.safetensors").exists()


def test_what_does_not_train_is_an_error(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from statespan.jobs import extend_model

    adapt = extend_model.adapt

    def frozen(*args: Any, **kwargs: Any) -> Any:
        model = adapt(*args, **kwargs)
        for name, weight in model.named_parameters():
            weight.requires_grad_(weight.requires_grad and "conv1d" not in name)
        return model

    monkeypatch.setattr(extend_model, "adapt", frozen)
    with pytest.raises(AdapterError, match="that are to train do not"):
        extend(extend_config(table(inputs["bamba"], inputs["text"])), tmp_path / "run")
