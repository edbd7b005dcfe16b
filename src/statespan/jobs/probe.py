"""Train a model on short words of a language, and say at which lengths it still knows it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias, final

import msgspec
import torch
from safetensors.torch import save

from statespan.errors import ConfigError, EmptyLanguageError
from statespan.evaluation import (
    Published,
    evaluate_bins,
    evaluate_lengths,
    evaluate_recognition,
    published_figures,
)
from statespan.languages import Language, Sampler, language_from_file, language_from_text
from statespan.languages.symbols import show_symbols
from statespan.models import MODELS, ModelConfig, SequenceModel, architecture, build_model
from statespan.models.mamba import MambaConfig
from statespan.records import (
    EndRecord,
    Record,
    RunDirectory,
    RunRecord,
    TrainingRecord,
    read_bytes,
    to_struct,
    write_atomically,
)
from statespan.records.storage import storage_error
from statespan.report import draw_accuracy
from statespan.training import (
    BOS,
    EOS,
    PAD,
    READOUTS,
    DataConfig,
    LanguageData,
    Readout,
    TrainingConfig,
    build_data,
    build_readout,
    checkpoint_step,
    python_stream,
    torch_stream,
    train,
)
from statespan.training.initial_weights import (
    InitialWeights,
    has_token_outputs,
    load_initial_weights,
    read_architecture,
    read_initial_weights,
)

__all__ = [
    "EvaluationConfig",
    "ProbeConfig",
    "ProbeResult",
    "Progress",
    "probe",
    "probe_config",
    "resume_probe",
]

DEFAULT_BINS = [(1, 50), (51, 100), (101, 150)]
AUTOMATON = "automaton.json"
INITIAL_WEIGHTS = "initial.safetensors"

AtLeast0: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
AtLeast1: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]

Progress: TypeAlias = Callable[[str, int, int, str], None]
"""(what is going on, steps done, steps in all, a remark)."""


class EvaluationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is measured after training, beside the bins.

    Attributes:
        curve_lengths: the number of lengths, spread evenly, of the accuracy curve.
        curve_words: words drawn at each of them.
        negatives: near misses drawn for each bin.
    """

    curve_lengths: AtLeast0 = 75
    curve_words: AtLeast1 = 50
    negatives: AtLeast0 = 500


class ProbeConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One probe: everything that its numbers depend on.

    Attributes:
        language: a name of the catalogue (`bounded-dyck:brackets=2,depth=3`), an automaton's
            `.json` file, or a regular expression.
        alphabet: the alphabet of an expression, when it is more than the symbols used.
        seed: of all random streams (data, initialization, order, evaluation).
        initialize_from: a folder whose weights the training starts from: a compiled checkpoint, or
            the folder `model` of an earlier run. `model` must be what they are of.
        model: the architecture (`name`) and its sizes.
    """

    language: str = "012-star-02-star"
    alphabet: list[str] | None = None
    seed: AtLeast0 = 0
    initialize_from: str | None = None
    model: ModelConfig = MambaConfig()
    data: DataConfig = DataConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()


@final
@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a probe found.

    Attributes:
        directory: the run directory.
        picture: the PNG of accuracy by length in it.
        records: the run, then its bins, lengths and recognition.
    """

    directory: Path
    picture: Path
    records: list[Record]


def probe_config(table: Mapping[str, Any]) -> ProbeConfig:
    """Return the config that a table describes; what it leaves out has its default.

    With `initialize_from`, the architecture is that of the weights there.

    Raises:
        ConfigError: an unknown key, a wrong type, a value out of range, or a model other than
            that of the weights to start from.
        UnknownNameError: no such model or loss.
        StorageError: the weights to start from cannot be read.

    Example:
        >>> probe_config({"language": "parity", "model": {"name": "lstm", "layers": 1}}).model
        LSTMConfig(layers=1, d_model=64)
    """
    folder, given = table.get("initialize_from"), table.get("model", {})
    if not isinstance(folder, str) or not isinstance(given, Mapping):
        return _to_config(table)
    model = read_architecture(Path(folder))
    config = _to_config({**table, "model": {"name": architecture(model), **given}})
    _check_same_model(config.model, model, given, folder)
    return msgspec.structs.replace(config, model=model)


