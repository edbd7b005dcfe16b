"""Trials in words, as they stand in a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from statespan.conformance.protocol import Padding, Tokens
from statespan.conformance.trial import (
    Crop,
    Feed,
    Fork,
    Packed,
    Reorder,
    Score,
    Step,
    Trial,
    Write,
)

__all__ = ["describe_trial", "spell"]

LONGEST = 40


def describe_trial(trial: Trial, symbols: Sequence[str]) -> list[str]:
    """Return a line for each step, with the tokens as `symbols` spell them."""
    lines = []
    for number, lane in enumerate(trial.lanes):
        where = f"thread {number}: " if len(trial.lanes) > 1 else ""
        lines += [where + _describe(step, symbols) for step in lane]
    return lines


def spell(tokens: Iterable[int], symbols: Sequence[str]) -> list[str]:
    """Return the tokens as `symbols` spell them; those that it does not have by their numbers."""
    return [symbols[t] if 0 <= t < len(symbols) else f"token {t}" for t in tokens]


def _describe(step: Step, symbols: Sequence[str]) -> str:
    match step:
        case Score(rows, padding):
            return f"score {_rows(rows, symbols)}{_padding(padding, symbols)}"
        case Packed(documents):
            return f"score, packed into one row, {_rows(documents, symbols)}"
        case Feed(rows, session, padding):
            return f"feed session {session} with {_rows(rows, symbols)}{_padding(padding, symbols)}"
        case Fork(source, target):
            return f"copy session {source} to session {target}"
        case Crop(length, session):
            return f"take session {session} back to its first {length} tokens"
        case Reorder(rows, session):
            return f"reorder session {session} to its rows {', '.join(map(str, rows))}"
        case Write(prompts, steps, sampled, seed):
            how = f"at temperature 1, seed {seed}" if sampled else "greedily"
            return f"write {steps} tokens {how} after {_rows(prompts, symbols)}"


def _rows(rows: Sequence[Tokens], symbols: Sequence[str]) -> str:
    return " | ".join(f"[{_shortened(spell(row, symbols))}]" for row in rows)


def _shortened(spelled: Sequence[str]) -> str:
    if len(spelled) <= LONGEST:
        return " ".join(spelled)
    return f"… {len(spelled) - LONGEST:,} more … {' '.join(spelled[-LONGEST:])}"


def _padding(padding: Padding | None, symbols: Sequence[str]) -> str:
    if padding is None:
        return ""
    mask = "with a" if padding.masked else "without a"
    filler = spell([padding.filler], symbols)[0]
    return f", filled up on the {padding.side} with {filler}, {mask} mask"
