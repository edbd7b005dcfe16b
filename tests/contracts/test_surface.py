"""What every package and module offers: sorted, there, documented."""

from __future__ import annotations

import inspect
import os
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import statespan
from statespan import errors

ROOT = Path(__file__).parents[2]
PACKAGE = Path(statespan.__file__).parent
MODULES = [
    "statespan",
    *(found.name for found in pkgutil.walk_packages(statespan.__path__, "statespan.")),
]


def isort_key(name: str) -> tuple[int, str]:
    """Order as ruff's RUF022 does: CONSTANTS, Classes, functions."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2, name)


def run_python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**inherited_environment(), **environment},
    )
    return done.stdout


def inherited_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}


@pytest.mark.parametrize("name", MODULES)
def test_all_is_there_sorted_and_resolvable(name: str) -> None:
    module = import_module(name)
    offered = module.__all__
    assert offered == sorted(offered, key=isort_key)
    assert len(offered) == len(set(offered))
    assert [item for item in offered if not hasattr(module, item)] == []
    assert [item for item in offered if item.startswith("_")] == []


def public_members(module: ModuleType) -> list[tuple[str, Any]]:
    members = []
    for item in module.__all__:
        value = getattr(module, item)
        if not getattr(value, "__module__", "").startswith("statespan"):
            continue
        if inspect.isclass(value) or inspect.isfunction(value):
            members.append((item, value))
        if inspect.isclass(value):
            members += [(f"{item}.{key}", part) for key, part in own_methods(value)]
    return members


def own_methods(owner: type) -> list[tuple[str, Any]]:
    return [
        (key, getattr(owner, key))
        for key, value in vars(owner).items()
        if not key.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, (property, classmethod)))
    ]


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_has_a_docstring(name: str) -> None:
    module = import_module(name)
    assert inspect.getdoc(module)
    assert [item for item, value in public_members(module) if not inspect.getdoc(value)] == []


@pytest.mark.parametrize("name", ["statespan", "statespan.cli.app", "statespan.__main__"])
def test_importing_is_light(name: str) -> None:
    code = f"import sys, {name}; print(sorted({{'torch', 'rich', 'numpy'}} & set(sys.modules)))"
    assert run_python(code).strip() == "[]"


def test_sub_packages_load_on_first_use() -> None:
    code = (
        "import sys, statespan\n"
        "before = 'statespan.languages' in sys.modules\n"
        "print(before, statespan.languages.language('parity').accepts('11'))\n"
        "print('torch' in sys.modules, 'mamba' in statespan.models.MODELS.names())\n"
        "print('torch' in sys.modules)"
    )
    assert run_python(code).split() == ["False", "True", "False", "True", "True"]


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        statespan.nonsense  # noqa: B018


def test_token_ids_are_equal_under_two_hash_seeds() -> None:
    code = (
        "from statespan.languages import LANGUAGES, Language, language\n"
        "from statespan.training import Vocabulary\n"
        "made = [language(name) for name in LANGUAGES.names()]\n"
        "made.append(Language.from_expression('(<right>|<left>|up)*'))\n"
        "for item in made:\n"
        "    vocabulary = Vocabulary(item.alphabet)\n"
        "    print(item.name, vocabulary.encode(item.alphabet), vocabulary.answer_ids)\n"
        "    print(item.alphabet)\n"
    )
    first, second = (run_python(code, PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert first == second
    assert len(first.splitlines()) > 60


def test_every_error_class_is_met_by_some_test() -> None:
    classes = [
        name
        for name in errors.__all__
        if inspect.isclass(getattr(errors, name)) and name not in {"InputError", "StatespanError"}
    ]
    here = Path(__file__)
    text = "".join(
        path.read_text("utf-8") for path in sorted(ROOT.glob("tests/**/*.py")) if path != here
    )
    assert [name for name in classes if name not in text] == []


def test_every_error_has_one_root_and_an_exit_code() -> None:
    for name in errors.__all__:
        kind = getattr(errors, name)
        if inspect.isclass(kind):
            assert issubclass(kind, errors.StatespanError)
            assert kind.exit_code in {1, 2}
            assert name in (errors.__doc__ or "")
