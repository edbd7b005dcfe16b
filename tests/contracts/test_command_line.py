"""What holds for the program as a whole."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import statespan

PACKAGE = Path(statespan.__file__).parent


def run_program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "statespan", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}


def test_help_takes_less_than_half_a_second() -> None:
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        done = run_program("--help")
        seconds.append(time.perf_counter() - began)
        assert done.returncode == 0
        assert "probe" in done.stdout
    assert min(seconds) < 0.5


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["languages", "list"], 0),
        (["languages", "show", "partiy"], 2),
        (["languages", "sample", "d-2", "--length", "3"], 2),
        (["nonsense"], 2),
        (["probe", "--resume", "no-such-run"], 2),
    ],
)
def test_exit_codes(arguments: list[str], code: int) -> None:
    done = run_program(*arguments)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert bool(done.stdout) == (code == 0)
    assert bool(done.stderr) == (code != 0)


def verbs() -> list[str]:
    from statespan.cli import languages
    from statespan.cli.app import app

    names = [f"languages {item.name}" for item in languages.app.registered_commands]
    return sorted([*names, *(item.name or "" for item in app.registered_commands)])


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_takes_json(verb: str) -> None:
    assert "--json" in run_program(*verb.split(), "--help").stdout


def test_the_verbs_of_the_laboratory_are_there() -> None:
    assert {"languages list", "languages show", "probe"} <= set(verbs())
