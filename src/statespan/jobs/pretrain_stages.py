"""The stages of a pretraining: its text is read, its model is made, and then trained."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import msgspec
from tokenizers import Tokenizer

from statespan.errors import ConfigError, InputError
from statespan.jobs.pretrain_config import PretrainConfig
from statespan.jobs.pretrain_measurement import HeldOutDocuments, draw_held_out, measure_held_out
from statespan.jobs.probe_stages import Progress
from statespan.pretrained import accelerate
from statespan.pretrained.hybrid import build_hybrid, hybrid_weights, load_weights
from statespan.records import HeldOutRecord, Record, RunDirectory, TokensRecord, read_bytes
from statespan.training import checkpoint_step, python_stream, torch_stream
from statespan.training.documents import (
    END_ID,
    PAD_ID,
    DocumentSource,
    Prose,
    document_encoder,
    read_prose,
    tokenizer_files,
    train_tokenizer,
)
from statespan.training.pretraining import Pretraining

__all__ = [
    "TOKENIZER",
    "PreparedPretraining",
    "Texts",
    "first_files",
    "prepare",
    "read_texts",
    "same_texts",
    "text_digests",
    "train_hybrid",
]

CHECKPOINT, LOG, TOKENIZER, DIGESTS = (
    "checkpoint.safetensors",
    "training.jsonl",
    "tokenizer.json",
    "text.json",
)
INITIAL, MODEL_WEIGHTS = "initial.safetensors", "model.safetensors"


@final
@dataclass(frozen=True, slots=True)
class Texts:
    """The text that a run trains on, and the text that it is measured on."""

    training: Prose
    validation: Prose


@final
@dataclass(frozen=True, slots=True)
class PreparedPretraining:
    """A pretraining whose documents can be drawn: what is left is to train and measure."""

    config: PretrainConfig
    texts: Texts
    tokenizer: Tokenizer
    source: DocumentSource
    held_out: HeldOutDocuments
    progress: Progress


def read_texts(config: PretrainConfig, progress: Progress) -> Texts:
    """Return the novels of both folders.

    Raises:
        InputError: a folder is not there, holds no `.txt` file, or one that is no text to train on.
        StorageError: a file cannot be read.
    """
    progress("reading text", 0, 2, config.text)
    training = read_prose(Path(config.text))
    progress("reading text", 1, 2, config.validation)
    validation = read_prose(Path(config.validation))
    progress("reading text", 2, 2, f"{training.characters:,} characters")
    return Texts(training, validation)


def text_digests(texts: Texts) -> tuple[str, bytes]:
    """Return a file that tells whether the text is still the same when a run is resumed."""
    digests = {"text": texts.training.digest, "validation": texts.validation.digest}
    return DIGESTS, msgspec.json.encode(digests)


def same_texts(directory: RunDirectory, config: PretrainConfig, progress: Progress) -> Texts:
    """Return the novels of a run that is resumed.

    Raises:
        InputError: they are not those that the run began with, or cannot be used.
        StorageError: a file cannot be read.
    """
    texts = read_texts(config, progress)
    name, digests = text_digests(texts)
    if read_bytes(directory.path / name) != digests:
        raise InputError(
            f"the text in {config.text} or {config.validation} has changed since the run in "
            f"{directory.path} began: put it back, or begin a new run."
        )
    return texts


def prepare(
    config: PretrainConfig, texts: Texts, tokenizer: Tokenizer, progress: Progress
) -> PreparedPretraining:
    """Return a run with its sources of documents, and those that it is measured on.

    Raises:
        LengthError: no held-out document is as short as it has to be.
    """
    encoder = document_encoder(tokenizer)
    source = DocumentSource(texts.training, encoder)
    held_out = draw_held_out(config, DocumentSource(texts.validation, encoder))
    return PreparedPretraining(config, texts, tokenizer, source, held_out, progress)


def train_hybrid(prepared: PreparedPretraining, directory: RunDirectory) -> Any:
    """Return the model, trained to the end in a run directory.

    Raises:
        TrainingError: the loss stopped being finite; the last good checkpoint is kept.
        StorageError: a file cannot be written, or read.
    """
    config = prepared.config
    model = _build(config, prepared.tokenizer)
    if config.initialize_from is not None:
        path = directory.path / INITIAL
        load_weights(model, read_bytes(path), str(path))
    training = Pretraining(
        model,
        prepared.source,
        config.mixture,
        config.training,
        context=config.context,
        seed=config.seed,
        checkpoint_path=directory.path / CHECKPOINT,
    )
    _drop_records(directory, training.done)

    def write(record: TokensRecord) -> None:
        directory.append(LOG, record)
        if _is_measured(config, record.step):
            for measured in measure_held_out(model, prepared.held_out, step=record.step):
                directory.append(LOG, measured)

    training.run(on_record=write, on_step=_tell(config, training.done, prepared.progress))
    return model


def first_files(config: PretrainConfig, texts: Texts) -> tuple[Tokenizer, list[tuple[str, bytes]]]:
    """Return the tokenizer of a new run, and the files that it has from its beginning.

    Raises:
        InputError: `initialize_from` is no folder of a model and a tokenizer.
        ConfigError: it has another vocabulary than the config says.
        StorageError: a file cannot be read.
    """
    if config.initialize_from is None:
        rng = python_stream(config.seed, "tokenizer")
        tokenizer, weights = train_tokenizer(texts.training, config.vocab_size, rng=rng), None
    else:
        folder = Path(config.initialize_from)
        for name in (TOKENIZER, MODEL_WEIGHTS):
            if not (folder / name).is_file():
                raise InputError(
                    f"initialize_from must be the folder of a model, got {folder}: no {name}."
                )
        tokenizer = Tokenizer.from_buffer(read_bytes(folder / TOKENIZER))
        weights = read_bytes(folder / MODEL_WEIGHTS)
        if tokenizer.get_vocab_size() != config.vocab_size:
            raise ConfigError(
                f"vocab_size must be that of the model in {folder}, {tokenizer.get_vocab_size()}, "
                f"got {config.vocab_size}."
            )
    files = [*tokenizer_files(tokenizer, config.context), text_digests(texts)]
    if weights is not None:
        model = _build(config, tokenizer)
        load_weights(model, weights, str(config.initialize_from))
        files.append((INITIAL, hybrid_weights(model)))
    return tokenizer, files


def _build(config: PretrainConfig, tokenizer: Tokenizer) -> Any:
    model = build_hybrid(
        config.model,
        vocab_size=tokenizer.get_vocab_size(),
        context=config.context,
        end_id=END_ID,
        pad_id=PAD_ID,
        generator=torch_stream(config.seed, "initialization"),
    )
    accelerate(model)
    return model


def _drop_records(directory: RunDirectory, done: int) -> None:
    """Drop the records of steps after the checkpoint, which are to be made again."""
    assert done == checkpoint_step(directory.path / CHECKPOINT), "training starts there"
    kept = [record for record in directory.read_records(LOG) if _step_of(record) <= done]
    directory.write_records(LOG, kept)


def _step_of(record: Record) -> int:
    return record.step if isinstance(record, TokensRecord | HeldOutRecord) else 0


def _is_measured(config: PretrainConfig, step: int) -> bool:
    number, rest = divmod(step, config.training.report_every)
    return not rest and number % config.training.measure_every == 0


def _tell(
    config: PretrainConfig, done_before: int, progress: Progress
) -> Callable[[int, float], None]:
    steps, tokens = config.training.steps, config.training.rows * config.context
    began = time.perf_counter()

    def tell(step: int, loss: float) -> None:
        a_step = (time.perf_counter() - began) / (step - done_before)
        remark = (
            f"loss {loss:.3f}, {tokens / a_step:,.0f} tokens/s, "
            f"{(steps - step) * a_step / 60:.0f} min left"
        )
        progress("training", step, steps, remark)

    return tell
