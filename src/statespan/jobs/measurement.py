"""The last stage of a probe: its model is saved and measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from safetensors.torch import save

from statespan.evaluation import (
    evaluate_bins,
    evaluate_errors,
    evaluate_lengths,
    evaluate_recognition,
)
from statespan.jobs.probe_config import ProbeConfig
from statespan.jobs.probe_stages import INITIAL_WEIGHTS, PreparedProbe
from statespan.jobs.probe_subject import find_published, find_sampler, symbols_of
from statespan.languages import Language
from statespan.models import SequenceModel, architecture
from statespan.records import (
    EndRecord,
    ErrorRecord,
    PositionRecord,
    RecognitionRecord,
    Record,
    RunDirectory,
    RunRecord,
    write_atomically,
)
from statespan.records.storage import storage_error
from statespan.tasks import SymbolTask, ValueTask
from statespan.training import (
    BOS,
    EOS,
    PAD,
    AnswerData,
    LanguageData,
    Readout,
    SetReadout,
    TrainingRun,
    ValueData,
    python_stream,
)
from statespan.training.initial_weights import read_maker
from statespan.training.trained_model import READOUT, TASK

__all__ = ["finished_records", "measure"]


def measure(probe: PreparedProbe, run: TrainingRun) -> list[Record]:
    """Save the trained model, measure it, and write and return the records.

    Raises:
        StorageError: a file cannot be written.
    """
    directory = probe.directory
    _save_model(directory.path / "model", run.model, run.readout, probe.config)
    records = _evaluate(probe, run)
    directory.write_records("records.jsonl", [*records, EndRecord(records=len(records))])
    return records


def finished_records(directory: RunDirectory) -> list[Record]:
    """Return the records of a finished run; none if it is not, or if some are missing."""
    records = directory.read_records("records.jsonl")
    end = records.pop() if records else None
    return records if isinstance(end, EndRecord) and end.records == len(records) else []


def _save_model(folder: Path, model: SequenceModel, readout: Readout, config: ProbeConfig) -> None:
    """Write weights, what the outputs mean, and, where `transformers` can open them, its config."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise storage_error(folder, "create", error) from error
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    write_atomically(folder / "model.safetensors", save(weights, metadata={"format": "pt"}))
    name, meaning = _meaning(readout, config)
    content = json.dumps({**meaning, "model": msgspec.to_builtins(config.model)}).encode()
    write_atomically(folder / name, content)
    transformers_config = model.transformers_config() if config.task is None else None
    if transformers_config is not None and model.num_outputs == model.vocab_size:
        ids = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
        content = json.dumps({**transformers_config, **ids}, indent=2).encode()
        write_atomically(folder / "config.json", content)


def _meaning(readout: Readout, config: ProbeConfig) -> tuple[str, dict[str, Any]]:
    """Return the name of the file that says what the outputs mean, and what it says."""
    if config.task is not None:
        return TASK, {"task": config.task}
    assert isinstance(readout, SetReadout), "that of a language"
    return READOUT, {
        "alphabet": readout.vocabulary.alphabet,
        "loss": config.training.loss,
        "answer_sets": readout.answer_sets.tolist(),
    }


def _evaluate(probe: PreparedProbe, run: TrainingRun) -> list[Record]:
    config, subject, data = probe.config, probe.subject, probe.data
    head = RunRecord(
        language=subject.name,
        is_task=config.task is not None,
        alphabet=list(symbols_of(subject)),
        model=architecture(config.model),
        layers=config.model.layers,
        parameters=sum(parameter.numel() for parameter in run.model.parameters()),
        steps=run.done,
        loss=config.training.loss if config.task is None else "task",
        sampler=find_sampler(config, subject),
        train_words=len(data.train),
        train_lengths=data.bins[0],
        weights_from=read_maker(probe.directory.path / INITIAL_WEIGHTS),
    )
    if isinstance(subject, Language | SymbolTask) and isinstance(data, AnswerData):
        return [head, *_evaluate_answers(probe, run, subject, data)]
    assert isinstance(subject, ValueTask), "the kind that is left"
    assert isinstance(data, ValueData), "what is drawn for it"
    return [head, *_evaluate_values(probe, run, subject, data)]


def _evaluate_values(
    probe: PreparedProbe, run: TrainingRun, task: ValueTask, data: ValueData
) -> list[ErrorRecord | PositionRecord]:
    total = len(data.bins)
    probe.progress("measuring", 0, total, "bins")
    return evaluate_errors(
        run.model,
        task,
        data,
        on_step=lambda done: probe.progress("measuring", done, total, "errors by position"),
    )


def _evaluate_answers(
    probe: PreparedProbe, run: TrainingRun, subject: Language | SymbolTask, data: AnswerData
) -> list[Record]:
    """Measure by bins and by lengths, and of a language what is a word at all."""
    config, progress, readout = probe.config, probe.progress, run.readout
    assert isinstance(readout, SetReadout), "that of a language or a task of symbols"
    lengths = _curve_lengths(data.bins[0][0], data.bins[-1][1], config.evaluation.curve_lengths)
    total = len(lengths) + 2
    progress("measuring", 0, total, "bins")
    bins = evaluate_bins(
        run.model,
        readout,
        data,
        find_published(subject),
        architecture=architecture(config.model),
        layers=config.model.layers,
    )
    progress("measuring", 1, total, "near misses")
    recognition: list[RecognitionRecord] = []
    if isinstance(data, LanguageData) and isinstance(subject, Language):
        stream = python_stream(config.seed, "negatives")
        recognition = evaluate_recognition(
            run.model, readout, subject, data, config.evaluation.negatives, stream
        )
    curve = evaluate_lengths(
        run.model,
        readout,
        subject,
        lengths,
        config.evaluation.curve_words,
        python_stream(config.seed, "curve"),
        on_step=lambda done: progress("measuring", 2 + done, total, "accuracy by length"),
    )
    return [*bins, *curve, *recognition]


def _curve_lengths(shortest: int, longest: int, count: int) -> list[int]:
    span = longest - shortest
    if count <= 1 or span < count:
        return list(range(shortest, longest + 1)) if count else []
    return sorted({shortest + round(i * span / (count - 1)) for i in range(count)})
