"""`statespan compile` and `statespan certify` as a user runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "statespan", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_language_is_compiled_checked_and_certified(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    done = run("compile", "(ab)*", "--target", "mamba", "--out", str(folder), "--verify",
               "--long-length", "3000")  # fmt: skip
    assert done.returncode == 0
    assert "positions checked" in done.stdout
    assert "0 errors" in done.stdout
    assert "Traceback" not in done.stderr
    assert "falling back" not in done.stderr
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    done = run("certify", str(folder), "--json")
    assert done.returncode == 0
    certificate = json.loads(done.stdout)
    assert certificate["proves"]
    assert "Closed: " in (folder / "README.md").read_text()


def test_every_pass_is_said_in_words_and_drawn(tmp_path: Path) -> None:
    picture = tmp_path / "passes.svg"
    done = run("compile", "tomita-4", "--explain", "--draw", str(picture))
    assert done.returncode == 0
    for part in ("minimal automaton", "remembers whether the last symbol was 0", "Block 3"):
        assert part in done.stdout
    assert picture.read_text().startswith("<svg")


def test_the_report_is_for_machines_too() -> None:
    done = run(
        "compile", "O a", "--temporal", "--target", "mamba2", "--dtype", "bfloat16", "--json"
    )
    facts = json.loads(done.stdout)
    assert facts["target"] == "mamba2"
    assert facts["dtype"] == "bfloat16"
    assert facts["margin"] == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("compile", "parity"), "mamba cannot express parity: no, by nonnegative-parity"),
        (("compile", "(ab)*", "--target", "mambo"), "unknown target 'mambo'"),
        (("compile", "(ab)*", "--dtype", "float16"), "dtype must be float32 or bfloat16"),
        (("compile", "(ab"), "does not parse"),
        (("compile", "dyck-1", "--draw", "x.svg"), "no automaton and cascade to draw"),
        (("certify", "nowhere"), "there is no folder nowhere"),
    ],
)
def test_what_is_wrong_is_said_in_one_message(arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_checkpoint_that_errs_gets_exit_code_1(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    run("compile", "tomita-4", "--out", str(folder))
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors["lm_head.weight"].neg_()
    save_file(tensors, path, metadata={"format": "pt"})
    done = run("certify", str(folder))
    assert done.returncode == 1
    assert done.stdout.startswith("Wrong: ")
    assert "after BOS: the logit of 0 is -64" in done.stdout
    assert "Wrong: " in (folder / "README.md").read_text()
