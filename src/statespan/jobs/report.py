"""Make one page of many runs, from their records alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import final

from msgspec import structs

from statespan.algebra import Judgment, judge
from statespan.errors import InputError
from statespan.jobs.probe_config import table_config
from statespan.jobs.probe_stages import AUTOMATON
from statespan.jobs.refutation import REFUTATION, refute_run
from statespan.languages import Language, language_from_file, language_from_text
from statespan.models import MODELS
from statespan.records import (
    BinRecord,
    CellRecord,
    MemberRecord,
    Record,
    RunDirectory,
    RunRecord,
    VerdictRecord,
    write_atomically,
)
from statespan.report.page import Source, report_page

__all__ = ["ReportResult", "report"]

RECORDS, LOG, CONFIG = "records.jsonl", "training.jsonl", "config.toml"

VERBS = (
    ("extension", "extend"),
    ("pretraining", "pretrain"),
    ("model", "evaluate"),
    ("cell", "sweep"),
)
"""The kind of record that tells which verb made a run; else it was a probe."""


@final
@dataclass(frozen=True, slots=True)
class ReportResult:
    """What was made.

    Attributes:
        page: the file.
        runs: how many runs are on it.
        unfinished: runs that have no records yet.
    """

    page: Path
    runs: int
    unfinished: list[Path] = field(default_factory=list)


def report(places: Sequence[Path], page: Path, *, title: str = "statespan") -> ReportResult:
    """Write a page of all runs in `places`: run directories, folders of them, or files of records.

    Beside each probe stands what the theory says of its language and architecture; it is decided
    anew, from the language that the records name.

    Raises:
        InputError: there is no such place, or no finished run in any.
        StorageError: a record cannot be read (it may be of another version), or the page not
            written.
    """
    found = [_records_in(place) for place in places]
    files = list(dict.fromkeys(path for group, _ in found for path in group))
    unfinished = [path for _, group in found for path in group]
    if not files:
        hint = f": {unfinished[0]} is not finished" if unfinished else ""
        raise InputError(f"there is no finished run in {', '.join(map(str, places))}{hint}.")
    sources = [_source(path) for path in files]
    families = [_family(path, source) for path, source in zip(files, sources, strict=True)]
    sources = _tell_apart(sources, families)
    verdicts = list(_verdicts(list(zip(files, sources, families, strict=True))))
    sources = [
        _with_refutation(path, source, verdicts)
        for path, source in zip(files, sources, strict=True)
    ]
    command = " ".join(["statespan report", *map(str, places), "--out", str(page)])
    write_atomically(page, report_page(sources, verdicts, title=title, command=command).encode())
    return ReportResult(page, len(files), unfinished)


def _records_in(place: Path) -> tuple[list[Path], list[Path]]:
    """Return the files of records in a place, and the run directories that have none yet."""
    if place.is_file():
        return [place], []
    if not place.is_dir():
        raise InputError(f"there is no run {place}.")
    if (place / RECORDS).is_file():
        records = RunDirectory(place).read_records(RECORDS)
        kinds = (CellRecord, MemberRecord)
        names = [record.name for record in records if isinstance(record, kinds)]
        members = [place / name / RECORDS for name in names]
        return [place / RECORDS, *(path for path in members if path.is_file())], []
    if (place / CONFIG).is_file() and not any(place.glob(f"*/{CONFIG}")):
        return [], [place]
    inside = [_records_in(path) for path in sorted(place.iterdir()) if path.is_dir()]
    loose = sorted(path for path in place.glob("*.jsonl") if path.name != LOG)
    files = [path for group, _ in inside for path in group]
    return [*loose, *files], [path for _, group in inside for path in group]


def _source(path: Path) -> Source:
    directory = RunDirectory(path.parent)
    records = directory.read_records(path.name)
    is_run = path.name == RECORDS and (path.parent / CONFIG).is_file()
    name = path.parent.name if is_run else path.stem
    log = directory.read_records(LOG) if is_run else []
    config = path.parent / CONFIG if is_run else Path(f"{name}.toml")
    return Source(name, f"statespan {_verb(records)} {config}", records, log)


def _with_refutation(path: Path, source: Source, verdicts: Sequence[VerdictRecord]) -> Source:
    """Return a probe with the word on which its model errs, where it is known or must exist.

    It must where the theory says no and the model was right on all words of the furthest bin; it is
    searched for then, if the model is there.
    """
    folder = path.parent
    kept = RunDirectory(folder).read_records(REFUTATION) if path.name == RECORDS else []
    if not kept and _is_too_good(source.records, verdicts) and (folder / "model").is_dir():
        kept = [refute_run(folder)]
    return replace(source, records=[*source.records, *kept])


def _is_too_good(records: Sequence[Record], verdicts: Sequence[VerdictRecord]) -> bool:
    run = _run_record(records)
    bins = [record for record in records if isinstance(record, BinRecord)]
    return (
        bool(bins)
        and bins[-1].accuracy == 100
        and any(
            run is not None
            and (verdict.language, verdict.model, verdict.verdict)
            == (run.language, run.model, "no")
            for verdict in verdicts
        )
    )


def _verb(records: Sequence[Record]) -> str:
    kinds = {type(record).__struct_config__.tag for record in records}
    return next((verb for kind, verb in VERBS if kind in kinds), "probe")


def _run_record(records: Sequence[Record]) -> RunRecord | None:
    return next((record for record in records if isinstance(record, RunRecord)), None)


def _tell_apart(sources: Sequence[Source], families: Sequence[str | None]) -> list[Source]:
    """Return the sources, the family behind the name of each architecture that came in several.

    A DeltaNet with β in (0, 1) and one with β in (0, 2) have one name, and other verdicts.
    """
    found: dict[str, set[str | None]] = {}
    for source, family in zip(sources, families, strict=True):
        if (run := _run_record(source.records)) is not None:
            found.setdefault(run.model, set()).add(family)
    told = []
    for source, family in zip(sources, families, strict=True):
        run = _run_record(source.records)
        if run is not None and family is not None and len(found[run.model]) > 1:
            named = structs.replace(run, model=f"{run.model} ({family})")
            records = [named if record is run else record for record in source.records]
            told.append(replace(source, records=records))
        else:
            told.append(source)
    return told


def _verdicts(sources: Sequence[tuple[Path, Source, str | None]]) -> Iterator[VerdictRecord]:
    """Yield what the theory says of every language that was probed and every such architecture."""
    languages: dict[str, Language | None] = {}
    families: dict[str, str] = {}
    for path, source, family in sources:
        run = _run_record(source.records)
        if run is not None and not run.is_task:
            languages.setdefault(run.language, _language(run, path.parent))
            if family is not None:
                families.setdefault(run.model, family)
    for name, language in languages.items():
        judgment = None if language is None else judge(language)
        for model, family in families.items():
            if judgment is not None:
                yield _verdict(judgment, name, model, family)


def _verdict(judgment: Judgment, language: str, model: str, family: str) -> VerdictRecord:
    cell = judgment.cell(family)
    theorem = cell.answers.fixed.theorem
    return VerdictRecord(
        language=language,
        model=model,
        verdict=cell.verdict,
        theorem=theorem.key,
        statement=theorem.statement,
    )


def _family(path: Path, source: Source) -> str | None:
    """Return the family of a probe's model, by its config where it is beside the records."""
    run = _run_record(source.records)
    if run is None:
        return None
    if (path.parent / CONFIG).is_file():
        return table_config(RunDirectory(path.parent).config_table()).model.family
    return MODELS.get(run.model).Config().family if run.model in MODELS.names() else None


def _language(run: RunRecord, folder: Path) -> Language | None:
    """Return the language that a run names; None where that says too little to know it."""
    if (folder / AUTOMATON).is_file():
        return language_from_file(folder / AUTOMATON)
    try:
        return language_from_text(run.language)
    except InputError:
        return None
