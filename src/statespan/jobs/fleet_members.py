"""The members of a fleet in one process: stacked where that is faster, then measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeAlias

import msgspec

from statespan.errors import TrainingError
from statespan.jobs.measurement import finished_records, measure
from statespan.jobs.probe import picture_path, report_probe
from statespan.jobs.probe_config import ProbeConfig
from statespan.jobs.probe_stages import (
    PreparedProbe,
    draw_words,
    reopen_probe,
    start_training,
    use_threads,
)
from statespan.records import RunDirectory
from statespan.training import ExampleData, TrainingRun, train_alone, train_fleet
from statespan.training.stacked import has_member_rules

__all__ = ["FLEET_NUMBERS", "MemberProgress", "run_members", "what_is_drawn"]

MemberProgress: TypeAlias = Callable[[str, str, int, int, str], None]
"""(member, what is going on, steps done, steps in all, a remark)."""

ENDING_SECONDS = 3.0
"""How long a process of a fleet that was killed may take to notice and to end."""

FLEET_MEMBERS = 64
"""The most probes whose words are held in memory at once."""

FLEET_NUMBERS = 100_000_000
"""Parameters times tokens of a step up to which a model trains faster in a fleet than alone.

A step of a small model is mostly the starting of its operations, which a fleet does once for all
its members; a large one is arithmetic, of which a fleet saves nothing. Measured on one core with
Mamba at length 49, alone beside 8 members: 2.7 times as fast at 1.4 million (d_model 16, a layer,
batch 8), 1.25 times at 32 million, 1.1 at 106 million, the same at 94 million with d_model 128.
"""


def run_members(paths: Mapping[str, Path], progress: MemberProgress) -> dict[str, str]:
    """Train and measure the runs in `paths`; return by name why those failed that did.

    A member whose loss stops being finite does not stop the others.

    Raises:
        RunDirectoryError: another process is at work in one of them.
        StorageError: the disk is full, or a file cannot be written.
    """
    names = list(paths)
    failures: dict[str, str] = {}
    for begin in range(0, len(names), FLEET_MEMBERS):
        chosen = names[begin : begin + FLEET_MEMBERS]
        with ExitStack() as locks:
            for name in chosen:
                locks.enter_context(RunDirectory.open(paths[name]).lock(wait=ENDING_SECONDS))
            failures |= _run({name: paths[name] for name in chosen}, progress)
    return failures


def _run(paths: Mapping[str, Path], progress: MemberProgress) -> dict[str, str]:
    probes = _prepare(paths, progress)
    runs = {name: start_training(probe) for name, probe in probes.items()}
    failures: dict[str, str] = {}
    for names in _group_by_shape(runs):
        with use_threads(probes[names[0]].config.training.threads):
            errors = _train([runs[name] for name in names])
            for name, error in zip(names, errors, strict=True):
                if error is not None:
                    failures[name] = str(error)
                    continue
                records = measure(probes[name], runs[name])
                report_probe(probes[name].directory, records)
    return failures


def _prepare(paths: Mapping[str, Path], progress: MemberProgress) -> dict[str, PreparedProbe]:
    """Draw the words of the runs that are not finished; the same words are drawn once."""
    words: dict[bytes, ExampleData] = {}
    probes = {}
    for name, path in paths.items():
        directory = RunDirectory.open(path)
        records = finished_records(directory)
        if records:
            if not picture_path(directory, records).exists():  # killed just before it was drawn
                report_probe(directory, records)
            continue
        config, language = reopen_probe(path)
        own = partial(progress, name)
        drawn = what_is_drawn(config)
        if drawn not in words:
            words[drawn] = draw_words(config, language, own)
        probes[name] = PreparedProbe(directory, config, language, words[drawn], own)
    return probes


def what_is_drawn(config: ProbeConfig) -> bytes:
    """Return what two runs share if their words are the same."""
    subject = (config.language, config.alphabet, config.task)
    return msgspec.json.encode((subject, config.data, config.seed))


def _group_by_shape(runs: Mapping[str, TrainingRun]) -> list[list[str]]:
    """Return the names of the runs, those together whose models have one shape."""
    groups: dict[tuple[bytes, int, int], list[str]] = {}
    for name, run in runs.items():
        config = msgspec.json.encode(run.model.config)  # a hybrid's has a table, so it has no hash
        shape = (config, run.model.vocab_size, run.model.num_outputs)
        groups.setdefault(shape, []).append(name)
    return list(groups.values())


def _train(runs: Sequence[TrainingRun]) -> list[TrainingError | None]:
    """Train runs of one shape, as a fleet if that is faster; return what stopped each."""
    first = runs[0]
    if len(runs) > 1 and _step_numbers(first) <= FLEET_NUMBERS and has_member_rules(first.model):
        return train_fleet(runs)
    return [_train_alone(run) for run in runs]


def _step_numbers(run: TrainingRun) -> float:
    """Return the parameters of a model times the tokens of a mean step."""
    tokens = sum(len(example.tokens) for example in run.examples) / len(run.examples)
    parameters = sum(parameter.numel() for parameter in run.model.parameters())
    return parameters * tokens * run.config.batch_size


def _train_alone(run: TrainingRun) -> TrainingError | None:
    try:
        train_alone(run)
    except TrainingError as error:
        return error
    return None
