"""Sessions that are copied, taken back and reordered."""

from __future__ import annotations

from random import Random

from statespan.conformance.checkpoint import Checkpoint
from statespan.conformance.scenarios.scenario import Trials, columns, draw_rows, trials_of
from statespan.conformance.trial import Crop, Feed, Fork, Reorder, Step, Trial

__all__ = ["beam_reorder", "prefix_reuse", "rollback"]

PREFIX, SUFFIX = 9, 8


@trials_of(
    "prefix-reuse",
    "session",
    "copy",
    promise="A copied session goes on by itself: two ways to go on, in turns, do not mix.",
)
def prefix_reuse(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield a prefix that is read once, and gone on from twice, a token each in turns."""
    for turn in range(3):
        prefix = checkpoint.draw(PREFIX, rng=rng)
        ways = [checkpoint.go_on(prefix, PREFIX + SUFFIX, rng=rng) for _ in range(2)]
        feeds = [
            Feed((way[place : place + 1],), session)
            for place in range(PREFIX, PREFIX + SUFFIX)
            for session, way in enumerate(ways)
        ]
        yield f"prefix {turn + 1}", Trial.of(Feed((prefix,)), Fork(0, 1), *feeds)


@trials_of(
    "rollback",
    "session",
    "crop",
    promise="A session that is taken back to its first tokens has forgotten the later ones.",
)
def rollback(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield a row and a draft of one, two or five tokens, which is taken back for others."""
    for back in (1, 2, 5):
        row = checkpoint.draw(PREFIX + back, rng=rng)
        other = checkpoint.go_on(row[:PREFIX], PREFIX + SUFFIX, rng=rng)
        feeds = [Feed((other[place : place + 1],)) for place in range(PREFIX, PREFIX + SUFFIX)]
        draft = (Feed((row[:PREFIX],)), Feed((row[PREFIX:],)))
        yield f"by {back}", Trial.of(*draft, Crop(PREFIX), *feeds)


@trials_of(
    "beam-reorder",
    "session",
    "reorder",
    promise="After a reorder, each row goes on from what the row in whose place it is had read.",
)
def beam_reorder(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield rows that change places, with some twice, between tokens."""
    for order in ((2, 0, 0), (1, 2, 0), (0, 0, 0)):
        rows = draw_rows(checkpoint, rng, *[PREFIX + SUFFIX] * 3)
        steps: list[Step] = [Feed(columns(rows, 0, PREFIX))]
        for first, wanted in ((PREFIX, order), (PREFIX + SUFFIX // 2, order[::-1])):
            steps.append(Reorder(wanted))
            rows = tuple(rows[row] for row in wanted)
            places = range(first, first + SUFFIX // 2)
            steps += [Feed(columns(rows, place, place + 1)) for place in places]
        yield f"order {', '.join(map(str, order))}", Trial.of(*steps)
