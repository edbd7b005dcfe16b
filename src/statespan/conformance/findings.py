"""What came out: a result for each scenario and checkpoint, with the smallest input that fails."""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeAlias, final

import msgspec

__all__ = ["Finding", "Report", "Result", "Status"]

Status: TypeAlias = Literal["passed", "fault", "not promised", "not offered", "does not apply"]
"""`not promised`: it is wrong, and the engine says beforehand that it need not be right."""


@final
class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The first wrong place in the smallest input that shows it.

    Attributes:
        variant: which of the scenario's trials it was found in.
        steps: what to do, a step a line.
        lane: the thread, counted from 0.
        step: the step that answers wrongly, counted from 0.
        row: the row of that step, counted from 0.
        position: the place in the row, from its beginning, counted from 0.
        read: what that row had read up to there, the last 40 tokens.
        expected: what may follow.
        got: what the engine said may follow; for generation, what it wrote.
        forgotten: what it has lost or mixed up, in words.
        error: what the engine raised, if that is what was wrong.
    """

    variant: str
    steps: list[str]
    lane: int = 0
    step: int = 0
    row: int = 0
    position: int = 0
    read: list[str] = []
    expected: list[str] = []
    got: list[str] = []
    forgotten: str = ""
    error: str | None = None


@final
class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of one scenario on one checkpoint.

    Attributes:
        scenario: its name.
        checkpoint: its name.
        family: the architecture.
        dtype: the precision.
        status: what came out.
        reason: why it is not offered, not promised, or does not apply.
        positions: the positions at which something is promised.
        wrong: those of them with a wrong answer.
        failed: the trials that went wrong, by what tells them apart.
        margin: the smallest distance of a score from the other answer, where all is right.
        finding: the smallest failure, if there is one.
        seconds: how long it took.
    """

    scenario: str
    checkpoint: str
    family: str
    dtype: str
    status: Status
    reason: str = ""
    positions: int = 0
    wrong: int = 0
    failed: list[str] = []
    margin: float | None = None
    finding: Finding | None = None
    seconds: float = 0.0


@final
class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came out of all of them.

    Attributes:
        engine: its name.
        version: its release.
        promises: scenario to what an engine must do in it.
        certificates: checkpoint to what proves it.
        results: one for each scenario and checkpoint.
        seconds: how long it took.
    """

    engine: str
    version: str
    promises: dict[str, str]
    certificates: dict[str, str]
    results: list[Result]
    seconds: float

    @property
    def faults(self) -> list[Result]:
        """The results in which the engine breaks a promise."""
        return [result for result in self.results if result.status == "fault"]

    @property
    def counts(self) -> dict[Status, int]:
        """How many results there are of each kind."""
        return dict(Counter(result.status for result in self.results))
