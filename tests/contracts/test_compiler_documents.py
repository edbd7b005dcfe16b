"""What the documents say of `statespan compile` and `certify` is what they print."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from statespan.languages import language

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
VERBS = ("statespan compile ", "statespan certify ")
EXAMPLE = ROOT / "examples/load_with_transformers.py"


def shown_commands(path: Path) -> list[tuple[str, str]]:
    """Return (command, output) of each command of the compiler that a document shows."""
    found = []
    for block in BLOCK.findall(path.read_text("utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            if command.startswith((*VERBS, "python examples/")):
                found.append((command, output))
    return found


DOCUMENTS = [
    path
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")))
    if shown_commands(path)
]


def pattern(shown: str) -> str:
    """Return what a shown output stands for: a line … is any text, blanks are alike."""
    parts = re.split(r"^…$", shown, flags=re.MULTILINE)
    return ".*".join(r"\s+".join(map(re.escape, part.split())) for part in parts)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_the_compiler_prints_what_the_documents_show(
    path: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The commands of a document run in one folder, in order."""
    monkeypatch.chdir(tmp_path)
    printed: dict[str, str] = {}
    for command, shown in shown_commands(path):
        if command in printed:  # another part of the same output is shown
            pass
        elif command.startswith("python"):
            printed[command] = run_example(shlex.split(command)[2:])
        else:
            printed[command] = run_verb(command, capsys, monkeypatch)
        text = printed[command].strip()
        assert re.fullmatch(pattern(shown), text, re.DOTALL), (command, text)


def run_verb(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> str:
    """Return what a command prints; its message alone where it fails."""
    from statespan.cli.app import main

    monkeypatch.setattr(sys, "argv", shlex.split(command))
    with pytest.raises(SystemExit):
        main()
    captured = capsys.readouterr()
    return captured.out or captured.err


def run_example(arguments: list[str]) -> str:
    """Return what the example prints; the words that it writes must be words of `d-2`."""
    command = [sys.executable, str(EXAMPLE), *arguments]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    words = printed.partition("words that it writes:\n")[2].split("\n")[:-1]
    assert len(words) > 3
    d_2 = language("d-2")
    assert all(d_2.accepts("" if "empty" in word else word.strip()) for word in words)
    return printed


def test_the_example_knows_nothing_of_this_package() -> None:
    text = EXAMPLE.read_text("utf-8")
    assert re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE) == [
        "__future__",
        "sys",
        "torch",
        "transformers",
    ]
