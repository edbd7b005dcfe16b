"""`statespan doctor`: what this installation is made of, and whether its operations are right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from statespan.cli.output import JsonOption, print_json, print_text

if TYPE_CHECKING:
    from statespan.models.ops.conformance import Conformance

__all__ = ["doctor"]

PACKAGES = ("statespan", "torch", "transformers", "peft", "accelerate")


def doctor(json: JsonOption = False) -> None:
    """Say what is installed and which kernels are used, and check the operations.

    Each operation of the models runs on a small input, forward and backward, beside its definition
    in double precision, on the CPU and on a GPU if there is one. Exit code 1 if one is wrong.
    """
    facts = {**_installation(), **_operations(), **_gpu()}
    found = _check(facts["gpu"] is not None)
    holds = all(item.holds for item in found)
    if json:
        checks = [_check_facts(item) for item in found]
        print_json({**facts, "checks": checks, "holds": holds})
    else:
        print_text(*_lines(facts, found))
    if not holds:
        raise typer.Exit(1)


def _installation() -> dict[str, Any]:
    import platform

    import torch

    from statespan.jobs.sweep_plan import num_cores

    versions = {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}
    return {"versions": versions, "cores": num_cores(), "threads": torch.get_num_threads()}


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _operations() -> dict[str, Any]:
    import os

    from statespan.models.ops.native import kernel_level

    try:
        level = kernel_level()
    except OSError as error:  # the library is there, and the system does not load it
        return {"kernels": None, "operations": f"none: {error}"}
    if level is not None:
        return {"kernels": level, "operations": f"compiled kernels for {level}"}
    if os.environ.get("STATESPAN_KERNELS") == "torch":
        return {"kernels": None, "operations": "torch: STATESPAN_KERNELS=torch"}
    reason = "torch: no kernels were compiled (no C compiler at install)"
    return {"kernels": None, "operations": reason}


def _gpu() -> dict[str, Any]:
    import torch

    from statespan.models.ops.gpu import GPU_KERNELS

    name = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    packages: dict[str, Any] = {}
    for operation, kernel in sorted(GPU_KERNELS.items(), key=lambda item: item[1].package):
        facts = packages.setdefault(
            kernel.package,
            {"installed": kernel.is_installed, "version": _version(kernel.package), "used_for": []},
        )
        if name is not None and kernel.is_installed:
            _add_use(facts, operation)
    return {"gpu": name, "gpu_packages": packages}


def _add_use(facts: dict[str, Any], operation: str) -> None:
    from statespan.models.ops.gpu import import_kernel

    kernel = import_kernel(operation)
    if isinstance(kernel, str):
        facts["failure"] = kernel
    else:
        facts["used_for"].append(operation)


def _check(has_gpu: bool) -> list[Conformance]:
    import torch

    from statespan.models.ops.conformance import check_operations

    generator = torch.Generator().manual_seed(0)
    found = list(check_operations(generator=generator))
    if has_gpu:
        for dtype in (torch.float32, torch.bfloat16):
            found += check_operations(device="cuda", dtype=dtype, generator=generator)
    return found


def _check_facts(item: Conformance) -> dict[str, Any]:
    from dataclasses import asdict
    from math import isfinite

    facts = {**asdict(item), "holds": item.holds}
    # JSON has no word for what is not a number.
    if item.deviation is not None and not isfinite(item.deviation):
        facts["deviation"] = None
    return facts


def _lines(facts: dict[str, Any], found: list[Conformance]) -> list[str]:
    versions = ", ".join(
        f"{name} {version or 'not installed'}" for name, version in facts["versions"].items()
    )
    return [
        versions,
        f"cores: {facts['cores']}; threads of torch: {facts['threads']}",
        f"operations on the CPU: {facts['operations']}",
        f"GPU: {facts['gpu'] or 'none'}",
        *(f"  {name}: {_use(package, facts)}" for name, package in facts["gpu_packages"].items()),
        "operations beside their definitions:",
        *(f"  {_verdict(item)}" for item in found),
    ]


def _use(package: dict[str, Any], facts: dict[str, Any]) -> str:
    if not package["installed"]:
        return "not installed"
    state = f"installed, {package['version'] or 'of no known version'}"
    if facts["gpu"] is None:
        return f"{state}; not used without a GPU"
    uses = f"; used for {', '.join(package['used_for'])}" if package["used_for"] else "; not used"
    return f"{state}{uses}" + (f": {package['failure']}" if "failure" in package else "")


def _verdict(item: Conformance) -> str:
    place = f"{item.operation} ({item.device}, {item.dtype})"
    if item.failure is not None:
        return f"{place}: FAILED, {item.failure}"
    word = "right" if item.holds else "WRONG"
    return f"{place}: {word}, off by {item.deviation:.1e} of {item.limit:.1e} allowed"
