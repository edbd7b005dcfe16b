"""What a build makes: kernels where there is a compiler, and a package that works where not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", ".gitignore")
KERNELS = "statespan/models/ops/kernels"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler"),
]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of what a build needs, with a library that an earlier build left behind."""
    pytest.importorskip("hatchling")
    for name in FILES:
        shutil.copy(ROOT / name, tmp_path / name)
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=ignored)
    (tmp_path / "src" / KERNELS / "kernels_stale.so").write_text("of another day")
    return tmp_path


def build(project: Path, kind: str = "wheel", **environment: str) -> Path:
    code = f"from hatchling.build import build_{kind}; print(build_{kind}('dist'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env={**os.environ, **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return project / "dist" / done.stdout.splitlines()[-1]


def kernel_level(package: Path) -> str:
    """Return what the package in this folder says of its kernels, after it has used them."""
    code = (
        "import torch; from statespan.models.ops import selective_scan as scan;"
        "from statespan.native import kernel_level; ones = torch.ones(1, 3, 1);"
        "assert scan(ones, ones, torch.zeros(1, 1), ones, ones)[1] == 3; print(kernel_level())"
    )
    environment = {**os.environ, "PYTHONPATH": str(package)}
    environment.pop("STATESPAN_KERNELS", None)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def files(wheel: Path) -> list[str]:
    return zipfile.ZipFile(wheel).namelist()


def extracted(wheel: Path) -> Path:
    folder = wheel.parent / "extracted"
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def test_a_compiler_makes_a_wheel_with_kernels(project: Path) -> None:
    wheel = build(project, CC="cc", STATESPAN_NO_KERNELS="")
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    libraries = sorted(name for name in files(wheel) if name.endswith(".so"))
    assert f"{KERNELS}/kernels_default.so" in libraries
    assert f"{KERNELS}/kernels_stale.so" not in libraries
    assert [name for name in files(wheel) if name.endswith((".c", ".h"))] == []
    assert f"{KERNELS}/kernels_{kernel_level(extracted(wheel))}.so" in libraries


@pytest.mark.parametrize(
    "environment", [{"CC": "/nonexistent"}, {"CC": "false"}, {"STATESPAN_NO_KERNELS": "1"}]
)
def test_without_a_compiler_the_wheel_is_of_python_alone(
    environment: dict[str, str], project: Path
) -> None:
    wheel = build(project, **environment)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert [name for name in files(wheel) if name.endswith(".so")] == []
    assert kernel_level(extracted(wheel)) == "None"


def test_an_editable_installation_has_its_kernels_beside_their_sources(project: Path) -> None:
    pytest.importorskip("editables")
    wheel = build(project, "editable", CC="cc", STATESPAN_NO_KERNELS="")
    assert any(name.endswith(".pth") for name in files(wheel))
    assert kernel_level(project / "src") in ("avx512", "avx2", "default")
