"""The training loop: a function of its config, its data and its seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
import torch
from torch import nn

from statespan.errors import TrainingError
from statespan.models import SequenceModel
from statespan.records import TrainingRecord
from statespan.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from statespan.training.data import Batch, Example, make_batch, order_epoch
from statespan.training.readouts import Readout
from statespan.training.streams import python_stream

__all__ = ["TrainingConfig", "build_optimizer", "train"]

AtLeast0: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
AtLeast1: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Threads: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=256)]
Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
NotNegative: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]


class TrainingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a model is trained.

    Attributes:
        loss: "symbols" (binary cross-entropy a symbol), "class-mse" or "class-cross-entropy"
            (over the sets of next symbols, as in the seed paper).
        steps: optimizer steps (AdamW), each over `batch_size` words; with 0, the weights stay.
        schedule: "cosine" (down to 0 over the steps) or "constant", after `warmup` steps.
        clip: the largest norm of the gradient; 0 for no limit.
        report_every: steps between two records, each with a checkpoint.
        threads: the number of CPU threads; results are equal only at equal numbers of threads.
    """

    loss: str = "symbols"
    steps: AtLeast0 = 600
    batch_size: AtLeast1 = 32
    learning_rate: Positive = 2e-3
    weight_decay: NotNegative = 0.01
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: AtLeast0 = 50
    clip: NotNegative = 1.0
    report_every: AtLeast1 = 50
    threads: Threads = 1


def train(
    model: SequenceModel,
    readout: Readout,
    examples: list[Example],
    config: TrainingConfig,
    *,
    seed: int,
    checkpoint_path: Path,
    on_record: Callable[[TrainingRecord], None],
    on_step: Callable[[int, float], None] = lambda *_: None,
) -> None:
    """Train `model` in place, from the checkpoint if there is one, to the last step.

    `on_record` gets a record every `report_every` steps, just before the checkpoint is written;
    `on_step` gets the number of steps done and the loss of the last one.

    Raises:
        TrainingError: the loss is not finite; the last checkpoint is kept.
        StorageError: a checkpoint could not be written; the one before is kept.
    """
    optimizer = build_optimizer(model, config)
    done = 0
    if checkpoint_path.exists():
        done = load_checkpoint(checkpoint_path, model, optimizer).step
    else:
        save_checkpoint(checkpoint_path, model, optimizer, Checkpoint(0))
    loss_sum, positions, began = 0.0, 0, time.perf_counter()
    model.train()
    for step, epoch, batch in _batches(examples, config, seed, done):
        rate = learning_rate(config, step)
        loss, size = _step(model, readout, optimizer, batch, rate, config.clip)
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {step}; the last good checkpoint is kept in "
                f"{checkpoint_path}. A lower training.learning_rate may help."
            )
        loss_sum, positions = loss_sum + loss * size, positions + size
        on_step(step, loss)
        if step % config.report_every == 0 or step == config.steps:
            now = time.perf_counter()
            record = TrainingRecord(
                step=step,
                epoch=epoch,
                loss_sum=loss_sum,
                positions=positions,
                learning_rate=rate,
                seconds=now - began,
            )
            on_record(record)
            save_checkpoint(checkpoint_path, model, optimizer, Checkpoint(step))
            loss_sum, positions, began = 0.0, 0, now


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """Return AdamW; vectors and Mamba's A decay to nothing, so only matrices decay."""
    decays: list[nn.Parameter] = []
    keeps: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        kept = parameter.ndim < 2 or name.endswith("A_log")
        (keeps if kept else decays).append(parameter)
    groups = [
        {"params": decays, "weight_decay": config.weight_decay},
        {"params": keeps, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the rate of step `step`, which counts from 1."""
    if step <= config.warmup:
        return config.learning_rate * step / config.warmup
    if config.schedule == "constant":
        return config.learning_rate
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def _batches(
    examples: list[Example], config: TrainingConfig, seed: int, done: int
) -> Iterator[tuple[int, int, Batch]]:
    """Yield (step, epoch, batch) from the step after `done` on.

    The order of an epoch depends on the seed and the epoch alone, so it can be taken up anywhere.
    """
    per_epoch = math.ceil(len(examples) / config.batch_size)
    epoch, skipped = divmod(done, per_epoch)
    step = done
    while step < config.steps:
        order = order_epoch(examples, config.batch_size, python_stream(seed, f"order/{epoch}"))
        for indices in order[skipped:]:
            if step == config.steps:
                return
            step += 1
            yield step, epoch, make_batch([examples[index] for index in indices])
        epoch, skipped = epoch + 1, 0


def _step(
    model: SequenceModel,
    readout: Readout,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    rate: float,
    clip: float,
) -> tuple[float, int]:
    """Make one step; return the mean loss of a position and the number of positions."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    outputs = model(batch.tokens).logits[batch.mask]
    loss = readout.loss(outputs, batch.targets[batch.mask]) / len(outputs)
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    if clip:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss.item(), len(outputs)
