"""The program: results to standard output, words to standard error, exit codes 0, 1 and 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = ["probe", "--set", "data.bins=[[2,10],[12,16]]", "--set", "data.train_words=60"]
PROBE += ["--set", "training.report_every=4", "--steps", "8", "--set", "model.d_model=8"]
PROBE += ["--set", "evaluation.curve_lengths=3", "--set", "evaluation.negatives=4"]


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "statespan", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False)


def test_the_catalogue_is_listed() -> None:
    done = run("languages", "list")
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 33
    assert any(line.startswith("parity ") and "even number of 1s" in line for line in lines)
    listed = json.loads(run("languages", "list", "--json").stdout)
    assert {"name": "parity", "regular": True}.items() <= next(
        item.items() for item in listed if item["name"] == "parity"
    )


@pytest.mark.parametrize(
    ("language", "states"), [("parity", 2), ("(ab)*", 3), ("bounded-dyck:brackets=2,depth=2", 8)]
)
def test_a_language_is_shown(language: str, states: int) -> None:
    done = run("languages", "show", language)
    assert done.returncode == 0
    assert f"minimal automaton of {states} states" in done.stdout
    assert json.loads(run("languages", "show", language, "--json").stdout)["states"] == states


def test_a_word_is_followed_symbol_by_symbol() -> None:
    facts = json.loads(run("languages", "show", "d-2", "--word", "ab", "--json").stdout)["word"]
    assert facts == {
        "word": "ab",
        "accepted": True,
        "next_symbols": [["a", "END"], ["a", "b"], ["a", "END"]],
    }
    shown = run("languages", "show", "bounded-dyck:brackets=2,depth=2", "--word", "(a (b").stdout
    assert "is a word: no" in shown
    assert "after (b: b)" in shown


def test_an_automaton_is_read_from_a_file(tmp_path: Path) -> None:
    table = {"alphabet": ["a"], "start": 0, "accepting": [0], "transitions": [[0, "a", 1]]}
    (tmp_path / "aa.json").write_text(json.dumps(table))
    done = run("languages", "show", "aa.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "state 1 has no transition on symbol 'a'" in done.stderr
    table["transitions"] = [[0, "a", 1], [1, "a", 0]]
    (tmp_path / "aa.json").write_text(json.dumps(table))
    assert run("languages", "compare", "aa.json", "aa-star", cwd=tmp_path).stdout.startswith(
        "equal"
    )


def test_two_languages_are_compared() -> None:
    done = run("languages", "compare", "(ab)*", "(ab)*|ba", "--json")
    facts = json.loads(done.stdout)
    assert facts == {
        "equal": False,
        "left_in_right": True,
        "right_in_left": False,
        "only_in_left": None,
        "only_in_right": "ba",
    }


def test_words_are_drawn_reproducibly() -> None:
    arguments = ("languages", "sample", "parity", "--length", "5-9", "--count", "4", "--seed", "3")
    words = run(*arguments).stdout.split()
    assert len(words) == 4
    assert all(word.count("1") % 2 == 0 and 5 <= len(word) <= 9 for word in words)
    assert run(*arguments).stdout.split() == words
    misses = json.loads(run(*arguments, "--negatives", "--json").stdout)
    assert all(word.count("1") % 2 == 1 for word in misses)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("languages", "show", "partiy"), "Did you mean parity?"),
        (("languages", "show", "Dyck-1"), "Did you mean dyck-1"),
        (("languages", "show", "(ab"), "does not parse at position 0"),
        (("languages", "show", "parity", "--word", "0120"), "'2' at position 2"),
        (("languages", "sample", "aa-star", "--length", "3"), "no word of aa-star has length 3"),
        (("languages", "sample", "a&b"), "has no words"),
        (("languages", "sample", "parity", "--length", "x"), "--length must be"),
        (("languages", "show", "parity", "--alphabet", "01"), "'parity' has its own"),
        (("languages", "show", "a{" + "9" * 5000 + "}"), "does not parse at position 1"),
        (("languages", "show", "word-problem:group=S_999xS_999"), "has over 10^9 elements"),
        (("languages", "sample", "parity", "--length", "1-1000000000"), "up to length 10,000"),
        (("probe", "--resume", "x" * 300), "cannot read"),
        (("probe", "--set", "seed=1\nx=2"), "--set takes one key=value"),
        (("probe", "--set", "seed=[1, 1]"), "the values of seed must differ"),
        (("probe", "--set", "model.name=3"), "model.name must be a string"),
        (("languages", "compare", "dyck-1", "parity"), "dyck-1 is not regular"),
        (("languages", "show", "absent.json"), "cannot read the automaton absent.json"),
        (("judge",), "judge takes one LANGUAGE, or --all"),
        (("judge", "parity", "--all"), "judge takes one LANGUAGE, or --all"),
        (("judge", "--all", "--draw", "x.svg"), "--draw takes one LANGUAGE"),
        (("judge", "b & Y", "--temporal"), "does not parse at position"),
        (("judge", "dyck-1", "--draw", "x.svg"), "not regular"),
        (("probe", "absent.toml"), "cannot read the config absent.toml"),
        (("probe", "--set", "training.step=3"), "Did you mean steps"),
        (("probe", "--set", "x"), "--set takes key=value"),
        (("probe", "--model", "mamba4"), "Did you mean mamba"),
        (("probe", "--language", "a&b"), "has no words"),
        (("probe", "--resume", "absent"), "holds no run"),
        (("probe", "--resume", "absent", "--seed", "1"), "leave the other options out"),
    ],
)
def test_what_is_wrong_is_said_in_one_message(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert done.returncode in {1, 2} if "cannot read" in message or "10,000" in message else 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments", [("prob",), ("probe", "--layers", "x"), ("languages", "shwo")]
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Usage" in done.stderr


def test_a_language_is_judged(tmp_path: Path) -> None:
    done = run("judge", "(aa)*", "--draw", "aa.svg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "regular, not star-free" in done.stdout
    assert "u = a moves state 0 around a cycle of 2" in done.stdout
    assert "nonnegative-star-free: A state-space model" in done.stdout
    assert (tmp_path / "aa.svg").read_text().startswith("<svg")
    facts = json.loads(run("judge", "parity", "--json").stdout)
    assert facts["star_free"] is False
    assert facts["witness"]["period"] == 2
    mamba = next(row for row in facts["table"] if "Mamba" in row["models"])
    assert mamba["verdict"] == mamba["fixed_width"]["verdict"] == "no"
    assert mamba["fixed_width"]["theorem"] == "nonnegative-parity"


def test_a_class_over_its_limit_is_said_to_be_undecided() -> None:
    shown = run("judge", ".*a.{8}", "--alphabet", "ab").stdout
    assert "not decided within the limits: locally-testable" in shown
    assert "star-free" in shown.splitlines()[0]


def test_formulas_and_languages_that_are_not_regular_are_judged_too() -> None:
    facts = json.loads(run("judge", "b & Y a", "--temporal", "--alphabet", "abc", "--json").stdout)
    assert (facts["star_free"], facts["alphabet"]) == (True, ["a", "b", "c"])
    facts = json.loads(run("judge", "dyck-1", "--json").stdout)
    assert facts["star_free"] is None
    assert "monoid_size" not in facts
    assert run("judge", "bounded-dyck").stdout.startswith("bounded-dyck: star-free")


def test_the_catalogue_is_judged_as_a_matrix() -> None:
    lines = run("judge", "--all").stdout.splitlines()
    assert sum(line.startswith("parity ") for line in lines) == 1
    rows = json.loads(run("judge", "--all", "--json").stdout)
    assert len(rows) == 33
    assert all(len(row["table"]) == 13 for row in rows)


def test_a_probe_prints_its_table_and_leaves_a_run(tmp_path: Path) -> None:
    done = run(*PROBE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2–10 (trained)" in done.stdout
    assert "runs/012-star-02-star-mamba-2/accuracy.png" in done.stdout
    assert "training: 8/8" in done.stderr
    names = {path.name for path in (tmp_path / "runs" / "012-star-02-star-mamba-2").iterdir()}
    assert names == {
        "accuracy.png",
        "checkpoint.safetensors",
        "config.toml",
        "environment.json",
        "model",
        "records.jsonl",
        "training.jsonl",
    }
    again = run(*PROBE, "--json", cwd=tmp_path)
    value = json.loads(again.stdout)
    assert value["directory"] == "runs/012-star-02-star-mamba-2-2"
    assert [r["kind"] for r in value["records"][:3]] == ["run", "bin", "bin"]
    resumed = json.loads(
        run("probe", "--resume", "runs/012-star-02-star-mamba-2", "--json", cwd=tmp_path).stdout
    )
    assert resumed["records"] == value["records"]


def test_several_seeds_and_rates_are_run_at_once(tmp_path: Path) -> None:
    small = ("--model", "transformer", "--set", "model.heads=2", "--set", "seed=[1, 2]")
    wild = ("--set", "training.learning_rate=[1e-3, 1e30]", "--set", "training.warmup=0")
    done = run(*PROBE, *small, *wild, cwd=tmp_path)
    assert done.returncode == 1
    assert "seed=2,learning_rate=1e+30 was not trained to the end" in done.stderr
    assert "Traceback" not in done.stderr
    assert "measuring: 2/4" in done.stderr
    rows = [line.strip("│").split("│")[0].strip() for line in done.stdout.splitlines()]
    names = [f"seed={seed},learning_rate={rate}" for seed in (1, 2) for rate in (1e-3, 1e30)]
    assert [row for row in rows if row in names or row == "median"] == [*names, "median"]
    path = "runs/012-star-02-star-transformer-2"
    again = run("probe", "--resume", path, "--json", cwd=tmp_path)
    assert again.returncode == 1
    value = json.loads(again.stdout)
    assert value["directory"] == path
    assert [record["name"] for record in value["members"]] == names
    assert [record["failure"] is None for record in value["members"]] == [True, False] * 2
    assert [(b["lower"], b["upper"]) for b in value["median"]] == [(2, 10), (12, 16)]
    assert all((tmp_path / record["directory"]).is_dir() for record in value["members"])


def test_an_empty_directory_that_is_there_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert run(*PROBE, "--out", "link", cwd=tmp_path).returncode == 0
    (tmp_path / "here").mkdir()
    assert run(*PROBE, "--out", ".", cwd=tmp_path / "here").returncode == 0
    assert (tmp_path / "here" / "records.jsonl").exists()


def test_a_result_that_cannot_be_written_is_a_failure() -> None:
    for arguments in ("languages list", "languages show parity --json"):
        command = f"{sys.executable} -m statespan {arguments} > /dev/full"
        done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "cannot write the result: No space left" in done.stderr
        assert "Traceback" not in done.stderr


def test_symbols_that_the_terminal_cannot_show_are_escaped() -> None:
    command = [sys.executable, "-m", "statespan", "languages", "show", "日*"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "\\u65e5" in done.stdout


def test_a_word_of_long_symbols_can_be_written() -> None:
    arguments = ("languages", "show", "word-problem:group=S_3", "--json", "--word")
    for word in ("(1 2) (1 2)", "(1 2)(1 2)"):
        facts = json.loads(run(*arguments, word).stdout)["word"]
        assert (facts["word"], facts["accepted"]) == (["(1 2)", "(1 2)"], True)
    assert "stands at position 6" in run(*arguments, "(1 2) x").stderr


def test_many_words_of_one_length_are_no_obstacle() -> None:
    shown = run("languages", "show", "(a|b|c|d|e|f|g|h){12}").stdout
    assert "shortest words: aaaaaaaaaaaa, aaaaaaaaaaab" in shown
    assert "none of up to 24 symbols" in run("languages", "show", "a{40}").stdout


def test_the_model_s_name_is_set_before_its_sizes(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('[model]\nname = "mamba"\nd_state = 4\n')
    arguments = ("--set", "model.layers=1", "--set", "model.name=lstm", "--json")
    done = run(PROBE[0], "run.toml", *PROBE[1:], *arguments, cwd=tmp_path)
    record = json.loads(done.stdout)["records"][0]
    assert (record["model"], record["layers"]) == ("lstm", 1)


def test_a_named_directory_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    done = run(*PROBE, "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert "out is not empty" in done.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_options_go_over_the_file_and_a_new_model_starts_from_its_defaults(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        'language = "parity"\n[model]\nd_state = 4\n[training]\nsteps = 4\n[evaluation]\n'
        "curve_lengths = 2\nnegatives = 0\n[data]\ntrain_words = 20\nbins = [[2, 6], [7, 8]]\n"
    )
    done = run("probe", "run.toml", "--model", "lstm", "--layers", "1", "--json", cwd=tmp_path)
    assert done.returncode == 2, "d_state is no option of an lstm, and nobody dropped it"
    assert "d_state" in done.stderr
    done = run("probe", "run.toml", "--layers", "1", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)["records"][0]
    assert (record["language"], record["layers"], record["steps"]) == ("parity", 1, 4)


def test_the_program_has_a_version_and_a_short_help() -> None:
    assert run("--version").stdout.startswith("statespan ")
    assert "probe" in run("-h").stdout


def test_brackets_in_help_texts_are_shown() -> None:
    shown = " ".join(run("sweep", "--help").stdout.replace("│", " ").split())
    assert "[probe], and [grid], [random], [[cases]]" in shown
    assert "[default: in runs/]" in shown


def test_a_closed_pipe_is_no_traceback() -> None:
    command = f"{sys.executable} -m statespan languages list | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.stdout.count("\n") == 1
    assert "Traceback" not in done.stderr
