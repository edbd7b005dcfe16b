"""`pretrain`, from a config and two folders of text to a model that opens elsewhere."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import one_hot
from transformers import AutoModelForCausalLM, AutoTokenizer

from statespan.errors import (
    ConfigError,
    InputError,
    LengthError,
    RunDirectoryError,
    StatespanError,
    StorageError,
    TrainingError,
    UnknownNameError,
)
from statespan.jobs import PretrainResult, pretrain, pretrain_config, resume_pretrain
from statespan.jobs.pretrain_measurement import measure_held_out
from statespan.records import (
    EndRecord,
    HeldOutRecord,
    PretrainingRecord,
    Record,
    RunDirectory,
    TokensRecord,
)
from statespan.training.documents import EncodedDocument

COLORS = ("amber", "brown", "cold", "dark", "empty")
PLACES = ("house", "river", "evening", "morning", "hill", "road", "tree", "wood", "field", "gate")
WORDS = [color + place for color in COLORS for place in PLACES]
TINY: dict[str, Any] = {
    "context": 128,
    "vocab_size": 300,
    "model": {
        "layers": 2,
        "attention_layers": [1],
        "d_model": 16,
        "d_feedforward": 16,
        "heads": 2,
        "key_value_heads": 1,
        "mixer_head_dim": 8,
        "d_state": 4,
    },
    "mixture": {"kinds": {"copying": 1, "key-value": 1}, "first_limit": 64},
    "training": {"steps": 6, "rows": 2, "report_every": 2, "measure_every": 2},
    "measurement": {"documents": 2},
}


@pytest.fixture
def texts(tmp_path: Path) -> dict[str, str]:
    """Return folders with a novel to train on, and with another one to measure on."""
    folders = {}
    for name in ("text", "validation"):
        folder = tmp_path / name
        folder.mkdir()
        folders[name] = str(folder)
        (folder / "novel.txt").write_text(novel(name), "utf-8")
    return folders


def novel(seed: str) -> str:
    rng = Random(seed)
    sentences = (" ".join(rng.choices(WORDS, k=rng.randint(4, 9))) for _ in range(400))
    return " ".join(f"{sentence.capitalize()}." for sentence in sentences)


def run(texts: dict[str, str], path: Path, **changes: Any) -> PretrainResult:
    return pretrain(pretrain_config({**TINY, **texts, **changes}), path)


def stop_training(steps_done: int) -> Any:
    def stop(stage: str, done: int, *_: Any) -> None:
        if stage == "training" and done == steps_done:
            raise KeyboardInterrupt

    return stop


def log(path: Path) -> list[tuple[Any, ...]]:
    """Return what was recorded on the way, but for the seconds."""
    return [
        (record.step, record.loss_sum, record.weight, record.learning_rate)
        if isinstance(record, TokensRecord)
        else (record,)
        for record in RunDirectory.open(path).read_records("training.jsonl")
    ]


def held_out(records: list[Record]) -> list[HeldOutRecord]:
    return [record for record in records if isinstance(record, HeldOutRecord)]


def test_a_run_leaves_records_a_picture_and_a_card(texts: dict[str, str], tmp_path: Path) -> None:
    result = run(texts, tmp_path / "run")
    first, *measured = result.records
    assert isinstance(first, PretrainingRecord)
    assert first.tokens == 6 * 2 * 128
    assert [record.document for record in held_out(measured)] == ["prose", "copying", "key-value"]
    assert all(record.step == 6 and record.documents == 2 for record in held_out(measured))
    *records, end = RunDirectory.open(result.directory).read_records("records.jsonl")
    assert (records, end) == (result.records, EndRecord(records=len(records)))
    kinds = [type(entry[0]) for entry in log(result.directory)]
    assert kinds.count(int) == 3
    assert kinds.count(HeldOutRecord) == 3
    assert result.picture.read_bytes().startswith(b"\x89PNG")
    assert (result.model / "loss.png").read_bytes() == result.picture.read_bytes()
    card = (result.model / "README.md").read_text("utf-8")
    assert f"{first.parameters:,} parameters" in card
    assert f"| key-value | 128 | {held_out(measured)[-1].loss:.3f} |" in card


def test_transformers_opens_the_model_and_it_says_what_was_measured(
    texts: dict[str, str], tmp_path: Path
) -> None:
    result = run(texts, tmp_path / "run")
    model = AutoModelForCausalLM.from_pretrained(result.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(result.model)
    text = "The old house was empty 1234.\nThey came home."
    ids = tokenizer(text, return_tensors="pt").input_ids
    assert tokenizer.decode(ids[0]) == text
    assert [tokenizer.decode(token) for token in tokenizer("1234").input_ids] == list("1234")
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert len(model.generate(ids, max_new_tokens=3, do_sample=False)[0]) >= ids.shape[1]
    stored = load_file(result.model / "model.safetensors")
    assert {value.dtype for value in stored.values()} == {torch.bfloat16}
    assert all((model.state_dict()[name] == value.float()).all() for name, value in stored.items())


def test_the_same_config_gives_the_same_numbers_and_another_seed_others(
    texts: dict[str, str], tmp_path: Path
) -> None:
    for name, seed in (("0", 1), ("1", 1), ("2", 2)):
        run(texts, tmp_path / name, seed=seed)
    assert log(tmp_path / "0") == log(tmp_path / "1") != log(tmp_path / "2")


@pytest.mark.parametrize("steps_done", [1, 3])
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    steps_done: int, texts: dict[str, str], tmp_path: Path
) -> None:
    whole = run(texts, tmp_path / "whole")

    config = pretrain_config({**TINY, **texts})
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "stopped", progress=stop_training(steps_done))
    assert resume_pretrain(tmp_path / "stopped").records == whole.records
    assert log(tmp_path / "stopped") == log(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["training", "measuring"])
def test_a_run_that_was_killed_is_resumed_to_the_same_model(
    moment: str, texts: dict[str, str], tmp_path: Path
) -> None:
    """A separate process is killed with SIGKILL in the middle, then resumed."""
    whole = run(texts, tmp_path / "whole")
    script = f"""
