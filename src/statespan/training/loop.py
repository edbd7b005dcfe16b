"""The training loop: a function of its config, its data and its seed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeAlias, final

import msgspec
import torch
from torch import nn

from statespan.errors import TrainingError
from statespan.models import SequenceModel
from statespan.records import TrainingRecord
from statespan.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from statespan.training.examples import Batch, Example, PackedExamples, order_epoch
from statespan.training.fading import LOG_FADING, check_fading, mean_log_fading
from statespan.training.readouts import Readout
from statespan.training.streams import python_stream

__all__ = ["TrainingConfig", "TrainingRun", "build_optimizer", "train", "train_alone"]

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
        fading_penalty: this times the mean of log(-A) is added to the loss, which draws the gates
            exp(ΔA) towards 1; for models with such gates. The losses that are told are without.
        report_every: steps between two records, each with a checkpoint.
        stop_words: how many fresh words of each bin a model is asked at each record; the training
            ends where it is right on all of them. With 0 it takes all steps.
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
    fading_penalty: NotNegative = 0.0
    report_every: AtLeast1 = 50
    stop_words: AtLeast0 = 0
    threads: Threads = 1


@final
class TrainingRun:
    """One model on its way through training: its batches, its records and its checkpoints.

    What `train` does alone and `train_fleet` does for many at once is in here: which examples are
    next, and what follows from the loss of a step.

    Attributes:
        model: the model, trained in place; from its checkpoint on, if there is one.
        readout: what its outputs mean and cost.
        examples: the training set.
        config: how it is trained.
        optimizer: its AdamW, with the state of the checkpoint.
        done: the number of steps done.
        ended: whether no step is left: it has taken all, or `is_learned` said that it may stop.

    Raises:
        ConfigError: there is a `fading_penalty`, and the model has no such gates.
        StorageError: a checkpoint could not be written, or is of another model.
    """

    def __init__(
        self,
        model: SequenceModel,
        readout: Readout,
        examples: list[Example],
        config: TrainingConfig,
        *,
        seed: int,
        checkpoint_path: Path,
        on_record: Callable[[TrainingRecord], None],
        on_step: Callable[[int, float], None] = lambda *_: None,
        is_learned: Callable[[], bool] = lambda: False,
    ) -> None:
        if config.fading_penalty:
            check_fading(model)
        self.model = model
        self.readout = readout
        self.examples = examples
        self.config = config
        self.optimizer = build_optimizer(model, config)
        self.done = 0
        self._checkpoint_path = checkpoint_path
        self._on_record = on_record
        self._on_step = on_step
        self._is_learned = is_learned
        if checkpoint_path.exists():
            self.done = load_checkpoint(checkpoint_path, model, self.optimizer).step
        else:
            save_checkpoint(checkpoint_path, model, self.optimizer, Checkpoint(0))
        self.ended = self.done >= config.steps or (self.done > 0 and is_learned())
        self._order = _order(examples, config, seed, self.done)
        self._epoch = 0
        self._loss_sum, self._positions, self._began = 0.0, 0, time.perf_counter()

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return learning_rate(self.config, self.done + 1)

    def next_examples(self) -> list[int] | None:
        """Return the indices of the examples of the next step, None after the last step."""
        if self.ended:
            return None
        self._epoch, indices = next(self._order)
        return indices

    def finish_step(self, loss: float, positions: int) -> None:
        """Take note of a step's mean `loss` over `positions`; write what is due.

        Raises:
            TrainingError: the loss or a weight is not finite; the last checkpoint is kept.
            StorageError: a checkpoint could not be written; the one before is kept.
        """
        rate, step = self.learning_rate, self.done + 1
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {step}; the last good checkpoint is kept in "
                f"{self._checkpoint_path}. A lower training.learning_rate may help."
            )
        self.done = step
        self._loss_sum, self._positions = (
            self._loss_sum + loss * positions,
            self._positions + positions,
        )
        self._on_step(step, loss)
        if step % self.config.report_every == 0 or step == self.config.steps:
            self._report(rate)
            self.ended = step >= self.config.steps or self._is_learned()

    def _report(self, rate: float) -> None:
        now = time.perf_counter()
        record = TrainingRecord(
            step=self.done,
            epoch=self._epoch,
            loss_sum=self._loss_sum,
            positions=self._positions,
            learning_rate=rate,
            seconds=now - self._began,
        )
        self._on_record(record)
        save_checkpoint(self._checkpoint_path, self.model, self.optimizer, Checkpoint(self.done))
        self._loss_sum, self._positions, self._began = 0.0, 0, now


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
    run = TrainingRun(
        model,
        readout,
        examples,
        config,
        seed=seed,
        checkpoint_path=checkpoint_path,
        on_record=on_record,
        on_step=on_step,
    )
    train_alone(run)


def train_alone(run: TrainingRun) -> None:
    """Train one run to its last step.

    Raises:
        TrainingError: the loss is not finite; the last checkpoint is kept.
        StorageError: a checkpoint could not be written; the one before is kept.
    """
    packed = PackedExamples(run.examples)
    run.model.train()
    while (indices := run.next_examples()) is not None:
        batch = packed.batch(torch.tensor(indices))
        run.finish_step(*_step(run, batch))


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """Return AdamW; vectors and Mamba's A decay to nothing, so only matrices decay."""
    decays: list[nn.Parameter] = []
    keeps: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        kept = parameter.ndim < 2 or name.endswith(LOG_FADING)
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


def _order(
    examples: list[Example], config: TrainingConfig, seed: int, done: int
) -> Iterator[tuple[int, list[int]]]:
    """Yield (epoch, indices of a batch) from the step after `done` on, without end.

    The order of an epoch depends on the seed and the epoch alone, so it can be taken up anywhere.
    """
    per_epoch = math.ceil(len(examples) / config.batch_size)
    epoch, skipped = divmod(done, per_epoch)
    while True:
        order = order_epoch(examples, config.batch_size, python_stream(seed, f"order/{epoch}"))
        for indices in order[skipped:]:
            yield epoch, indices
        epoch, skipped = epoch + 1, 0


def _step(run: TrainingRun, batch: Batch) -> tuple[float, int]:
    """Make one step; return the mean loss of a position and the number of positions."""
    model, config = run.model, run.config
    for group in run.optimizer.param_groups:
        group["lr"] = run.learning_rate
    outputs = model(batch.tokens).logits[batch.mask]
    loss = run.readout.loss(outputs, batch.targets[batch.mask]) / len(outputs)
    run.optimizer.zero_grad(set_to_none=True)
    total = loss
    if config.fading_penalty:
        total = loss + config.fading_penalty * mean_log_fading(model.named_parameters())
    torch.autograd.backward(total)
    if config.clip:
        nn.utils.clip_grad_norm_(model.parameters(), config.clip)
    run.optimizer.step()
    return loss.item(), len(outputs)
