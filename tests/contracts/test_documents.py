"""What the documents say is so: doctests run, commands print what is shown, keys are listed."""

from __future__ import annotations

import ast
import doctest
import pkgutil
import re
import shlex
import sys
from importlib import import_module
from pathlib import Path

import msgspec
import pytest

import statespan

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md")))
    if path.exists()
]
MODULES = [
    "statespan",
    *(found.name for found in pkgutil.walk_packages(statespan.__path__, "statespan.")),
]
README_COMMANDS = (
    "pip install -c constraints.txt . && statespan extend",
    "pip install -c constraints.txt '.[test]' && pytest",
)
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


def document_ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


def blocks(path: Path, kind: str) -> list[tuple[int, str]]:
    """Return (line number, text) of the fenced blocks of that kind."""
    text = path.read_text("utf-8")
    return [
        (text.count("\n", 0, match.start(2)), match[2])
        for match in BLOCK.finditer(text)
        if match[1] == kind
    ]


@pytest.mark.parametrize("name", MODULES)
def test_doctests_of_the_modules_run(name: str) -> None:
    assert doctest.testmod(import_module(name)).failed == 0


@pytest.mark.parametrize("path", DOCUMENTS, ids=document_ids)
def test_doctests_of_the_documents_run(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner()
    names: dict[str, object] = {}
    for line, text in blocks(path, "pycon"):
        test = parser.get_doctest(text, names, path.name, str(path), line)
        assert test.examples, f"{path.name}, line {line}: a pycon block without an example"
        with torch.random.fork_rng():  # `transformers` draws from it when it loads a model
            runner.run(test, clear_globs=False)
        names = test.globs
    assert runner.summarize(verbose=False).failed == 0


def shown_commands() -> list[tuple[str, str, str]]:
    """Return (place, command, output) of each command in a `console` block that prints here.

    A command that trains is too slow for this; the slow tests run the probe. An output that ends
    in a line "…" is the beginning of what is printed.
    """
    found = []
    for path in DOCUMENTS:
        for line, text in blocks(path, "console"):
            for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                if command.startswith(
                    ("statespan languages", "statespan judge", "statespan tasks")
                ):
                    found.append((f"{document_ids(path)}:{line}", command, output))
    return found


@pytest.mark.parametrize(("place", "command", "output"), shown_commands())
def test_commands_print_what_the_documents_show(
    place: str,
    command: str,
    output: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from statespan.cli.app import main

    monkeypatch.setattr(sys, "argv", shlex.split(command))
    monkeypatch.chdir(tmp_path)
    for name, text in files_shown_in(place):
        (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(SystemExit):
        main()
    captured = capsys.readouterr()
    printed = [line.rstrip() for line in (captured.out + captured.err).rstrip().splitlines()]
    shown = [line.rstrip() for line in output.rstrip().splitlines()]
    if shown[-1:] == ["…"]:
        shown.pop()
        printed = printed[: len(shown)]
    assert printed == shown, place


def files_shown_in(place: str) -> list[tuple[str, str]]:
    """Return the automata that a document shows, under the name in the line before the block."""
    text = (ROOT / place.partition(":")[0]).read_text("utf-8")
    return re.findall(r"^`(\w+\.json)`:\n\n```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("command", README_COMMANDS)
def test_the_two_commands_stand_in_the_readme(command: str) -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    assert lines.count(command) == 1


def test_every_key_of_the_config_is_documented() -> None:
    from statespan.jobs import ProbeConfig
    from statespan.models import MODELS

    documented = re.findall(
        r"^\| `([\w.]+)` \|", (ROOT / "docs/configuration.md").read_text("utf-8"), re.MULTILINE
    )
    keys = set(leaf_keys(ProbeConfig)) | {"model.name"}
    for name in MODELS.names():
        keys |= {f"model.{key}" for key in leaf_keys(MODELS.get(name).Config)}
    assert sorted(set(documented)) == sorted(keys)


def test_the_documented_defaults_are_those_of_the_config() -> None:
    from statespan.jobs import probe_config

    text = (ROOT / "docs/configuration.md").read_text("utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| ([^|]+) \| [^|]+ \|$", text, re.MULTILINE)
    defaults = msgspec.to_builtins(probe_config({}))
    assert len(rows) > 15
    for key, shown in rows:
        value = defaults
        for part in key.split("."):
            value = value[part]
        assert shown == ("none" if value is None else f"`{msgspec.json.encode(value).decode()}`")


def leaf_keys(struct: type[msgspec.Struct]) -> list[str]:
    keys = []
    for field in msgspec.structs.fields(struct):
        if field.name == "model":
            continue
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            keys += [f"{field.name}.{key}" for key in leaf_keys(field.type)]
        else:
            keys.append(field.name)
    return keys


def test_every_architecture_is_documented_with_its_family_and_a_theorem() -> None:
    from statespan.algebra import THEOREMS
    from statespan.models import MODELS

    text = (ROOT / "docs/architectures.md").read_text("utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| .+ \| ([^|]+) \| `([\w-]+)` \|$", text, re.MULTILINE)
    documented = {name: (family, theorem) for name, family, theorem in rows}
    assert sorted(documented) == sorted(MODELS.names())
    for name, (family, theorem) in documented.items():
        assert family.startswith(MODELS.get(name).Config().family)
        assert theorem in THEOREMS
    others = re.findall(r"^\| .+ with `.+` \| .+ \| `([\w-]+)` \|$", text, re.MULTILINE)
    assert len(others) == 3
    assert set(others) <= set(THEOREMS)


def test_every_task_is_documented_with_its_parameters() -> None:
    from statespan.tasks import TASKS, task

    rows = re.findall(
        r"^\| `([\w-]+)` \| (`\w+=.*?) \| .+ \| \{cite\}`\w+`.* \|$",
        (ROOT / "docs/tasks.md").read_text("utf-8"),
        re.MULTILINE,
    )
    listed = {name: re.findall(r"`([^`]+)`", text) for name, text in rows}
    made = {name: task(name).parameters.items() for name in TASKS.names()}
    expected = {name: [f"{key}={value}" for key, value in items] for name, items in made.items()}
    assert listed == expected


def test_every_language_of_the_catalogue_is_documented() -> None:
    from statespan.languages import LANGUAGES

    text = (ROOT / "docs/languages.md").read_text("utf-8")
    assert [name for name in LANGUAGES.names() if f"| `{name}` |" not in text] == []


def test_the_documented_windows_are_the_published_ones() -> None:
    from statespan.evaluation import published_figures
    from statespan.languages import LANGUAGES, language

    rows = {
        row[0]: row
        for row in re.findall(
            r"^\| `([^`]+)` \| [^|]+ \| (.+?) \| (yes|no) \| ([^|]+) \|$",
            (ROOT / "docs/languages.md").read_text("utf-8"),
            re.MULTILINE,
        )
    }
    for name in LANGUAGES.names():
        item, figures = language(name), published_figures(name)
        windows = ", ".join(f"{a}–{b}" for a, b in figures.bins) if figures else "none"
        assert rows[name][2:] == ("yes" if item.is_regular else "no", windows)


BASES = {
    "theorem": "theorem",
    "our own reasoning": "reasoning",
    "conjecture or open question": "conjecture",
}
SECTION = re.compile(
    r"^## `([^`]+)`\n\n> (.+)\n\n- Source: (.+)\n- Basis: (.+)\n"
    r"- Statement: (re-read|recalled)\n- Used by: (.+)$",
    re.MULTILINE,
)


def test_the_page_of_theorems_says_what_the_code_says() -> None:
    from statespan.algebra import THEOREMS

    text = (ROOT / "docs/theorems.md").read_text("utf-8")
    sections = SECTION.findall(text)
    documented = {
        key: (statement, source, BASES[basis], checked == "re-read")
        for key, statement, source, basis, checked, _ in sections
    }
    coded = {
        key: (item.statement, item.source, item.basis, item.checked)
        for key, item in THEOREMS.items()
    }
    assert documented == coded
    assert len(sections) == len(re.findall(r"^## ", text, re.MULTILINE))


def test_the_page_of_theorems_says_which_rule_uses_which() -> None:
    documented = {
        section[0]: set(re.findall(r"`(\w+)`", section[5]))
        for section in SECTION.findall((ROOT / "docs/theorems.md").read_text("utf-8"))
    }
    used: dict[str, set[str]] = {key: set() for key in documented}
    rules = ast.parse((ROOT / "src/statespan/algebra/rules.py").read_text("utf-8"))
    for function in rules.body:
        if not isinstance(function, ast.FunctionDef):
            continue
        nodes = list(ast.walk(function))
        tested = {  # a word that a language's name or memory is compared with is no theorem
            id(part) for node in nodes if isinstance(node, ast.Compare) for part in ast.walk(node)
        } | {id(key) for node in nodes if isinstance(node, ast.Dict) for key in node.keys}
        for node in nodes:
            if isinstance(node, ast.Constant) and node.value in used and id(node) not in tested:
                used[node.value].add(function.name)
    assert documented == used


def test_every_family_and_every_class_is_documented() -> None:
    from statespan.algebra import ARCHITECTURES, CLASSES

    text = (ROOT / "docs/verdict.md").read_text("utf-8")
    assert [item.name for item in ARCHITECTURES if f"| {item.name} |" not in text] == []
    assert [name for name in CLASSES if f"| `{name}` |" not in text] == []
    for family in ARCHITECTURES:
        assert [name for name in family.models if f"| {name} |" not in text] == []


def test_no_document_names_a_path_of_a_machine() -> None:
    for path in DOCUMENTS:
        assert re.findall(r"(?:/work|/home|/root|/tmp)/\S*", path.read_text("utf-8")) == []
