"""What a checkpoint is made of, and what this package can do with its attention and mixers."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from statespan.errors import InputError
from statespan.memory import SpanAttention
from statespan.memory.summaries import SUMMARIES
from statespan.pretrained.acceleration import Acceleration, accelerate
from statespan.pretrained.span.plan import Plan, check_suits, plan_extension
from statespan.pretrained.span.setting import AttentionSetting, attention_setting
from statespan.pretrained.structure import Structure, structure

__all__ = ["Diagnosis", "diagnose"]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What `enable` and `accelerate` would find in a model.

    Attributes:
        architecture: the name of its class.
        structure: what it is made of.
        setting: what its config says of its attention.
        extended: the paths of the attention layers that `enable` would extend.
        kept: those that it would leave as they are, and why.
        refusal: why `enable` refuses the model; none if it does not.
        summaries: the summaries of blocks that it can be extended with.
        window: how long a chunk may be, where all layers slide; none if there is no such limit.
        accelerated: the paths of the mixers that `accelerate` would replace on a CPU.
        unaccelerated: the paths of those that it would leave, and why.
    """

    architecture: str
    structure: Structure
    setting: AttentionSetting
    extended: tuple[str, ...]
    kept: Mapping[str, str]
    refusal: str | None
    summaries: tuple[str, ...]
    window: int | None
    accelerated: tuple[str, ...]
    unaccelerated: Mapping[str, str]


def diagnose(folder: Path) -> Diagnosis:
    """Return what the model in `folder` is made of and what can be done to it; no weights are read.

    Raises:
        InputError: the folder holds no config of a causal language model of `transformers`.
    """
    model = _empty_model(folder)
    parts = structure(model)
    plan, refusal = _plan(model)
    acceleration = _acceleration(model)
    left = (mixer.path for mixer in parts.mixers if mixer.path not in acceleration.replaced)
    return Diagnosis(
        architecture=type(model).__name__,
        structure=parts,
        setting=attention_setting(model),
        extended=plan.paths if plan else (),
        kept=plan.kept if plan else {},
        refusal=refusal,
        summaries=_summaries(plan) if plan else (),
        window=plan.window if plan else None,
        accelerated=acceleration.replaced,
        unaccelerated={
            path: acceleration.kept.get(path, "there is no operation of ours for it")
            for path in left
        },
    )


def _empty_model(folder: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        first, *_ = str(error).splitlines() or [type(error).__name__]
        raise InputError(
            f"{folder} is no folder of a causal language model of transformers: {first}"
        ) from error


def _plan(model: Any) -> tuple[Plan | None, str | None]:
    try:
        return plan_extension(model), None
    except InputError as error:
        return None, str(error)


def _acceleration(model: Any) -> Acceleration:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nothing was replaced is told in its own words
        return accelerate(model)


def _summaries(plan: Plan) -> tuple[str, ...]:
    return tuple(name for name in SUMMARIES.names() if _suits(plan, name))


def _suits(plan: Plan, summary: str) -> bool:
    try:
        check_suits(plan, SpanAttention(chunk=1, block=1, summary=summary))
    except InputError:
        return False
    return True
