"""Sequences in pieces, the state kept in a session between them."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, pairwise, product
from random import Random

from statespan.conformance.checkpoint import Checkpoint
from statespan.conformance.protocol import Padding, Tokens
from statespan.conformance.scenarios.scenario import Trials, columns, draw_rows, trials_of
from statespan.conformance.trial import Feed, Trial
from statespan.training import PAD

__all__ = [
    "chunks", "left_padded_prefill", "long_pieces", "random_chunks", "right_padded_prefill",
    "token_by_token", "very_long_pieces",
]  # fmt: skip

LARGEST = 64
LONG_PIECE = 500


def _pieces(rows: tuple[Tokens, ...], bounds: list[int]) -> Trial:
    """Return a trial that feeds the rows from bound to bound."""
    return Trial.of(*(Feed(columns(rows, *pair)) for pair in pairwise(bounds)))


@trials_of(
    "token-by-token", "session", promise="One token after the other, from one session, is right."
)
def token_by_token(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield one row, and three, a token at a time."""
    for num_rows, length in ((1, 70), (3, 40)):
        rows = draw_rows(checkpoint, rng, *[length] * num_rows)
        yield f"rows: {num_rows}", _pieces(rows, list(range(length + 1)))


@trials_of(
    "chunks",
    "session",
    promise="Pieces of one size, whatever it is, continue the session that they are fed to.",
)
def chunks(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield rows in pieces of each size from 2 to 64; the last piece is a shorter one."""
    for size in range(2, LARGEST + 1):
        length = max(12, 2 * size + size // 2 + 1)
        rows = draw_rows(checkpoint, rng, length, length)
        bounds = [*range(0, length, size), length]
        yield str(size), _pieces(rows, bounds)


@trials_of(
    "random-chunks",
    "session",
    promise="Pieces of any sizes, one token among them, continue the session they are fed to.",
)
def random_chunks(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield rows in pieces of random sizes."""
    for turn in range(6):
        sizes = [rng.choice((1, 1, 2, 3, 5, 8, 13, rng.randint(1, LARGEST))) for _ in range(10)]
        bounds = [0, *accumulate(sizes)]
        rows = draw_rows(checkpoint, rng, *[bounds[-1]] * 2)
        yield f"sizes {', '.join(map(str, sizes))}", _pieces(rows, bounds)
        del turn


def _prefill(checkpoint: Checkpoint, rng: Random, padding: Padding) -> Trials:
    fillers = (PAD, len(checkpoint.symbols) - 1)
    for lengths, filler in product(((12, 5, 1), (3, 2), (33, 64)), fillers):
        rows = draw_rows(checkpoint, rng, *(length + 12 for length in lengths))
        starts = tuple(row[:length] for row, length in zip(rows, lengths, strict=True))
        rest = tuple(row[length:] for row, length in zip(rows, lengths, strict=True))
        steps = [Feed(columns(rest, place, place + 1)) for place in range(12)]
        label = f"lengths {', '.join(map(str, lengths))}, {checkpoint.symbols[filler]}"
        yield label, Trial.of(Feed(starts, padding=replace(padding, filler=filler)), *steps)


@trials_of(
    "left-padded-prefill",
    "session",
    "mask",
    promise="Rows filled up on the left, with a mask, leave a session that goes on from each.",
)
def left_padded_prefill(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield rows of unequal lengths, filled up on the left, then token by token."""
    return _prefill(checkpoint, rng, Padding("left", masked=True))


@trials_of(
    "right-padded-prefill",
    "session",
    "mask",
    promise="Rows filled up on the right, with a mask, leave a session that goes on from each.",
)
def right_padded_prefill(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield rows of unequal lengths, filled up on the right, then token by token."""
    return _prefill(checkpoint, rng, Padding("right", masked=True))


@trials_of("long-pieces", "session", promise="10,000 tokens in pieces of 500 are right.")
def long_pieces(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield a row of 10,000 tokens in pieces."""
    yield from _long(checkpoint, rng, 10_000)


@trials_of(
    "very-long-pieces",
    "session",
    promise="100,000 tokens in pieces of 500 are right.",
    thorough=True,
)
def very_long_pieces(checkpoint: Checkpoint, rng: Random) -> Trials:
    """Yield a row of 100,000 tokens in pieces."""
    yield from _long(checkpoint, rng, 100_000)


def _long(checkpoint: Checkpoint, rng: Random, length: int) -> Trials:
    rows = draw_rows(checkpoint, rng, length)
    yield f"{length:,} tokens", _pieces(rows, [*range(0, length, LONG_PIECE), length])
