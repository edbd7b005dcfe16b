"""Training a pretrained language model further on long text, on `accelerate`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import msgspec
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from statespan.errors import ConfigError, TrainingError
from statespan.pretrained.span.extension import hook_of
from statespan.pretrained.span.plan import model_of
from statespan.records import TokensRecord
from statespan.training.cross_entropy import chunked_cross_entropy
from statespan.training.fine_tuning_config import FineTuningConfig
from statespan.training.recall_rows import RowStream
from statespan.training.streams import torch_stream
from statespan.training.text import Row, StreamPosition, batch_rows
from statespan.training.trainable_state import load_trainable, read_state, save_trainable

__all__ = ["FineTuning", "FineTuningState", "TokenLoss"]

BETAS = (0.9, 0.95)


class FineTuningState(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a training stands: steps done, tokens read, and the position in the text."""

    step: int = 0
    tokens: int = 0
    position: StreamPosition = StreamPosition()


@final
class TokenLoss(nn.Module):
    """A model, and what it loses on a batch: the module whose forward is a step's loss."""

    def __init__(self, model: nn.Module, *, piece: int | None = None) -> None:
        super().__init__()
        self.model = model
        self._piece = piece
        # By this name accelerate finds the layers whose weights processes share out.
        self._no_split_modules = sorted(_layer_classes(model))

    def forward(
        self,
        tokens: Int[Tensor, "row length"],
        labels: Int[Tensor, "row length"],
        mask: Int[Tensor, "row length"] | None = None,
        positions: Int[Tensor, "row length"] | None = None,
    ) -> Float[Tensor, ""]:
        """Return the summed loss of all labels."""
        return chunked_cross_entropy(
            self.model, tokens, labels, mask=mask, positions=positions, piece=self._piece
        )


