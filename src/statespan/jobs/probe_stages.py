"""The stages of a probe: its words are drawn, and its training begins.

A probe is of a language or of a task; the words of a task are its samples.

Each takes what the one before gave, so that many probes can go through a stage together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, final

import msgspec
import torch

from statespan.errors import ConfigError, EmptyLanguageError
from statespan.evaluation import score, total_score
from statespan.jobs.probe_config import (
    ProbeConfig,
    check_same_model,
    is_fleet,
    table_config,
)
from statespan.jobs.probe_subject import (
    Subject,
    draw_data,
    find_bins,
    make_readout,
    num_inputs,
    read_subject,
)
from statespan.languages import Language
from statespan.languages.symbols import show_symbols
from statespan.models import SequenceModel, build_model
from statespan.records import (
    Record,
    RunDirectory,
    TrainingRecord,
    read_bytes,
)
from statespan.tasks import ValueTask
from statespan.training import (
    AnswerData,
    ExampleData,
    Readout,
    SetReadout,
    TrainingRun,
    checkpoint_step,
    torch_stream,
)
from statespan.training.initial_weights import (
    InitialWeights,
    has_token_outputs,
    load_initial_weights,
    read_initial_weights,
)

__all__ = [
    "AUTOMATON",
    "INITIAL_WEIGHTS",
    "PreparedProbe",
    "Progress",
    "check_words",
    "draw_words",
    "first_files",
    "reopen_probe",
    "start_training",
    "use_threads",
]

AUTOMATON = "automaton.json"
INITIAL_WEIGHTS = "initial.safetensors"

Progress: TypeAlias = Callable[[str, int, int, str], None]
"""(what is going on, steps done, steps in all, a remark)."""


@final
@dataclass(frozen=True, slots=True)
class PreparedProbe:
    """A probe whose words are drawn: what is left is to train and to measure."""

    directory: RunDirectory
    config: ProbeConfig
    subject: Subject
    data: ExampleData
    progress: Progress


def reopen_probe(path: Path) -> tuple[ProbeConfig, Subject]:
    """Return the config of the run in `path`, and its language (by what is kept there) or task.

    Raises:
        ConfigError: it is of several runs, a sweep or a fleet.
    """
    table = RunDirectory.open(path).config_table()
    if "probe" in table:
        raise ConfigError(f"{path} is a sweep: name one of its cells, which are folders in it.")
    if is_fleet(table):
        raise ConfigError(f"{path} is a fleet: name one of its members, which are folders in it.")
    config = table_config(table)
    return config, read_subject(config, path / AUTOMATON)


def first_files(config: ProbeConfig, subject: Subject) -> list[tuple[str, bytes]]:
    """Return the files that a run has from its beginning: what it must not look for elsewhere.

    Raises:
        ConfigError: the weights to start from are of another model, alphabet or kind of output.
        StorageError: a file cannot be read.
    """
    files: list[tuple[str, bytes]] = []
    if config.initialize_from is not None and isinstance(subject, Language):
        content = _initial_weights(config, subject, config.initialize_from).content
        files.append((INITIAL_WEIGHTS, content))
    if config.language.endswith(".json"):
        files.append((AUTOMATON, read_bytes(Path(config.language))))
    return files


def _initial_weights(config: ProbeConfig, language: Language, folder: str) -> InitialWeights:
    """Read the weights in `folder`, which must be for this model and this language."""
    if not has_token_outputs(config.training.loss):
        raise ConfigError(
            "initialize_from needs a loss with one output a token, as symbols has; training.loss "
            f"{config.training.loss} has one a set of next symbols."
        )
    initial = read_initial_weights(Path(folder))
    keys = msgspec.to_builtins(config.model)
    check_same_model(config.model, initial.model, keys, folder)
    if initial.alphabet != language.alphabet:
        raise ConfigError(
            f"the weights in {folder} are for the alphabet {show_symbols(initial.alphabet)}, but "
            f"{language.name} has {show_symbols(language.alphabet)}: both must have the same "
            "symbols, in the same order."
        )
    return initial


def check_words(config: ProbeConfig, subject: Subject) -> None:
    """Check that a probe has words to train on, and words of every length to test.

    Raises:
        EmptyLanguageError: the language has no words.
        LengthError: a bin has no words.
        ConfigError: the model cannot read words of such a length.
    """
    few = msgspec.structs.replace(config.data, train_words=1, test_words=1)
    draw_words(msgspec.structs.replace(config, data=few), subject, lambda *_: None)


def draw_words(config: ProbeConfig, subject: Subject, progress: Progress) -> ExampleData:
    """Return the training and test words of a probe.

    Raises:
        EmptyLanguageError: the language has no words.
        LengthError: a bin has no words.
        ConfigError: the model cannot read words of such a length.
    """
    if isinstance(subject, Language) and subject.is_empty:
        raise EmptyLanguageError(f"the language {subject.name} has no words: nothing to train on.")
    if config.training.stop_words and isinstance(subject, ValueTask):
        raise ConfigError(
            f"training.stop_words needs answers that are right or wrong, and {subject.name} has "
            "numbers: leave it out."
        )
    bins = find_bins(config, subject)
    progress("drawing words", 0, 1, subject.name)
    data = draw_data(config, subject, bins)
    progress("drawing words", 1, 1, f"{len(data.train):,} words")
    return data


def start_training(probe: PreparedProbe) -> TrainingRun:
    """Return the training of a probe, from where its checkpoint stands.

    Raises:
        StorageError: a file cannot be written, or read.
    """
    config, data, directory = probe.config, probe.data, probe.directory
    readout = make_readout(config, data)
    model = build_model(
        config.model,
        vocab_size=num_inputs(probe.subject),
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
    return TrainingRun(
        model,
        readout,
        data.train,
        config.training,
        seed=config.seed,
        checkpoint_path=checkpoint,
        on_record=lambda record: directory.append(log, record),
        on_step=lambda step, loss: probe.progress(
            "training", step, config.training.steps, f"loss {loss:.4f}"
        ),
        is_learned=_learned_check(probe, model, readout),
    )


def _learned_check(
    probe: PreparedProbe, model: SequenceModel, readout: Readout
) -> Callable[[], bool]:
    """Return whether a model is right on all words that say when its training ends.

    They are drawn as test words are, from a stream of their own; none trains or tests but by
    chance.
    """
    count = probe.config.training.stop_words
    if not count:
        return lambda: False
    few = msgspec.structs.replace(probe.config.data, train_words=4 * count, test_words=count)
    config = msgspec.structs.replace(probe.config, data=few)
    fresh = draw_data(config, probe.subject, probe.data.bins, stream="stop")
    assert isinstance(fresh, AnswerData), "checked before a run begins"
    assert isinstance(readout, SetReadout), "that of such data"

    def is_learned() -> bool:
        bins = (score(model, readout, words, fresh.answer_sets) for words in fresh.tests)
        learned = all(totals["words"] == totals["correct"] for totals in map(total_score, bins))
        model.train()
        return learned

    return is_learned


def _step_of(record: Record) -> int:
    return record.step if isinstance(record, TrainingRecord) else 0


@contextmanager
def use_threads(count: int) -> Iterator[None]:
    """Let torch compute on `count` threads in here."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
