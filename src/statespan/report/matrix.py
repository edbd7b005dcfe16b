"""Theory beside measurement: languages by architectures, and where the two disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final

from statespan.records import (
    BinRecord,
    Record,
    RefutationRecord,
    RunRecord,
    VerdictRecord,
)
from statespan.report.tables import percent

__all__ = ["Matrix", "MatrixCell", "MatrixRow", "build_matrix"]

Kind: TypeAlias = Literal["agree", "unlearned", "short", "open"]


@final
@dataclass(frozen=True, slots=True)
class MatrixCell:
    """What is known of one language and one architecture.

    Attributes:
        kind: "agree"; "unlearned", where the theory says yes and no run learned it; "short", where
            it says no and a run is right on every word that it was tested on; "open", where one of
            the two is not known.
        verdict: the theory's word.
        statement: the theorem.
        accuracy: of the best run in its furthest bin, in percent; empty if there is none.
        target: which run that is; None if there is none.
        fails: what is known of words on which that run's model errs; empty if nothing.
        compiled: of the best compiled weights in their furthest bin, in percent; empty if none.
    """

    kind: Kind
    verdict: str
    statement: str
    accuracy: str = ""
    target: str | None = None
    fails: str = ""
    compiled: str = ""


@final
@dataclass(frozen=True, slots=True)
class MatrixRow:
    """The cells of one language."""

    language: str
    cells: list[MatrixCell]


@final
@dataclass(frozen=True, slots=True)
class Matrix:
    """The architectures, and a row a language."""

    models: list[str]
    rows: list[MatrixRow]


_Best: TypeAlias = tuple[float, str, str]
"""Accuracy in the furthest bin, the run, and what is known of its errors."""


def build_matrix(
    probes: Sequence[tuple[str, Sequence[Record]]], verdicts: Sequence[VerdictRecord]
) -> Matrix | None:
    """Return the matrix of some probes, each a name and its records; None if there are none.

    Of several probes of one language and one architecture the best is shown: theory is about what
    weights exist. Compiled weights, which were not trained, are shown beside.
    """
    best: dict[tuple[str, str], _Best] = {}
    compiled: dict[tuple[str, str], float] = {}
    for name, records in probes:
        run = next((record for record in records if isinstance(record, RunRecord)), None)
        bins = [record for record in records if isinstance(record, BinRecord)]
        if run is None or not bins:
            continue
        found = (bins[-1].accuracy, name, _failure(records))
        key = (run.subject, run.model)
        if run.is_compiled:
            compiled[key] = max(found[0], compiled.get(key, 0.0))
        elif key not in best or found[0] > best[key][0]:
            best[key] = found
    if not best and not compiled:
        return None
    said = {(record.language, record.model): record for record in verdicts}
    keys = best.keys() | compiled.keys() | said.keys()
    models = sorted({model for _, model in keys})
    rows = []
    for name in sorted({language for language, _ in keys}):
        places = [(name, model) for model in models]
        cells = [_cell(best.get(key), compiled.get(key), said.get(key)) for key in places]
        rows.append(MatrixRow(name, cells))
    return Matrix(models, rows)


def _failure(records: Sequence[Record]) -> str:
    """Return at which length a model errs, or how far none was found."""
    found = next((record for record in records if isinstance(record, RefutationRecord)), None)
    if found is None:
        return ""
    if not found.found_by:
        return f"no error found up to {found.longest} symbols"
    return f"errs after {len(found.prefix)} symbols"


def _cell(best: _Best | None, compiled: float | None, said: VerdictRecord | None) -> MatrixCell:
    exact = "" if compiled is None else percent(compiled)
    verdict = "–" if said is None else said.verdict
    statement = "" if said is None else f"{said.theorem}: {said.statement}"
    if best is None:
        return MatrixCell("open", verdict, statement, compiled=exact)
    accuracy, target, fails = best
    kind: Kind = "open"
    if verdict in {"yes", "no"}:
        is_learned = accuracy == 100
        disagrees: Kind = "short" if is_learned else "unlearned"
        kind = "agree" if is_learned == (verdict == "yes") else disagrees
    return MatrixCell(kind, verdict, statement, percent(accuracy), target, fails, exact)
