"""Whole sequences, in one call and without a cache: alone, together, filled up, packed, long."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from random import Random

from statespan.conformance.checkpoint import Checkpoint
from statespan.conformance.protocol import Padding
from statespan.conformance.scenarios.scenario import Trials, draw_rows, trials_of
from statespan.conformance.trial import Packed, Score, Trial
from statespan.training import PAD

__all__ = [
    "left_filled", "left_masked", "long_whole", "packed", "right_filled", "right_masked", "unequal",
    "very_long_whole", "whole",
]  # fmt: skip

UNEQUAL = (41, 7, 1, 24, 2)


@trials_of("whole", "score", promise="Rows of one length, scored in one call, are right.")
def whole(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield rows of one length; short ones, and some around the sizes of a chunk of a kernel."""
    for length in (1, 2, 3, 17, 63, 64, 65, 130):
        rows = draw_rows(checkpoint, rng, *[length] * 3)
        yield f"{length} tokens", Trial.of(Score(rows))
    yield "one row", Trial.of(Score(draw_rows(checkpoint, rng, 100)))


@trials_of(
    "unequal",
    "unequal",
    promise="Rows of unequal lengths, batched as the engine likes, are each right as if alone.",
)
def unequal(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield batches of rows of unequal lengths."""
    for turn in range(3):
        lengths = rng.sample(UNEQUAL, len(UNEQUAL))
        yield f"batch {turn + 1}", Trial.of(Score(draw_rows(checkpoint, rng, *lengths)))


def _filled(checkpoint: Checkpoint, rng: Random, padding: Padding) -> Trials:
    """Yield rows to fill up; with a mask, also with a symbol, and after nothing but filler.

    Where something is promised of them, some rows begin without BOS, which would hide what was
    read before it.
    """
    fillers = (PAD, len(checkpoint.symbols) - 1) if padding.masked else (PAD,)
    for lengths, filler in product((UNEQUAL, (9, 66), (65, 64)), fillers):
        rows = draw_rows(checkpoint, rng, *lengths)
        if checkpoint.starts_blank:
            rows = tuple(row[number % 2 :] or row for number, row in enumerate(rows))
        label = f"lengths {', '.join(map(str, lengths))}, {checkpoint.symbols[filler]}"
        yield label, Trial.of(Score(rows, replace(padding, filler=filler)))


@trials_of(
    "left-padding",
    "mask",
    promise="Rows with filler before them, and a mask that says so, are right as if alone.",
)
def left_masked(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield rows that are filled up on the left, with a mask."""
    return _filled(checkpoint, rng, Padding("left", masked=True))


@trials_of(
    "right-padding",
    "mask",
    promise="Rows with filler after them, and a mask that says so, are right as if alone.",
)
def right_masked(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield rows that are filled up on the right, with a mask."""
    return _filled(checkpoint, rng, Padding("right", masked=True))


@trials_of(
    "left-padding-unmasked",
    "unmasked",
    promise="Without a mask, filler is read as a token like any other; these checkpoints ignore "
    "it, so rows with filler before them are right.",
    fits=lambda checkpoint: checkpoint.ignores_filler,
)
def left_filled(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield rows that are filled up on the left, without a mask."""
    return _filled(checkpoint, rng, Padding("left", masked=False))


@trials_of(
    "right-padding-unmasked",
    "unmasked",
    promise="Tokens after a place change nothing before it: rows with filler after them, and no "
    "mask, are right.",
)
def right_filled(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield rows that are filled up on the right, without a mask."""
    return _filled(checkpoint, rng, Padding("right", masked=False))


@trials_of(
    "packed",
    "documents",
    promise="Documents packed into one row, with their bounds told, are each right as if alone. "
    "Nothing but the engine keeps them apart: some begin without BOS, or BOS alone does not.",
    fits=lambda checkpoint: checkpoint.starts_blank or not checkpoint.restarts,
)
def packed(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield documents in one row; every other begins without BOS, where BOS begins anew."""
    for lengths in ((20, 20), (9, 2, 33, 3, 17), (64, 65, 3), (1, 5, 1, 5)):
        documents = draw_rows(checkpoint, rng, *lengths)
        if checkpoint.starts_blank:
            documents = tuple(d[number % 2 :] or d for number, d in enumerate(documents))
        yield f"lengths {', '.join(map(str, lengths))}", Trial.of(Packed(documents))


@trials_of("long-whole", "score", promise="10,000 tokens, scored in one call, are right.")
def long_whole(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield a row of 10,000 tokens."""
    yield "10,000 tokens", Trial.of(Score(draw_rows(checkpoint, rng, 10_000)))


@trials_of(
    "very-long-whole",
    "score",
    promise="100,000 tokens, scored in one call, are right.",
    thorough=True,
)
def very_long_whole(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield a row of 100,000 tokens."""
    yield "100,000 tokens", Trial.of(Score(draw_rows(checkpoint, rng, 100_000)))
