"""Search for the word on which the model of a finished probe errs, and keep what was found."""

from __future__ import annotations

from pathlib import Path
from random import Random

from statespan.errors import InputError
from statespan.evaluation import Refutation, open_predictor, refute
from statespan.jobs.measurement import finished_records
from statespan.jobs.probe_stages import reopen_probe
from statespan.languages import Language
from statespan.records import RefutationRecord, RunDirectory, RunRecord

__all__ = ["REFUTATION", "refute_run"]

REFUTATION = "refutation.jsonl"
LONGEST = 1_000


def refute_run(path: Path, *, max_length: int = LONGEST) -> RefutationRecord:
    """Search for the shortest word on which the model in a run directory errs, and write it there.

    What was found before is only read.

    Raises:
        InputError: the run is not finished, or of a task, or its model is not there.
        StorageError: a file cannot be read, or written.
    """
    directory = RunDirectory.open(path)
    kept = [r for r in directory.read_records(REFUTATION) if isinstance(r, RefutationRecord)]
    if kept:
        return kept[0]
    records = finished_records(directory)
    run = next((record for record in records if isinstance(record, RunRecord)), None)
    subject = reopen_probe(path)[1]
    if run is None or not isinstance(subject, Language):
        raise InputError(f"{path} must be a finished probe of a language, to be refuted.")
    found = refute(open_predictor(path), subject, max_length=max_length, rng=Random(0))
    record = _record(found, run)
    directory.write_records(REFUTATION, [record])
    return record


def _record(found: Refutation, run: RunRecord) -> RefutationRecord:
    return RefutationRecord(
        language=run.language,
        model=run.model,
        prefix=list(found.prefix or ()),
        found_by=found.found_by or "",
        is_shortest=found.is_shortest,
        all_up_to=found.all_up_to,
        longest=found.longest,
        settled_at=None if found.counter is None else found.counter.settled_at,
    )
