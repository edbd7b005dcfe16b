"""Many probes at once: every combination of some seeds and learning rates."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import final

from statespan.jobs.fleet_config import FleetConfig, fleet_config
from statespan.jobs.fleet_members import run_members
from statespan.jobs.fleet_plan import num_processes
from statespan.jobs.fleet_processes import run_in_processes
from statespan.jobs.measurement import finished_records
from statespan.jobs.probe_config import ProbeConfig
from statespan.jobs.probe_stages import (
    AUTOMATON,
    INITIAL_WEIGHTS,
    Progress,
    check_words,
    first_files,
)
from statespan.jobs.probe_subject import Subject, read_subject
from statespan.records import (
    BinRecord,
    EndRecord,
    ErrorRecord,
    MemberRecord,
    RunDirectory,
    TrainingRecord,
    read_bytes,
)

__all__ = ["FleetResult", "probe_fleet", "resume_fleet"]


@final
@dataclass(frozen=True, slots=True)
class FleetResult:
    """What a fleet found.

    Attributes:
        directory: its directory; each member has a run directory in it.
        records: one a member.
    """

    directory: Path
    records: list[MemberRecord]

    @property
    def failures(self) -> dict[str, str]:
        """Why members were not trained to the end, by name."""
        return {r.name: r.failure for r in self.records if r.failure is not None}


def probe_fleet(
    config: FleetConfig,
    path: Path,
    *,
    progress: Progress = lambda *_: None,
    processes: int | None = None,
) -> FleetResult:
    """Train and measure all members, each in a run directory of its own in `path`.

    Each member has the numbers that `probe` gives it, up to rounding, and leaves the same files.
    Small models train as one fleet, large ones one after the other. Where the work is long, the
    members are shared out among as many processes as there are cores; `processes` says how many,
    and 1 starts none. A member whose loss stops being finite does not stop the others: see
    `FleetResult.failures`.

    Raises:
        RunDirectoryError: `path` is not empty.
        ConfigError: the weights to start from are of another model, alphabet or kind of output.
        EmptyLanguageError: the language has no words.
        LengthError: a bin has no words.
        StorageError: the disk is full, or a file cannot be written.
    """
    first = next(iter(config.members.values()))
    language = read_subject(first, Path(first.language))
    files = first_files(first, language)
    check_words(first, language)
    directory = RunDirectory.create(path, config.table, files=files)
    with directory.lock():
        return _run(directory, config, language, progress, processes)


def resume_fleet(
    path: Path, *, progress: Progress = lambda *_: None, processes: int | None = None
) -> FleetResult:
    """Continue the fleet in `path` to the numbers that it would have given uninterrupted.

    A finished one is only read.

    Raises:
        RunDirectoryError: there is none, or another process is at work in it.
        StorageError: the disk is full, or a file cannot be written.
    """
    directory = RunDirectory.open(path)
    with directory.lock():
        records = [r for r in finished_records(directory) if isinstance(r, MemberRecord)]
        if records:
            return FleetResult(path, records)
        config = fleet_config(directory.config_table())
        language = read_subject(next(iter(config.members.values())), path / AUTOMATON)
        return _run(directory, config, language, progress, processes)


def _run(
    directory: RunDirectory,
    config: FleetConfig,
    language: Subject,
    progress: Progress,
    processes: int | None,
) -> FleetResult:
    paths = {name: directory.path / name for name in config.members}
    for name, member in config.members.items():
        _create(directory, paths[name], member)
    first = next(iter(config.members.values()))
    steps = first.training.steps
    shown = _Totals(len(paths), steps, progress)
    count = processes or num_processes(first, language, len(paths))
    if count == 1:
        failures = run_members(paths, shown.show)
    else:
        names = list(paths)
        shares = [{n: paths[n] for n in names[i::count]} for i in range(count)]
        failures = run_in_processes([share for share in shares if share], shown.show)
    records = [
        _member_record(name, member, paths[name], failures.get(name))
        for name, member in config.members.items()
    ]
    end = EndRecord(records=len(records))
    directory.write_records("records.jsonl", [*records, end])
    return FleetResult(directory.path, records)


def _create(directory: RunDirectory, path: Path, config: ProbeConfig) -> None:
    """Make the run directory of a member, unless it is there, with the files of the fleet's."""
    if path.exists():
        return
    kept = (directory.path / name for name in (AUTOMATON, INITIAL_WEIGHTS))
    files = [(file.name, read_bytes(file)) for file in kept if file.exists()]
    RunDirectory.create(path, config, files=files)


def _member_record(name: str, config: ProbeConfig, path: Path, failure: str | None) -> MemberRecord:
    directory = RunDirectory.open(path)
    log = directory.read_records("training.jsonl")
    found = finished_records(directory)
    last = next((r for r in reversed(log) if isinstance(r, TrainingRecord)), None)
    return MemberRecord(
        name=name,
        seed=config.seed,
        learning_rate=config.training.learning_rate,
        loss_sum=last.loss_sum if last else 0.0,
        positions=last.positions if last else 0,
        bins=[record for record in found if isinstance(record, BinRecord)],
        errors=[record for record in found if isinstance(record, ErrorRecord)],
        failure=failure,
    )


@final
@dataclass(slots=True)
class _Totals:
    """Adds up how far the members are, for one bar a stage."""

    members: int
    steps: int
    progress: Progress
    done: dict[str, dict[str, int]] = field(default_factory=dict)

    def show(self, name: str, stage: str, done: int, total: int, remark: str) -> None:
        """Show how far all are: in steps while they train, else in members that are through."""
        training = stage == "training"
        own = self.done.setdefault(stage, {})
        own[name] = done if training else int(done == total)
        whole = self.members * (self.steps if training else 1)
        self.progress(stage, sum(own.values()), whole, f"{name}: {remark}")
