"""`statespan tasks` as a user meets it: a process, its output, its exit code."""

from __future__ import annotations

import json
import subprocess
import sys


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "statespan", "tasks", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_task_is_shown_with_a_sample_that_the_seed_decides() -> None:
    shown = [run("copying:symbols=3", "--length", "8", "--seed", s, "--json") for s in "113"]
    facts = [json.loads(done.stdout) for done in shown]
    assert facts[0] == facts[1] != facts[2]
    assert facts[0]["parameters"] == {"symbols": 3}
    assert facts[0]["source"] == "Jelassi et al. 2024, arXiv:2402.01032"
    inputs, asked = zip(*facts[0]["sample"], strict=True)
    assert inputs[4] == "|"
    assert asked == ("", "", "", "", *inputs[:4])


def test_what_cannot_be_shown_is_told_and_ends_with_2() -> None:
    for arguments, message in (
        (["copyng"], "unknown task 'copyng'. Did you mean copying?"),
        (["copying", "--length", "3"], "no sample of copying has length 3."),
        (["mqar:pairs=0"], "pairs must be at least 1, got 0."),
    ):
        done = run(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
