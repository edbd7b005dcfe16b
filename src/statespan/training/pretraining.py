"""Training a language model from scratch on documents drawn on the way."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, final

import msgspec
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from statespan.errors import TrainingError
from statespan.records import TokensRecord
from statespan.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from statespan.training.documents import DocumentSource, Mixture, Rows, draw_rows
from statespan.training.loop import TrainingConfig, build_optimizer, learning_rate
from statespan.training.streams import python_stream

__all__ = ["Pretraining", "PretrainingConfig", "target_logits"]

AtLeast0: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
AtLeast1: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Positive: TypeAlias = Annotated[float, msgspec.Meta(gt=0)]
NotNegative: TypeAlias = Annotated[float, msgspec.Meta(ge=0)]


class PretrainingConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a language model is trained from scratch.

    Attributes:
        steps: optimizer steps (AdamW), each over `rows` rows of as many tokens as the context.
        schedule: "cosine" (down to 0 over the steps) or "constant", after `warmup` steps.
        clip: the largest norm of the gradient; 0 for no limit.
        report_every: steps between two records, each with a checkpoint.
        measure_every: records between two measurements on held-out documents.
        threads: the number of CPU threads; results are equal only at equal numbers of threads.
    """

    steps: AtLeast0 = 4_000
    rows: AtLeast1 = 4
    learning_rate: Positive = 3e-3
    weight_decay: NotNegative = 0.01
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: AtLeast0 = 100
    clip: NotNegative = 1.0
    report_every: AtLeast1 = 50
    measure_every: AtLeast1 = 5
    threads: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1

    @property
    def optimization(self) -> TrainingConfig:
        """The part that every training has: the optimizer and its rates."""
        return TrainingConfig(
            steps=self.steps,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            warmup=self.warmup,
        )


def target_logits(model: Any, rows: Rows) -> Float[Tensor, "target token"]:
    """Return the logits for each target that counts, row by row.

    `model` is a causal language model of `transformers`; the head is applied where a target counts,
    and nowhere else. Documents in one row do not see each other.
    """
    hidden = model.base_model(
        input_ids=rows.tokens, position_ids=rows.positions, use_cache=False
    ).last_hidden_state
    logits: Tensor = model.get_output_embeddings()(hidden[rows.weights > 0])
    return logits.float()


@final
class Pretraining:
    """One language model on its way through training, from its checkpoint on if there is one.

    The documents of a step depend on the seed and the step alone, so a run that was interrupted
    goes on exactly as it would have.

    Attributes:
        model: the model, trained in place: a causal language model of `transformers` whose head
            is its embedding.
        done: the number of steps done.

    Raises:
        StorageError: a checkpoint could not be written, or is of another model.
    """

    def __init__(
        self,
        model: Any,
        source: DocumentSource,
        mixture: Mixture,
        config: PretrainingConfig,
        *,
        context: int,
        seed: int,
        checkpoint_path: Path,
    ) -> None:
        self.model = model
        self._source, self._mixture, self._config = source, mixture, config
        self._context, self._seed, self._checkpoint_path = context, seed, checkpoint_path
        self._optimizer = build_optimizer(model, config.optimization)
        self.done = 0
        if checkpoint_path.exists():
            self.done = load_checkpoint(checkpoint_path, self._trunk, self._optimizer).step
        else:
            save_checkpoint(checkpoint_path, self._trunk, self._optimizer, Checkpoint(0))

    @property
    def _trunk(self) -> nn.Module:
        # The head is the embedding, so that the model below it has all the parameters.
        trunk: nn.Module = self.model.base_model
        return trunk

    def run(
        self,
        *,
        on_record: Callable[[TokensRecord], None],
        on_step: Callable[[int, float], None] = lambda *_: None,
    ) -> None:
        """Train to the last step.

        `on_record` gets a record every `report_every` steps, before the checkpoint is written; it
        may measure the model. `on_step` gets the number of steps done and the loss of the last.

        Raises:
            TrainingError: the loss or a weight is not finite; the last checkpoint is kept.
            StorageError: a checkpoint could not be written; the one before is kept.
        """
        config = self._config
        loss_sum, weight, began = 0.0, 0.0, time.perf_counter()
        self.model.train()
        while self.done < config.steps:
            rate = learning_rate(config.optimization, self.done + 1)
            added = self._step(self._rows(self.done + 1), rate)
            self.done += 1
            loss_sum, weight = loss_sum + added[0], weight + added[1]
            on_step(self.done, added[0] / added[1])
            if self.done % config.report_every == 0 or self.done == config.steps:
                record = TokensRecord(
                    step=self.done,
                    tokens=self.done * config.rows * self._context,
                    loss_sum=loss_sum,
                    weight=weight,
                    learning_rate=rate,
                    seconds=time.perf_counter() - began,
                )
                on_record(record)
                checkpoint = Checkpoint(self.done)
                save_checkpoint(self._checkpoint_path, self._trunk, self._optimizer, checkpoint)
                loss_sum, weight, began = 0.0, 0.0, time.perf_counter()
                self.model.train()

    def _rows(self, step: int) -> Rows:
        return draw_rows(
            self._source,
            self._mixture,
            self._config.rows,
            self._context,
            step=step,
            steps=self._config.steps,
            rng=python_stream(self._seed, f"documents/{step}"),
        )

    def _step(self, rows: Rows, rate: float) -> tuple[float, float]:
        """Make one step; return the weighted sum of its losses and the sum of the weights."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        counts = rows.weights > 0
        logits, weights = target_logits(self.model, rows), rows.weights[counts]
        losses = cross_entropy(logits, rows.targets[counts], reduction="none")
        loss_sum, weight = (losses * weights).sum(), weights.sum()
        if not math.isfinite(loss_sum.item()):
            raise TrainingError(
                f"the loss is {loss_sum.item()} at step {self.done + 1}; the last good checkpoint "
                f"is kept in {self._checkpoint_path}. A lower training.learning_rate may help."
            )
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss_sum / weight)
        if self._config.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self._config.clip)
        self._optimizer.step()
        return loss_sum.item(), weight.item()
