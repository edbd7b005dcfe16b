"""The smallest trial that still fails: fewer threads, steps, rows and tokens, simpler letters."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar, final

from statespan.conformance.protocol import Tokens
from statespan.conformance.trial import Feed, Packed, Reading, Reorder, Score, Step, Trial, Write
from statespan.training import BOS, PAD

__all__ = ["shrink", "truncated"]

MAX_RUNS = 250
MAX_SECONDS = 3.0
FIRST_SYMBOL = PAD + 1
_T = TypeVar("_T")


def shrink(
    trial: Trial,
    fails: Callable[[Trial], bool],
    *,
    max_runs: int = MAX_RUNS,
    max_seconds: float = MAX_SECONDS,
) -> Trial:
    """Return a trial that is no larger than `trial`, and fails as well.

    Blocks are left out, large ones first, as delta debugging does (Zeller and Hildebrandt 2002,
    doi:10.1109/32.988498), until nothing more can be, or so much was tried. `fails` tells whether
    a trial fails; one that cannot be run does not.
    """
    search = _Search(trial, fails, max_runs, time.monotonic() + max_seconds)
    before = None
    while before != search.trial:
        before = search.trial
        search.shrink_once()
    return search.trial


def truncated(trial: Trial, reading: Reading, position: int | None = None) -> Trial:
    """Return the trial up to a reading: without later steps of its thread.

    With a position, the last step ends there, too.
    """
    steps = trial.lanes[reading.lane][: reading.step + 1]
    last = steps[-1]
    if position is not None and not isinstance(last, Write):
        kept = position + 1 - (len(reading.history) - len(_rows(last)[reading.row]))
        last = _replace_rows(last, tuple(row[: max(1, kept)] for row in _rows(last)))
    lane = (*steps[:-1], last)
    return Trial((*trial.lanes[: reading.lane], lane, *trial.lanes[reading.lane + 1 :]))


@final
class _Search:
    """The smallest failing trial so far, and what may still be tried."""

    def __init__(
        self, trial: Trial, fails: Callable[[Trial], bool], runs: int, until: float
    ) -> None:
        self.trial, self.fails = trial, fails
        self.runs, self.until = runs, until

    def shrink_once(self) -> None:
        """Leave out threads, steps, rows and tokens, then replace letters."""
        self._leave_out(lambda: len(self.trial.lanes), _without_lanes)
        for lane in range(len(self.trial.lanes)):
            self._shrink_lane(lane)

    def _shrink_lane(self, lane: int) -> None:
        self._leave_out(
            lambda: len(self.trial.lanes[lane]),
            lambda trial, first, count: _in_lane(
                trial, lane, _cut(trial.lanes[lane], first, count)
            ),
        )
        self._leave_out(
            lambda: max(map(_num_rows, self.trial.lanes[lane]), default=0),
            lambda trial, first, count: _without_rows(trial, lane, first, count),
        )
        for place in range(len(self.trial.lanes[lane]) - 1, -1, -1):
            self._shrink_step(lane, place)

    def _shrink_step(self, lane: int, place: int) -> None:
        def step() -> Step:
            return self.trial.lanes[lane][place]

        self._leave_out(
            lambda: max(map(len, _rows(step())), default=0),
            lambda trial, first, count: _with_rows(
                trial, lane, place, [_cut(row, first, count) for row in _rows(step())]
            ),
        )
        for row, tokens in enumerate(_rows(step())):
            for position, token in enumerate(tokens):
                for simpler in range(FIRST_SYMBOL, token):
                    rows = [list(given) for given in _rows(step())]
                    rows[row][position] = simpler
                    if self._try(_with_rows(self.trial, lane, place, [tuple(r) for r in rows])):
                        break

    def _leave_out(
        self, length: Callable[[], int], without: Callable[[Trial, int, int], Trial | None]
    ) -> None:
        """Leave out blocks of so many things, each half as large as the one before."""
        size = length()
        while size >= 1:
            first = 0
            while first < length():
                if not self._try(without(self.trial, first, size)):
                    first += size
            size //= 2

    def _try(self, candidate: Trial | None) -> bool:
        """Return whether `candidate` fails too; if so, it is the smallest from now on."""
        if candidate is None or _begins(candidate) != _begins(self.trial):
            return False
        if self.runs <= 0 or time.monotonic() > self.until:
            return False
        self.runs -= 1
        if not self.fails(candidate):
            return False
        self.trial = candidate
        return True


def _begins(trial: Trial) -> bool:
    """Return whether every thread begins with BOS, as it then should go on to do."""
    first = [next((rows for step in lane if (rows := _rows(step))), ()) for lane in trial.lanes]
    return all(row[0] == BOS for rows in first for row in rows)


def _cut(items: tuple[_T, ...], first: int, count: int) -> tuple[_T, ...]:
    return (*items[:first], *items[first + count :])


def _without_lanes(trial: Trial, first: int, count: int) -> Trial | None:
    lanes = _cut(trial.lanes, first, count)
    return Trial(lanes) if lanes else None


def _in_lane(trial: Trial, number: int, lane: tuple[Step, ...]) -> Trial | None:
    return Trial((*trial.lanes[:number], lane, *trial.lanes[number + 1 :])) if lane else None


def _rows(step: Step) -> tuple[Tokens, ...]:
    """Return the rows of tokens in a step; none in those that only arrange a session."""
    match step:
        case Score(rows) | Feed(rows) | Write(rows) | Packed(rows):
            return rows
        case _:
            return ()


def _num_rows(step: Step) -> int:
    return len(step.rows) if isinstance(step, Reorder) else len(_rows(step))


def _replace_rows(step: Step, rows: tuple[Tokens, ...]) -> Step:
    match step:
        case Score() | Feed():
            return replace(step, rows=rows)
        case Write():
            return replace(step, prompts=rows)
        case Packed():
            return Packed(rows)
        case _:
            return step


def _with_rows(trial: Trial, lane: int, place: int, rows: list[Tokens]) -> Trial | None:
    """Return the trial with other tokens in a step; None if a row has none."""
    if not rows or not all(rows):
        return None
    steps = trial.lanes[lane]
    changed = _replace_rows(steps[place], tuple(rows))
    return _in_lane(trial, lane, (*steps[:place], changed, *steps[place + 1 :]))


def _without_rows(trial: Trial, lane: int, first: int, count: int) -> Trial | None:
    """Return the trial without some rows of a lane; None if another row is put in their place."""
    gone = range(first, first + count)
    steps: list[Step] = []
    for step in trial.lanes[lane]:
        if isinstance(step, Reorder):
            kept = _cut(step.rows, first, count)
            if not kept or any(row in gone for row in kept):
                return None
            moved = tuple(row - count if row >= first + count else row for row in kept)
            steps.append(replace(step, rows=moved))
            continue
        rows = _cut(_rows(step), first, count)
        if _rows(step) and not rows:
            return None
        steps.append(_replace_rows(step, rows))
    return _in_lane(trial, lane, tuple(steps))
