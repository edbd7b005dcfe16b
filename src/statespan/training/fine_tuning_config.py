"""How a pretrained model is trained further, and on which devices."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import torch

from statespan.errors import ConfigError, MissingExtraError, suggest

__all__ = ["FineTuningConfig", "make_accelerator"]

AtLeast0: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
AtLeast1: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
NotNegative: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]

WAIT = timedelta(hours=12)
"""How long a process waits for the first one, which also measures the model."""


class FineTuningConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a pretrained model is trained further, with AdamW.

    Attributes:
        steps: optimizer steps.
        rows: rows of a step, over all processes together.
        batch_size: rows that one process runs at once; the gradients of the others are added up.
        learning_rate: the rate after `warmup` steps, in which it grows evenly; then it stays.
        clip: the largest norm of the gradient; 0 for no limit.
        gradient_checkpointing: whether layers are run again in the backward pass, to save memory.
        mixed_precision: what layers compute in; the weights that train stay in float32.
        checkpoint_every: steps between two records, each with a checkpoint.
        trackers: names of trackers of accelerate (tensorboard, wandb, …) that get the records, too.
        threads: the number of CPU threads; none: as torch has it.
    """

    steps: AtLeast1
    rows: AtLeast1
    batch_size: AtLeast1
    learning_rate: Positive
    warmup: AtLeast0
    gradient_checkpointing: bool
    weight_decay: NotNegative = 0.0
    clip: NotNegative = 1.0
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    checkpoint_every: AtLeast1 = 50
    trackers: list[str] = []
    threads: AtLeast1 | None = None

    def rate(self, step: int) -> float:
        """Return the rate of a step, which counts from 1."""
        return self.learning_rate * min(1.0, step / max(1, self.warmup))


def make_accelerator(config: FineTuningConfig, *, logs: Path | None = None) -> Any:
    """Return the `Accelerator` of a training, as `accelerate launch` has set the processes up.

    Raises:
        ConfigError: the rows cannot be shared out evenly, or there is no such tracker.
        MissingExtraError: the package of a tracker is not installed.
    """
    accelerate: Any = import_module("accelerate")
    _check_trackers(config.trackers)
    cpu = not torch.cuda.is_available() or os.environ.get("ACCELERATE_USE_CPU") == "true"
    waiting = accelerate.utils.InitProcessGroupKwargs(timeout=WAIT).to_kwargs()
    processes = accelerate.PartialState(cpu=cpu, **waiting).num_processes
    if config.rows % processes:
        raise ConfigError(
            f"training.rows must be a multiple of the {processes} processes, got {config.rows}."
        )
    own = config.rows // processes
    accelerator = accelerate.Accelerator(
        cpu=cpu,
        mixed_precision=config.mixed_precision,
        gradient_accumulation_steps=math.ceil(own / config.batch_size),
        log_with=config.trackers or None,
        project_dir=None if logs is None else str(logs),
    )
    if plugin := getattr(accelerator.state, "deepspeed_plugin", None):
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = min(own, config.batch_size)
    if cpu and processes > 1 and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        _share_weights_out(accelerator)
    return accelerator


def _share_weights_out(accelerator: Any) -> None:
    """Let processes on CPUs share weights out: accelerate has that for other devices only."""
    utils: Any = import_module("accelerate.utils")
    state = accelerator.state
    state.distributed_type = utils.DistributedType.FSDP
    state.fsdp_plugin = utils.FullyShardedDataParallelPlugin()


def _check_trackers(names: Sequence[str]) -> None:
    tracking: Any = import_module("accelerate.tracking")
    known = {str(name): kind for name, kind in tracking.LOGGER_TYPE_TO_CLASS.items()}
    there = {str(name) for name in tracking.get_available_trackers()}
    for name in names:
        if name not in known:
            message = f"unknown tracker {name!r} in training.trackers. {suggest(name, known)}"
            raise ConfigError(message)
        if known[name].__module__ == tracking.__name__ and name not in there:
            raise MissingExtraError(name, extra=name)