import sys, time
from pathlib import Path
from statespan.jobs import pretrain, pretrain_config
def progress(stage, done, total, remark):
    if stage == {moment!r} and done >= total // 2:
        print("half", flush=True)
        time.sleep(60)
pretrain(pretrain_config({ {**TINY, **texts}!r}), Path(sys.argv[1]), progress=progress)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "killed")]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"half\n"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "killed" / "records.jsonl").exists()
    resumed = resume_pretrain(tmp_path / "killed")
    assert resumed.records == whole.records
    assert log(tmp_path / "killed") == log(tmp_path / "whole")
    for name in ("model/model.safetensors", "checkpoint.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_run_goes_on_with_the_weights_of_another(texts: dict[str, str], tmp_path: Path) -> None:
    first = run(texts, tmp_path / "first")
    begin = {"initialize_from": str(first.model)}
    weights = (first.model / "model.safetensors").read_bytes()
    same = run(texts, tmp_path / "same", **begin, training={"steps": 0})
    assert (same.model / "model.safetensors").read_bytes() == weights

    # Once begun, it looks for nothing outside its directory.
    whole = run(texts, tmp_path / "whole", **begin)
    config = pretrain_config({**TINY, **texts, **begin})
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "stopped", progress=stop_training(3))
    first.model.rename(tmp_path / "moved")
    assert resume_pretrain(tmp_path / "stopped").records == whole.records
    assert log(tmp_path / "stopped") == log(tmp_path / "whole")
    assert (whole.model / "model.safetensors").read_bytes() != weights


def test_a_block_of_another_kind_begins_anew(texts: dict[str, str], tmp_path: Path) -> None:
    def weights(name: str, **changes: Any) -> dict[str, torch.Tensor]:
        model = run(texts, tmp_path / name, training={"steps": 0}, **changes).model
        return load_file(model / "model.safetensors")

    before = weights("before")  # its attention is block 1
    moved = {**TINY["model"], "attention_layers": [0]}
    new = weights("new", model=moved, seed=5)
    after = weights("after", model=moved, seed=5, initialize_from=str(tmp_path / "before/model"))
    assert after.keys() == new.keys()
    for name, weight in after.items():
        source = before if name in before else new
        assert torch.equal(weight, source[name]), name
    assert any(name not in before for name in after)


def test_a_model_that_cannot_be_gone_on_with_is_told(texts: dict[str, str], tmp_path: Path) -> None:
    model = run(texts, tmp_path / "first", training={"steps": 0}).model

    def refused(message: str, **changes: Any) -> None:
        with pytest.raises(StatespanError, match=message):
            run(texts, tmp_path / "run", **{"initialize_from": str(model), **changes})
        assert not (tmp_path / "run").exists()

    refused(
        "must be the folder of a model, got .*absent: no tokenizer.json", initialize_from="absent"
    )
    refused("vocab_size must be that of the model in .*, 300, got 280", vocab_size=280)
    refused(
        r"does not fit the model: .* is \(.*\), got \(",
        model={**TINY["model"], "d_feedforward": 32},
    )
    (model / "model.safetensors").write_bytes(b"no weights")
    refused("is no safetensors file")


def test_a_finished_run_is_only_read(texts: dict[str, str], tmp_path: Path) -> None:
    result = run(texts, tmp_path / "run")
    before = (result.model / "model.safetensors").stat().st_mtime_ns
    assert resume_pretrain(tmp_path / "run").records == result.records
    assert (result.model / "model.safetensors").stat().st_mtime_ns == before


def test_training_makes_the_loss_smaller(texts: dict[str, str], tmp_path: Path) -> None:
    changes = {"steps": 40, "rows": 4, "report_every": 20, "measure_every": 1, "warmup": 5}
    run(texts, tmp_path / "run", training=changes)
    prose = [
        entry[0].loss
        for entry in log(tmp_path / "run")
        if isinstance(entry[0], HeldOutRecord) and entry[0].document == "prose"
    ]
    assert prose[-1] < prose[0] - 0.1


