"""The stages of an extension: all is looked at, the model is measured, trained, measured again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from statespan.errors import InputError
from statespan.evaluation.attentions import attending, make_attention
from statespan.evaluation.language_model import LanguageModel, load_language_model
from statespan.evaluation.perplexity import check_text
from statespan.evaluation.prose import open_prose
from statespan.jobs.evaluate import evaluate
from statespan.jobs.evaluate_plan import cells_with_room, plan_cells
from statespan.jobs.extend_config import (
    ExtendConfig,
    complete,
    measurement_config,
    train_attention,
    training_config,
)
from statespan.jobs.extend_model import Trainee, build_trainee, check_model, make_stream
from statespan.jobs.probe_stages import Progress
from statespan.memory import FullAttention
from statespan.pretrained import disable, enable
from statespan.pretrained.context_length import context_length
from statespan.pretrained.span.plan import plan_extension
from statespan.pretrained.span.setting import mark_trained
from statespan.records import ExtensionRecord, Record, RunDirectory, TokensRecord
from statespan.training.fine_tuning import FineTuning, FineTuningState
from statespan.training.fine_tuning_config import make_accelerator
from statespan.training.text import StreamPosition, TextSource, open_text
from statespan.training.trainable_state import load_trainable, read_state

__all__ = [
    "AFTER",
    "BEFORE",
    "LOG",
    "PreparedExtension",
    "describe_extension",
    "measure_stage",
    "prepare_extension",
    "train_extension",
]

CHECKPOINT, LOG = "checkpoint.safetensors", "training.jsonl"
BEFORE, AFTER = "before", "after"


@final
@dataclass(frozen=True, slots=True)
class PreparedExtension:
    """An extension that is known to be possible.

    Attributes:
        config: with everything that was left to the recipe.
        base: the model, as it is before, and later what is trained of it.
        context: the length that it was made for.
    """

    config: ExtendConfig
    base: LanguageModel
    context: int | None
    source: TextSource
    accelerator: Any
    progress: Progress


def prepare_extension(config: ExtendConfig, path: Path, progress: Progress) -> PreparedExtension:
    """Look at everything that can be refused, before anything is written.

    Raises:
        StatespanError: as `extend` does.
    """
    progress("reading the model", 0, 1, config.model)
    base = _load(config)
    context = context_length(base.model)
    config = complete(config, base)
    check_model(config, base)
    progress("reading the model", 1, 1, f"{base.parameters:,} parameters")
    progress("reading text", 0, 1, config.text)
    source = open_text(Path(config.text), field=config.data.field)
    source.fingerprint  # noqa: B018  # all text is looked at
    make_stream(config, base, source)(StreamPosition()).check()
    for reason in _check_measurement(config, base):
        progress(f"left out: {reason}", 1, 1, "")
    progress("reading text", 1, 1, f"{source.num_units:,} files or lines")
    accelerator = make_accelerator(training_config(config), logs=path / "trackers")
    base.model.to(accelerator.device)
    return PreparedExtension(config, base, context, source, accelerator, progress)


def measure_stage(prepared: PreparedExtension, directory: RunDirectory, stage: str) -> list[Record]:
    """Measure the model, in a run directory of its own; what is there already is only read."""
    config = measurement_config(prepared.config, before=stage == BEFORE)

    def show(what: str, done: int, total: int, remark: str) -> None:
        if what == "evaluating":  # what is left out was told before
            prepared.progress(f"measuring {stage}", done, total, remark)

    path = directory.path / stage
    return evaluate(config, path, model=prepared.base, progress=show).records


def train_extension(
    prepared: PreparedExtension, directory: RunDirectory
) -> tuple[PreparedExtension, Trainee]:
    """Train the model, from the checkpoint on if there is one; return it with its own attention.

    Where processes share its weights out, the first one reads the whole ones from the checkpoint.

    Raises:
        TrainingError: the loss stopped being finite; the last good checkpoint is kept.
        StorageError: a file cannot be written, or read.
    """
    config, path = training_config(prepared.config), directory.path / CHECKPOINT
    trainee = build_trainee(prepared.config, prepared.base, prepared.source)
    done = read_state(path, FineTuningState).step if path.exists() else 0
    is_whole = prepared.accelerator.num_processes == 1
    if done < config.steps or not path.exists():
        _train(prepared, trainee, directory, done)
        if not is_whole:
            fresh = _load(prepared.config)
            fresh.model.to(prepared.accelerator.device)
            trainee = build_trainee(prepared.config, fresh, prepared.source)
            load_trainable(path, trainee.model)
    else:
        load_trainable(path, trainee.model)
    attention = train_attention(prepared.config)
    if not isinstance(attention, FullAttention):
        mark_trained(plan_extension(trainee.model), attention, config.steps)
    disable(trainee.model)
    trainee.model.eval()
    live = LanguageModel(trainee.model, prepared.base.tokenizer, prepared.base.name)
    others = (prepared.context, prepared.source, prepared.accelerator, prepared.progress)
    return PreparedExtension(prepared.config, live, *others), trainee


def _train(
    prepared: PreparedExtension, trainee: Trainee, directory: RunDirectory, done: int
) -> None:
    config, accelerator = training_config(prepared.config), prepared.accelerator
    enable(trainee.model, train_attention(prepared.config), step=done)
    tuning = FineTuning(
        trainee.model,
        trainee.stream,
        config,
        seed=prepared.config.seed,
        checkpoint_path=directory.path / CHECKPOINT,
        accelerator=accelerator,
        padding=prepared.base.padding,
    )
    if accelerator.is_main_process:
        kept = [r for r in directory.read_records(LOG) if _step_of(r) <= done]
        directory.write_records(LOG, kept)
    tuning.run(
        on_record=lambda record: directory.append(LOG, record),
        on_step=_teller(prepared, done),
    )
    tuning.end()


def describe_extension(prepared: PreparedExtension, trainee: Trainee) -> ExtensionRecord:
    """Return what was done to a model that `train_extension` returned."""
    config, training = prepared.config, training_config(prepared.config)
    weights = {id(weight): weight for weight in trainee.model.parameters()}
    trained = sum(weight.numel() for weight in weights.values() if weight.requires_grad)
    return ExtensionRecord(
        model=prepared.base.name,
        architecture=prepared.base.model.config.model_type,
        parameters=sum(weight.numel() for weight in weights.values()),
        trainable=trained,
        method=config.method,
        rank=config.rank or 0,
        alpha=config.alpha or 0.0,
        context=prepared.context,
        length=config.length,
        rope=config.rope or "none",
        attention=str(train_attention(config)),
        extended=len(trainee.extended),
        packed=trainee.packed,
        text=prepared.source.name,
        recall=config.recall.share,
        steps=training.steps,
        tokens=training.steps * training.rows * config.length,
        learning_rate=training.learning_rate,
    )


def _load(config: ExtendConfig) -> LanguageModel:
    model = load_language_model(Path(config.model), dtype=config.dtype, device=config.device)
    if model.tokenizer is None:
        raise InputError(f"{config.model} needs a tokenizer beside the model, got none.")
    return model


def _check_measurement(config: ExtendConfig, model: LanguageModel) -> list[str]:
    """Check, before hours of training, what would stop the measurement after them.

    Returns what is left out of it, and why.
    """
    for before in (True, False):
        measured = measurement_config(config, before=before)
        cells = plan_cells(measured)
        for name in measured.attention:
            with attending(model.model, make_attention(name, measured.attentions.get(name, {}))):
                pass
    if "perplexity" in measured.suite:
        path = None if measured.text is None else Path(measured.text)
        check_text(model, open_prose(path, field=measured.field), max(measured.lengths))
    return cells_with_room(measured, model, cells)[1]


def _step_of(record: Record) -> int:
    return record.step if isinstance(record, TokensRecord) else 0


def _teller(prepared: PreparedExtension, done_before: int) -> Callable[[int, float], None]:
    config, began = training_config(prepared.config), time.perf_counter()
    tokens = config.rows * prepared.config.length

    def tell(step: int, loss: float) -> None:
        a_step = (time.perf_counter() - began) / (step - done_before)
        left = (config.steps - step) * a_step
        remark = f"loss {loss:.3f}, {tokens / a_step:,.0f} tokens/s, {left / 60:.1f} min left"
        prepared.progress("training", step, config.steps, remark)

    return tell
