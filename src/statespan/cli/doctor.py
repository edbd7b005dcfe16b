"""`statespan doctor`: what this installation, or a model, is made of, and what works."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from statespan.cli.output import JsonOption, print_json, print_text

if TYPE_CHECKING:
    from statespan.models.ops.conformance import Conformance
    from statespan.pretrained.span.diagnosis import Diagnosis
    from statespan.pretrained.structure import Attention

__all__ = ["doctor"]

PACKAGES = ("statespan", "torch", "transformers", "peft", "accelerate")


ModelArgument: TypeAlias = Annotated[
    Path | None,
    typer.Argument(
        help="A folder with a model of transformers, to look at instead.", metavar="MODEL"
    ),
]


def doctor(model: ModelArgument = None, json: JsonOption = False) -> None:
    """Say what is installed and which kernels are used, and check the operations.

    Each operation of the models runs on a small input, forward and backward, beside its definition
    in double precision, on the CPU and on a GPU if there is one. Exit code 1 if one is wrong.

    With MODEL, say what that model is made of, and what statespan.enable and statespan.accelerate
    would do to it; its weights are not read.
    """
    if model is not None:
        _describe(model, json=json)
        return
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

    from statespan.jobs.fleet_plan import num_cores

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

    from statespan.native import kernel_level

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


def _describe(folder: Path, *, json: bool) -> None:
    from statespan.pretrained.span.diagnosis import diagnose

    found = diagnose(folder)
    if json:
        print_json(_model_facts(found))
    else:
        print_text(*_model_lines(found))


def _model_facts(found: Diagnosis) -> dict[str, Any]:
    from dataclasses import asdict

    parts = found.structure
    return {
        "architecture": found.architecture,
        "attention": [{**asdict(part), "position": part.position} for part in parts.attentions],
        "mixers": [{"path": part.path, "kind": part.kind} for part in parts.mixers],
        "convolutions": [asdict(part) for part in parts.convolutions],
        "shared": parts.shared,
        "enable": {
            "extended": found.extended,
            "kept": found.kept,
            "refusal": found.refusal,
            "summaries": found.summaries,
            "longest_chunk": found.window,
        },
        "accelerate": {"replaced": found.accelerated, "kept": found.unaccelerated},
        "setting": {**asdict(found.setting), "trained": found.setting.trained},
    }


def _model_lines(found: Diagnosis) -> list[str]:
    parts = found.structure
    convolutions = [
        f"  {part.path}: {'depthwise' if part.is_depthwise else 'grouped'}"
        for part in parts.convolutions
    ]
    return [
        found.architecture,
        f"attention layers: {len(parts.attentions)}",
        *(f"  {_attention_line(part)}" for part in parts.attentions),
        f"mixers: {len(parts.mixers)}",
        *(f"  {part.path}: {part.kind.replace('_', ' ')}" for part in parts.mixers),
        f"convolutions: {len(parts.convolutions)}",
        *convolutions,
        *_enable_lines(found),
        f"statespan.accelerate: {len(found.accelerated)} mixers would be replaced",
        *(f"  {path}" for path in found.accelerated),
        *(f"  {path}: as it is, for {reason}" for path, reason in found.unaccelerated.items()),
        *_setting_lines(found),
    ]


def _attention_line(part: Attention) -> str:
    widths = (
        f"{part.key_width}"
        if part.key_width == part.value_width
        else (f"{part.key_width} (values {part.value_width})")
    )
    facts = [
        f"{part.num_heads} heads, {part.num_kv_heads} of keys and values, of width {widths}",
        f"positions: {part.position}",
    ]
    facts += [f"slides over {part.sliding_window} tokens"] if part.sliding_window else []
    facts += ["multi-head latent"] if part.is_latent else []
    return f"{part.path}: {'; '.join(facts)}"


def _enable_lines(found: Diagnosis) -> list[str]:
    if found.refusal is not None:
        return [f"statespan.enable: refused. {found.refusal}"]
    summaries = ", ".join(found.summaries)
    lines = [
        f"statespan.enable: {len(found.extended)} attention layers would be extended",
        f"  summaries of blocks: {summaries}",
        *(f"  {path}" for path in found.extended),
        *(f"  {path}: as it is, for {reason}" for path, reason in found.kept.items()),
    ]
    if found.window is not None:
        lines.append(f"  all of them slide, so that a chunk may have {found.window} tokens at most")
    return lines


def _setting_lines(found: Diagnosis) -> list[str]:
    setting = found.setting
    lines = [] if setting.config is None else [f"its config enables {setting.config}"]
    if setting.trained:
        lines.append(f"trained for {setting.steps:,} steps with {setting.trained_with}")
    return lines