@final
class FineTuning:
    """One pretrained model on its way through training, from its checkpoint on if there is one.

    The text of a step, and what is drawn in it, depend on the seed and the step alone, and not on
    how many processes share its rows; so a run that was interrupted goes on as it would have.

    Attributes:
        model: the model, trained in place, in what makes its loss.
        state: where it stands.

    Raises:
        StorageError: a checkpoint could not be written, or is of another model.
        ConfigError: see `make_accelerator`; also under DeepSpeed, where a checkpoint has begun.
    """

    def __init__(
        self,
        model: nn.Module,
        stream: Callable[[StreamPosition], RowStream],
        config: FineTuningConfig,
        *,
        seed: int,
        checkpoint_path: Path,
        accelerator: Any,
        padding: int = 0,
        run_name: str = "statespan",
    ) -> None:
        self._config, self._seed, self._path = config, seed, checkpoint_path
        self._padding, self._accelerator = padding, accelerator
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(
            weights, lr=config.learning_rate, betas=BETAS, weight_decay=config.weight_decay
        )
        self.model, self._optimizer = accelerator.prepare(TokenLoss(model), optimizer)
        self._inner: nn.Module = accelerator.unwrap_model(self.model).model
        # DeepSpeed has made one long tensor of the optimizer's state, which nothing here can read.
        is_flat = accelerator.distributed_type.value == "DEEPSPEED"
        self._raw: Any = None if is_flat else getattr(self._optimizer, "optimizer", self._optimizer)
        self._attention = hook_of(model)
        self.state = FineTuningState()
        if checkpoint_path.exists():
            self.state = read_state(checkpoint_path, FineTuningState)
            if is_flat and 0 < self.state.step < config.steps:
                raise ConfigError(
                    "a training under DeepSpeed cannot be continued, for its optimizer's state is "
                    "not kept: begin a new run."
                )
            load_trainable(checkpoint_path, self._inner, self._raw)
        self._stream = stream(self.state.position)
        if not checkpoint_path.exists():
            self._save()
        if config.trackers:
            accelerator.init_trackers(run_name, config=_plain(config))

    def run(
        self,
        *,
        on_record: Callable[[TokensRecord], None] = lambda _: None,
        on_step: Callable[[int, float], None] = lambda *_: None,
    ) -> None:
        """Train to the last step.

        `on_record` gets a record every `checkpoint_every` steps, before the checkpoint is written;
        `on_step` gets the number of steps done and the loss of a token in the last; both in the
        first process alone.

        Raises:
            TrainingError: the loss or a weight is not finite; the last checkpoint is kept.
            StorageError: a checkpoint could not be written; the one before is kept.
        """
        config = self._config
        loss_sum, labels, began = 0.0, 0, time.perf_counter()
        self.model.train()
        while self.state.step < config.steps:
            added, count = self._step()
            loss_sum, labels, step = loss_sum + added, labels + count, self.state.step
            if self._accelerator.is_main_process:
                on_step(step, added / count)
            if step % config.checkpoint_every and step != config.steps:
                continue
            record = TokensRecord(
                step=step,
                tokens=self.state.tokens,
                loss_sum=loss_sum,
                weight=float(labels),
                learning_rate=config.rate(step),
                seconds=time.perf_counter() - began,
            )
            self._report(record, on_record)
            loss_sum, labels, began = 0.0, 0, time.perf_counter()
        self.model.eval()

    def end(self) -> None:
        """Close the trackers."""
        self._accelerator.end_training()

    def _report(self, record: TokensRecord, on_record: Callable[[TokensRecord], None]) -> None:
        if self._accelerator.is_main_process:
            on_record(record)
        if self._config.trackers:
            values = {
                "loss": record.loss,
                "learning_rate": record.learning_rate,
                "tokens": record.tokens,
                "seconds": record.seconds,
            }
            self._accelerator.log(values, step=record.step)
        self._save()

    def _save(self) -> None:
        save_trainable(
            self._path,
            self._inner,
            self._raw,
            self.state,
            writes=self._accelerator.is_main_process,
        )
        self._accelerator.wait_for_everyone()

    def _step(self) -> tuple[float, int]:
        """Make one step; return the summed loss of its labels, and their number."""
        config, step, processes = self._config, self.state.step + 1, self._accelerator.num_processes
        rows = self._stream.next_rows(config.rows)
        labels = sum(row.num_labels for row in rows)
        for group in self._optimizer.param_groups:
            group["lr"] = config.rate(step)
        own = rows[self._accelerator.process_index :: processes]
        parts = [own[i : i + config.batch_size] for i in range(0, len(own), config.batch_size)]
        loss_sum = torch.zeros((), device=self._accelerator.device)
        with self._drawing(step):
            for part in parts:
                loss_sum += self._backward(part, len(parts) * processes / labels)
        total = float(self._accelerator.reduce(loss_sum, reduction="sum").item())
        if not math.isfinite(total):
            raise TrainingError(
                f"the loss is {total} at step {step}; the last good checkpoint is kept in "
                f"{self._path}. A lower training.learning_rate may help."
            )
        self._finish()
        self.state = FineTuningState(
            step=step,
            tokens=self.state.tokens + config.rows * self._stream.length,
            position=self._stream.position,
        )
        return total, labels

    def _backward(self, rows: Sequence[Row], scale: float) -> Tensor:
        """Add the gradients of these rows; return their summed loss."""
        batch = batch_rows(rows, self._stream.length, padding=self._padding)
        device = self._accelerator.device
        if self._attention is not None:
            self._attention.step = self.state.step  # chunk sizes are drawn by it, not by the pass
        tensors = (batch.tokens, batch.labels, batch.mask, batch.positions)
        with self._accelerator.accumulate(self.model):
            loss: Tensor = self.model(
                *(None if tensor is None else tensor.to(device) for tensor in tensors)
            )
            # accelerate divides by the number of parts, and processes take the mean of gradients.
            self._accelerator.backward(loss * scale)
        return loss.detach()

    def _finish(self) -> None:
        """Let the optimizer take a step with the gradients that were added up."""
        if self._config.clip:
            self._accelerator.clip_grad_norm_(self._trained(), self._config.clip)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def _trained(self) -> list[nn.Parameter]:
        return [weight for weight in self.model.parameters() if weight.requires_grad]

    @contextmanager
    def _drawing(self, step: int) -> Iterator[None]:
        """Let dropout draw from a stream of this step's own, and leave the global one alone."""
        device = self._accelerator.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            name = f"dropout/{step}/{self._accelerator.process_index}"
            torch.random.manual_seed(torch_stream(self._seed, name).initial_seed())
            yield


def _layer_classes(model: nn.Module) -> set[str]:
    """Return the names of the classes of a model's layers, as they are now."""
    outer: Any = model_of(model)
    decoder = outer.get_decoder()
    stacks = (module for module in decoder.children() if isinstance(module, nn.ModuleList))
    return {type(layer).__name__ for stack in stacks for layer in stack}


def _plain(config: FineTuningConfig) -> dict[str, Any]:
    return {
        name: value
        for name, value in msgspec.to_builtins(config).items()
        if isinstance(value, (int, float, str, bool))
    }