def _check_same_model(
    config: ModelConfig, model: ModelConfig, keys: Iterable[str], folder: str
) -> None:
    """Check that `config` has the values of `model` at `keys`."""
    wanted, there = msgspec.to_builtins(config), msgspec.to_builtins(model)
    for key in sorted(keys, key=lambda key: key != "name"):
        if wanted[key] != there.get(key):
            raise ConfigError(
                f"model.{key} is {wanted[key]!r} in the config, but {there.get(key)!r} in "
                f"{folder}, whose weights are to start from: leave it out, or use others."
            )


def _to_config(table: Mapping[str, Any]) -> ProbeConfig:
    model_table = table.get("model", {})
    if not isinstance(model_table, Mapping):
        raise ConfigError(f"model must be a table with a name, got {model_table!r}.")
    name = model_table.get("name", "mamba")
    if not isinstance(name, str):
        raise ConfigError(f"model.name must be a string, got {name!r}.")
    model_class = MODELS.get(name)
    model = to_struct(model_table, model_class.Config, where="model")
    rest = {key: value for key, value in table.items() if key != "model"}
    config = msgspec.structs.replace(to_struct(rest, ProbeConfig), model=model)
    READOUTS.get(config.training.loss)
    return config


def probe(config: ProbeConfig, path: Path, *, progress: Progress = lambda *_: None) -> ProbeResult:
    """Train and measure as `config` says, in the new run directory `path`.

    A run is a function of its config: same config, same versions and same machine, same numbers.

    Raises:
        RunDirectoryError: `path` is not empty.
        ConfigError: the weights to start from are of another model, alphabet or kind of output.
        EmptyLanguageError: the language has no words.
        LengthError: a bin has no words.
        TrainingError: the loss stopped being finite; the last good checkpoint is kept.
        StorageError: the disk is full, or a file cannot be written.
    """
    language = _language(config, Path(config.language))
    files: list[tuple[str, bytes]] = []
    if config.initialize_from is not None:
        content = _initial_weights(config, language, config.initialize_from).content
        files.append((INITIAL_WEIGHTS, content))
    work = _prepare(config, language, progress)
    if config.language.endswith(".json"):
        files.append((AUTOMATON, read_bytes(Path(config.language))))
    directory = RunDirectory.create(path, config, files=files)
    with directory.lock():
        return _report(directory, _run(directory, config, *work, progress))


def resume_probe(path: Path, *, progress: Progress = lambda *_: None) -> ProbeResult:
    """Continue the run in `path` to the numbers that it would have given uninterrupted.

    A finished run is only read.

    Raises:
        RunDirectoryError: there is no run, or another process is at work in it.
    """
    directory = RunDirectory.open(path)
    with directory.lock():
        records = _finished_records(directory)
        if not records:
            config = _to_config(directory.config_table())
            language = _language(config, path / AUTOMATON)
            work = _prepare(config, language, progress)
            records = _run(directory, config, *work, progress)
        return _report(directory, records)


def _language(config: ProbeConfig, automaton: Path) -> Language:
    if config.language.endswith(".json") and config.alphabet is None:
        language = language_from_file(automaton)
        return dataclasses.replace(language, name=Path(config.language).stem)
    return language_from_text(config.language, alphabet=config.alphabet)


def _initial_weights(config: ProbeConfig, language: Language, folder: str) -> InitialWeights:
    """Read the weights in `folder`, which must be for this model and this language."""
    if not has_token_outputs(config.training.loss):
        raise ConfigError(
            "initialize_from needs a loss with one output a token, as symbols has; training.loss "
            f"{config.training.loss} has one a set of next symbols."
        )
    initial = read_initial_weights(Path(folder))
    keys = msgspec.to_builtins(config.model)
    _check_same_model(config.model, initial.model, keys, folder)
    if initial.alphabet != language.alphabet:
        raise ConfigError(
            f"the weights in {folder} are for the alphabet {show_symbols(initial.alphabet)}, but "
            f"{language.name} has {show_symbols(language.alphabet)}: both must have the same "
            "symbols, in the same order."
        )
    return initial