def test_progress_says_how_fast_and_how_long(texts: dict[str, str], tmp_path: Path) -> None:
    seen: list[tuple[str, int, int, str]] = []
    config = pretrain_config({**TINY, **texts})
    pretrain(config, tmp_path / "run", progress=lambda *step: seen.append(step))
    steps = [(done, remark) for stage, done, _, remark in seen if stage == "training"]
    assert [done for done, _ in steps] == list(range(1, 7))
    assert all("tokens/s" in remark and "min left" in remark for _, remark in steps)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"text": "nowhere"}, InputError, "the folder of text nowhere is not there"),
        ({"mixture": {"kinds": {"copyin": 1}}}, UnknownNameError, "Did you mean copying?"),
        ({"mixture": {"prose": 0, "kinds": {}}}, ConfigError, "mixture.kinds needs"),
        ({"model": {"layers": 2, "attention_layers": [2]}}, ConfigError, "must be below"),
        ({"model": {"heads": 3}}, ConfigError, "model.heads must divide"),
        ({"vocab_size": 100}, ConfigError, "vocab_size"),
        ({"trainin": {}}, ConfigError, "Did you mean training?"),
        ({"measurement": {"lengths": [64]}, "mixture": {"kinds": {"needle": 1}}}, LengthError,
         "no document of the kind needle is as short as 64 tokens"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told_and_leaves_nothing(
    changes: dict[str, Any],
    error: type[Exception],
    message: str,
    texts: dict[str, str],
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=message):
        pretrain(pretrain_config({**TINY, **texts, **changes}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("missing", ["text", "validation"])
def test_a_folder_that_is_not_given_is_named(missing: str, texts: dict[str, str]) -> None:
    del texts[missing]
    with pytest.raises(ConfigError, match=f"needs {missing}, a folder"):
        pretrain_config({**TINY, **texts})


def test_measuring_on_the_training_text_is_refused(texts: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="another folder than text"):
        pretrain_config({**TINY, "text": texts["text"], "validation": texts["text"] + "/."})


def test_a_run_is_not_overwritten(texts: dict[str, str], tmp_path: Path) -> None:
    run(texts, tmp_path / "run")
    with pytest.raises(RunDirectoryError, match="is not empty"):
        run(texts, tmp_path / "run")


def test_text_that_changed_since_stops_a_resumed_run(texts: dict[str, str], tmp_path: Path) -> None:
    result = run(texts, tmp_path / "run")
    (result.directory / "records.jsonl").unlink()
    Path(texts["text"], "another.txt").write_text(novel("another"), "utf-8")
    with pytest.raises(InputError, match="has changed since"):
        resume_pretrain(result.directory)


def test_a_loss_that_is_not_finite_keeps_the_last_checkpoint(
    texts: dict[str, str], tmp_path: Path
) -> None:
    training = {**TINY["training"], "learning_rate": 1e30, "clip": 0, "warmup": 0}
    with pytest.raises(TrainingError, match="checkpoint"):
        run(texts, tmp_path / "run", training=training)
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "writes"), [("model.safetensors", 0), ("checkpoint.safetensors", 2)]
)
def test_a_full_disk_is_told_and_the_run_goes_on_from_its_checkpoint(
    name: str,
    writes: int,
    texts: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The disk is full after some writes of a file; records of its step may be there by then."""
    whole = run(texts, tmp_path / "whole")
    replace, seen = Path.replace, []

    def full(path: Path, target: Path) -> Path:
        seen.append(target.name)
        if target.name == name and seen.count(name) > writes:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(StorageError, match=r"disk is full.*--resume"):
            run(texts, tmp_path / "run")
    assert not (tmp_path / "run" / "model" / "model.safetensors").exists()
    assert resume_pretrain(tmp_path / "run").records == whole.records
    assert log(tmp_path / "run") == log(tmp_path / "whole")


class Clairvoyant:
    """Stands for a model that says the next token, and 0 instead of those that it cannot say."""

    def __init__(self, unsaid: set[int]) -> None:
        self.unsaid = unsaid

    @property
    def base_model(self) -> Any:
        return self

    def eval(self) -> None:
        pass

    def get_output_embeddings(self) -> Any:
        return torch.nn.Identity()

    def __call__(self, input_ids: torch.Tensor, **_: Any) -> Any:
        following = input_ids.roll(-1, dims=1)
        for token in self.unsaid:
            following = following.masked_fill(following == token, 0)
        return SimpleNamespace(last_hidden_state=one_hot(following, 30).float())


@pytest.mark.parametrize(
    ("unsaid", "correct"), [(set(), 3), ({11}, 2), ({11, 12}, 2), ({11, 14}, 1), ({5}, 3)]
)
def test_an_answer_counts_if_each_of_its_tokens_is_the_likeliest(
    unsaid: set[int], correct: int
) -> None:
    first = EncodedDocument([5, 11, 12, 6, 13, 1], [-1, 0, 0, -1, 1, -1])
    second = EncodedDocument([7, 14, 1], [-1, 0, -1])
    (record,) = measure_held_out(Clairvoyant(unsaid), {("x", 8): [first, second]}, step=3)
    assert (record.answers, record.correct, record.positions) == (3, correct, 4)
    assert (record.step, record.documents, record.length) == (3, 2, 8)
