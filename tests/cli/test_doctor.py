"""The doctor says what is installed and used, and exits with 1 where an operation is wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from statespan import native
from statespan.cli.app import main
from statespan.models.ops import conformance, gpu, selective_scan
from statespan.models.ops.conformance import Conformance

Doctor = Callable[..., tuple[int, str]]


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Doctor]:
    """Return a function that runs the verb and returns its exit code and what it printed."""

    def run(*arguments: str) -> tuple[int, str]:
        for found in (native.library, native._library_level, gpu.import_kernel):
            found.cache_clear()
        monkeypatch.setattr(sys, "argv", ["statespan", "doctor", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().out

    yield run
    monkeypatch.undo()
    for found in (native.library, native._library_level, gpu.import_kernel):
        found.cache_clear()


@pytest.fixture
def _unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the check of the operations out, where a test is not about it."""
    monkeypatch.setattr(conformance, "check_operations", lambda **_: iter(()))


def test_the_installation_and_its_operations_are_told(doctor: Doctor) -> None:
    code, printed = doctor("--json")
    facts = json.loads(printed)
    assert (code, facts["holds"]) == (0, True)
    assert facts["versions"]["torch"] == version("torch")
    assert facts["kernels"] == native.kernel_level()
    assert facts["threads"] == torch.get_num_threads()
    assert [check["operation"] for check in facts["checks"]][:8] == [
        "causal_convolution", "diagonal_recurrence", "gated_delta_rule",
        "gated_linear_attention", "gated_norm", "linear", "selective_scan", "state_space_dual",
    ]  # fmt: skip
    assert all(check["deviation"] < check["limit"] for check in facts["checks"])


@pytest.mark.parametrize("why", ["the environment", "no compiler"])
def test_the_path_of_torch_is_named_and_checked(
    why: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if why == "the environment":
        monkeypatch.setenv("STATESPAN_KERNELS", "torch")
        told = "operations on the CPU: torch: STATESPAN_KERNELS=torch"
    else:
        monkeypatch.delenv("STATESPAN_KERNELS", raising=False)
        monkeypatch.setattr(native, "_path", lambda level: tmp_path / level)
        told = "operations on the CPU: torch: no kernels were compiled (no C compiler at install)"
    code, printed = doctor()
    assert code == 0
    assert told in printed.splitlines()
    assert printed.count("(cpu, float32): right, off by") == 8


@pytest.mark.usefixtures("_unchecked")
def test_the_kernels_level_is_named(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "kernel_level", lambda: "avx2")
    assert "operations on the CPU: compiled kernels for avx2\n" in doctor()[1]


def test_a_library_that_does_not_load_is_a_failure(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "kernels.so").write_text("not a library")
    monkeypatch.delenv("STATESPAN_KERNELS", raising=False)
    monkeypatch.setattr(native, "_path", lambda _: tmp_path / "kernels.so")
    code, printed = doctor()
    assert code == 1
    assert "operations on the CPU: none: " in printed
    assert "selective_scan (cpu, float32): FAILED, OSError: " in printed


@pytest.mark.parametrize("wrong", [1e-4, float("nan"), float("inf")])
def test_a_wrong_operation_is_a_failure(
    wrong: float, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def off(**arguments: Any) -> Any:
        outputs, last = selective_scan(**arguments)
        return outputs + wrong, last

    monkeypatch.setattr(conformance, "selective_scan", off)
    code, printed = doctor()
    assert code == 1
    assert next(line for line in printed.splitlines() if "WRONG" in line).startswith(
        "  selective_scan (cpu, float32): WRONG, off by "
    )
    code, printed = doctor("--json")
    facts = json.loads(printed, parse_constant=pytest.fail)
    assert (code, facts["holds"]) == (1, False)
    assert [check["operation"] for check in facts["checks"] if not check["holds"]] == [
        "selective_scan"
    ]


@pytest.mark.usefixtures("_unchecked")
def test_a_package_for_a_gpu_is_not_used_without_one(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "causal_conv1d.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    printed = doctor()[1].splitlines()
    assert "GPU: none" in printed
    assert "  causal-conv1d: installed, of no known version; not used without a GPU" in printed


def test_on_a_gpu_its_packages_are_named_and_checked_too(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    checked = []

    def check(*, device: str = "cpu", dtype: Any = torch.float32, generator: Any) -> Any:
        checked.append((device, dtype))
        yield Conformance("selective_scan", device, "float32", 0.0, 0.0)

    (tmp_path / "causal_conv1d.py").write_text("causal_conv1d_fn = print")
    (tmp_path / "mamba_ssm").mkdir()
    (tmp_path / "mamba_ssm" / "__init__.py").write_text("import selective_scan_cuda_of_yesterday")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A Card")
    monkeypatch.setattr(conformance, "check_operations", check)
    code, printed = doctor()
    lines = printed.splitlines()
    assert code == 0
    assert "GPU: A Card" in lines
    assert "  causal-conv1d: installed, of no known version; used for causal_convolution" in lines
    assert (
        "  mamba-ssm: installed, of no known version; not used: ModuleNotFoundError: "
        "No module named 'selective_scan_cuda_of_yesterday'"
    ) in lines
    assert checked == [
        ("cpu", torch.float32), ("cuda", torch.float32), ("cuda", torch.bfloat16),
    ]  # fmt: skip
    facts = json.loads(doctor("--json")[1])
    assert facts["gpu_packages"]["causal-conv1d"]["used_for"] == ["causal_convolution"]
    for name in ("causal_conv1d", "mamba_ssm"):
        sys.modules.pop(name, None)
