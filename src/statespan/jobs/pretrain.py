"""Train a small hybrid from scratch on novels, and on documents that ask for what stood in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from tokenizers import Tokenizer

from statespan.jobs.measurement import finished_records
from statespan.jobs.pretrain_card import model_card
from statespan.jobs.pretrain_config import PretrainConfig, pretrain_config
from statespan.jobs.pretrain_measurement import measure_held_out
from statespan.jobs.pretrain_stages import (
    LOG,
    TOKENIZER,
    PreparedPretraining,
    first_files,
    prepare,
    read_texts,
    same_texts,
    train_hybrid,
)
from statespan.jobs.probe_stages import Progress, use_threads
from statespan.pretrained.hybrid import round_weights, save_hybrid
from statespan.records import (
    EndRecord,
    PretrainingRecord,
    Record,
    RunDirectory,
    read_bytes,
    write_atomically,
)
from statespan.report.pretraining import draw_pretraining
from statespan.training.documents import tokenizer_files

__all__ = ["PretrainResult", "pretrain", "resume_pretrain"]

MODEL, PICTURE, RECORDS = "model", "loss.png", "records.jsonl"


@final
@dataclass(frozen=True, slots=True)
class PretrainResult:
    """What a pretraining made.

    Attributes:
        directory: the run directory.
        model: the folder in it that `transformers` opens, with the tokenizer and a model card.
        picture: the PNG of losses and recall by tokens in it.
        records: the run, then what the model, as it was saved, reads and recalls.
    """

    directory: Path
    model: Path
    picture: Path
    records: list[Record]


def pretrain(
    config: PretrainConfig, path: Path, *, progress: Progress = lambda *_: None
) -> PretrainResult:
    """Train as `config` says, in the new run directory `path`.

    A run is a function of its config and its text: same config, same text, same versions and same
    machine, same numbers.

    Raises:
        RunDirectoryError: `path` is not empty.
        InputError: a folder of text is not there, or holds what is no text to train on; or there
            is no model to go on with.
        ConfigError: the model to go on with has other sizes.
        LengthError: no held-out document is as short as it has to be.
        TrainingError: the loss stopped being finite; the last good checkpoint is kept.
        StorageError: the disk is full, or a file cannot be written or read.
    """
    texts = read_texts(config, progress)
    tokenizer, files = first_files(config, texts)
    prepared = prepare(config, texts, tokenizer, progress)
    directory = RunDirectory.create(path, config, files=files)
    with directory.lock():
        return _run(prepared, directory)


def resume_pretrain(path: Path, *, progress: Progress = lambda *_: None) -> PretrainResult:
    """Continue the run in `path` to the numbers that it would have given uninterrupted.

    A finished run is only read.

    Raises:
        RunDirectoryError: there is no run, or another process is at work in it.
        InputError: the text is not what it was when the run began.
    """
    directory = RunDirectory.open(path)
    with directory.lock():
        records = finished_records(directory)
        if records:
            return _result(directory, records)
        config = pretrain_config(directory.config_table())
        texts = same_texts(directory, config, progress)
        tokenizer = Tokenizer.from_buffer(read_bytes(path / TOKENIZER))
        return _run(prepare(config, texts, tokenizer, progress), directory)


def _run(prepared: PreparedPretraining, directory: RunDirectory) -> PretrainResult:
    config = prepared.config
    with use_threads(config.training.threads):
        model = train_hybrid(prepared, directory)
        round_weights(model)
        prepared.progress("measuring", 0, 1, "held-out documents")
        measured = measure_held_out(model, prepared.held_out, step=config.training.steps)
        prepared.progress("measuring", 1, 1, "held-out documents")
    records: list[Record] = [_describe(prepared, model), *measured]
    picture = draw_pretraining(directory.read_records(LOG))
    card = model_card(config, records)
    files = tokenizer_files(prepared.tokenizer, config.context)
    files += [("README.md", card.encode()), (PICTURE, picture)]
    save_hybrid(model, directory.path / MODEL, files=files)
    write_atomically(directory.path / PICTURE, picture)
    directory.write_records(RECORDS, [*records, EndRecord(records=len(records))])
    return _result(directory, records)


def _describe(prepared: PreparedPretraining, model: Any) -> PretrainingRecord:
    config = prepared.config
    return PretrainingRecord(
        model=model.config.model_type,
        layers=config.model.layers,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        vocab_size=prepared.tokenizer.get_vocab_size(),
        context=config.context,
        steps=config.training.steps,
        tokens=config.training.steps * config.training.rows * config.context,
        characters=prepared.texts.training.characters,
    )


def _result(directory: RunDirectory, records: list[Record]) -> PretrainResult:
    path = directory.path
    return PretrainResult(path, path / MODEL, path / PICTURE, records)
