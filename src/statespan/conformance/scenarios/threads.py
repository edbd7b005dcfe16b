"""Several threads at once: whole sequences, and sessions of their own."""

from __future__ import annotations

from random import Random

from statespan.conformance.checkpoint import Checkpoint
from statespan.conformance.scenarios.scenario import Trials, draw_rows, trials_of
from statespan.conformance.trial import Feed, Score, Step, Trial

__all__ = ["threads"]

NUM_THREADS = 4
LENGTH = 24


@trials_of(
    "threads",
    "threads",
    "session",
    "score",
    promise="Calls from four threads at once, each with a session of its own, do not mix.",
)
def threads(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield four lanes, each of which scores a row and then reads it token by token."""
    rows = draw_rows(checkpoint, rng, *[LENGTH] * NUM_THREADS)
    lanes: list[tuple[Step, ...]] = []
    for row in rows:
        feeds = (Feed((row[place : place + 1],)) for place in range(LENGTH))
        lanes.append((Score((row,)), *feeds))
    yield f"{NUM_THREADS} threads", Trial(tuple(lanes))