def _published(language: Language) -> Published | None:
    """Return the published figures of a language that the catalogue made."""
    name = language.catalogue_name
    return None if name is None else published_figures(name)


def _prepare(
    config: ProbeConfig, language: Language, progress: Progress
) -> tuple[Language, LanguageData]:
    if language.is_empty:
        raise EmptyLanguageError(f"the language {language.name} has no words: nothing to train on.")
    progress("drawing words", 0, 1, language.name)
    published = _published(language)
    bins = config.data.bins or (published.bins if published else DEFAULT_BINS)
    limit = config.model.max_tokens
    if limit is not None and bins[-1][1] + 1 > limit:
        raise ConfigError(
            f"model.max_length must reach the longest test word and its beginning, "
            f"{bins[-1][1] + 1} tokens, got {limit}."
        )
    data = build_data(
        language,
        bins,
        sampler=_sampler(config, language),
        train_words=config.data.train_words,
        test_words=config.data.test_words,
        rng=python_stream(config.seed, "data"),
    )
    progress("drawing words", 1, 1, f"{len(data.train):,} words")
    return language, data


def _sampler(config: ProbeConfig, language: Language) -> Sampler:
    if config.data.sampler is not None:
        return config.data.sampler
    return "published" if _published(language) else "uniform"


def _run(
    directory: RunDirectory,
    config: ProbeConfig,
    language: Language,
    data: LanguageData,
    progress: Progress,
) -> list[Record]:
    with _threads(config.training.threads):
        model, readout = _train(directory, config, data, progress)
        _save_model(directory.path / "model", model, readout, config)
        records = _evaluate(config, language, data, model, readout, progress)
    end = EndRecord(records=len(records))
    directory.write_records("records.jsonl", [*records, end])
    return records


def _report(directory: RunDirectory, records: list[Record]) -> ProbeResult:
    picture = directory.path / "accuracy.png"
    write_atomically(picture, draw_accuracy(records))
    return ProbeResult(directory.path, picture, records)


def _finished_records(directory: RunDirectory) -> list[Record]:
    """Return the records of a finished run; none if it is not, or if some are missing."""
    records = directory.read_records("records.jsonl")
    end = records.pop() if records else None
    return records if isinstance(end, EndRecord) and end.records == len(records) else []


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train(
    directory: RunDirectory, config: ProbeConfig, data: LanguageData, progress: Progress
) -> tuple[SequenceModel, Readout]:
    trained_sets = data.answer_sets[: data.num_trained_sets]
    readout = build_readout(config.training.loss, data.vocabulary, trained_sets)
    model = build_model(
        config.model,
        vocab_size=data.vocabulary.size,
        num_outputs=readout.num_outputs,
        generator=torch_stream(config.seed, "initialization"),
    )
    if config.initialize_from is not None:
        load_initial_weights(directory.path / INITIAL_WEIGHTS, model)
    checkpoint = directory.path / "checkpoint.safetensors"
    done = checkpoint_step(checkpoint)
    log = "training.jsonl"
    kept = [r for r in directory.read_records(log) if _step_of(r) <= done]
    directory.write_records(log, kept)
    train(
        model,
        readout,
        data.train,
        config.training,
        seed=config.seed,
        checkpoint_path=checkpoint,
        on_record=lambda record: directory.append(log, record),
        on_step=lambda step, loss: progress(
            "training", step, config.training.steps, f"loss {loss:.4f}"
        ),
    )
    return model, readout


def _step_of(record: Record) -> int:
    return record.step if isinstance(record, TrainingRecord) else 0


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


def _evaluate(
    config: ProbeConfig,
    language: Language,
    data: LanguageData,
    model: SequenceModel,
    readout: Readout,
    progress: Progress,
) -> list[Record]:
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
        sampler=_sampler(config, language),
        train_words=len(data.train),
        train_lengths=data.bins[0],
    )
    bins = evaluate_bins(
        model,
        readout,
        data,
        _published(language),
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
