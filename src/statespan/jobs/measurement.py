"""The last stage of a probe: its model is saved and measured."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
from safetensors.torch import save

from statespan.evaluation import evaluate_bins, evaluate_lengths, evaluate_recognition
from statespan.jobs.probe_config import ProbeConfig
from statespan.jobs.probe_stages import PreparedProbe, find_published, find_sampler
from statespan.models import SequenceModel, architecture
from statespan.records import EndRecord, Record, RunDirectory, RunRecord, write_atomically
from statespan.records.storage import storage_error
from statespan.training import BOS, EOS, PAD, Readout, TrainingRun, python_stream

__all__ = ["finished_records", "measure"]


def measure(probe: PreparedProbe, run: TrainingRun) -> list[Record]:
    """Save the trained model, measure it, and write and return the records.

    Raises:
        StorageError: a file cannot be written.
    """
    directory, model, readout = probe.directory, run.model, run.readout
    _save_model(directory.path / "model", model, readout, probe.config)
    records = _evaluate(probe, model, readout)
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
    meaning = {
        "alphabet": readout.vocabulary.alphabet,
        "loss": config.training.loss,
        "answer_sets": readout.answer_sets.tolist(),
        "model": msgspec.to_builtins(config.model),
    }
    write_atomically(folder / "readout.json", json.dumps(meaning).encode())
    transformers_config = model.transformers_config()
    if transformers_config is not None and model.num_outputs == model.vocab_size:
        ids = {"bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": PAD}
        content = json.dumps({**transformers_config, **ids}, indent=2).encode()
        write_atomically(folder / "config.json", content)


def _evaluate(probe: PreparedProbe, model: SequenceModel, readout: Readout) -> list[Record]:
    config, language, data, progress = probe.config, probe.language, probe.data, probe.progress
    name = architecture(config.model)
    lengths = _curve_lengths(data.bins[0][0], data.bins[-1][1], config.evaluation.curve_lengths)
    total = len(lengths) + 2
    progress("measuring", 0, total, "bins")
    run = RunRecord(
        language=language.name,
        alphabet=list(language.alphabet),
        model=name,
        layers=config.model.layers,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        steps=config.training.steps,
        loss=config.training.loss,
        sampler=find_sampler(config, language),
        train_words=len(data.train),
        train_lengths=data.bins[0],
    )
    bins = evaluate_bins(
        model,
        readout,
        data,
        find_published(language),
        architecture=name,
        layers=config.model.layers,
    )
    progress("measuring", 1, total, "near misses")
    recognition = evaluate_recognition(
        model,
        readout,
        language,
        data,
        config.evaluation.negatives,
        python_stream(config.seed, "negatives"),
    )
    curve = evaluate_lengths(
        model,
        readout,
        language,
        lengths,
        config.evaluation.curve_words,
        python_stream(config.seed, "curve"),
        on_step=lambda done: progress("measuring", 2 + done, total, "accuracy by length"),
    )
    return [run, *bins, *curve, *recognition]


def _curve_lengths(shortest: int, longest: int, count: int) -> list[int]:
    span = longest - shortest
    if count <= 1 or span < count:
        return list(range(shortest, longest + 1)) if count else []
    return sorted({shortest + round(i * span / (count - 1)) for i in range(count)})
