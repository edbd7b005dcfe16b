"""Engines with one fault each, around a faithful one, as engines in the field have them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from statespan.conformance import Padding, Runner, Scores, Session
from statespan.conformance.protocol import Tokens

Change = Callable[..., Any]


class FaultyRunner(Runner):
    """A faithful runner, some methods of which are replaced."""

    def __init__(self, inner: Runner, **changes: Change) -> None:
        self.inner, self.changes = inner, changes
        self.abilities = inner.abilities

    def _call(self, method: str, *values: Any, **named: Any) -> Any:
        change = self.changes.get(method)
        original = getattr(self.inner, method)
        return original(*values, **named) if change is None else change(original, *values, **named)

    def score(self, rows: Sequence[Tokens], *, padding: Padding | None = None) -> list[Scores]:
        return self._call("score", rows, padding=padding)

    def score_packed(self, documents: Sequence[Tokens]) -> list[Scores]:
        return self._call("score_packed", documents)

    def start(self, num_rows: int = 1) -> Session:
        return FaultySession(self, self.inner.start(num_rows), num_rows)

    def generate(self, prompts: Sequence[Tokens], **named: Any) -> list[Tokens]:
        return self._call("generate", prompts, **named)


class FaultySession(Session):
    """A faithful session, some methods of which are replaced: they get the session first."""

    def __init__(self, runner: FaultyRunner, inner: Session, num_rows: int) -> None:
        self.runner, self.inner, self.num_rows = runner, inner, num_rows
        self.pieces = 0

    def feed(self, pieces: Sequence[Tokens], *, padding: Padding | None = None) -> list[Scores]:
        change = self.runner.changes.get("feed")
        self.pieces += 1
        if change is None:
            return self.inner.feed(pieces, padding=padding)
        return change(self, pieces, padding)

    def copy(self) -> Session:
        change = self.runner.changes.get("copy")
        if change is not None:
            return change(self)
        return FaultySession(self.runner, self.inner.copy(), self.num_rows)

    def crop(self, length: int) -> None:
        change = self.runner.changes.get("crop")
        self.inner.crop(length) if change is None else change(self, length)

    def reorder(self, rows: Sequence[int]) -> None:
        change = self.runner.changes.get("reorder")
        self.inner.reorder(rows) if change is None else change(self, rows)


def drop_state(session: FaultySession, pieces: Sequence[Tokens], padding: Padding | None) -> Any:
    """Begin anew with each piece of several tokens."""
    if session.pieces > 1 and len(pieces[0]) > 1:
        session.inner = session.runner.inner.start(session.num_rows)
    return session.inner.feed(pieces, padding=padding)


def drop_after_many(session: FaultySession, pieces: Any, padding: Padding | None) -> Any:
    """Begin anew with the sixth piece."""
    if session.pieces == 6:
        session.inner = session.runner.inner.start(session.num_rows)
    return session.inner.feed(pieces, padding=padding)


def shift(original: Change, rows: Sequence[Tokens], **named: Any) -> list[Scores]:
    """Say everything one position too late."""
    return [
        replace(given, values=torch.cat((given.values[:1], given.values[:-1])))
        for given in original(rows, **named)
    ]


def swap_rows(original: Change, rows: Sequence[Tokens], *, padding: Padding | None) -> list[Scores]:
    """Answer rows of one length in the wrong order."""
    said = original(rows, padding=padding)
    return said[::-1] if len({len(row) for row in rows}) == 1 else said


def forget_mask(original: Change, rows: Any, *, padding: Padding | None) -> list[Scores]:
    """Take filler for tokens."""
    unmasked = None if padding is None else replace(padding, masked=False)
    return original(rows, padding=unmasked)


def lose_at_64(original: Change, rows: Sequence[Tokens], *, padding: Padding | None) -> Any:
    """Begin anew after 64 tokens, as a scan does whose chunks are not joined."""
    said = [original([row[:64]])[0] for row in rows]
    for place, row in enumerate(rows):
        if len(row) > 64:
            rest = original([row[64:]])[0]
            said[place] = replace(rest, values=torch.cat((said[place].values, rest.values)))
    return said


def leak(original: Change, documents: Sequence[Tokens]) -> list[Scores]:
    """Read packed documents as one."""
    one = original([tuple(token for document in documents for token in document)])[0]
    return [Scores(part) for part in one.values.split([len(d) for d in documents])]


def share(session: FaultySession) -> Session:
    """Give out the session itself as its copy."""
    return session


def share_convolutions(session: FaultySession) -> Session:
    """Copy the recurrent states of a cache only; the last inputs are shared."""
    other = FaultySession(session.runner, session.inner.copy(), session.num_rows)
    for mine, theirs in zip(session.inner.cache.layers, other.inner.cache.layers, strict=True):
        theirs.conv_states = mine.conv_states
    return other


def order_convolutions_only(session: FaultySession, rows: Sequence[int]) -> None:
    """Reorder the last inputs, and not the recurrent states."""
    kept = [copy.copy(layer.recurrent_states) for layer in session.inner.cache.layers]
    session.inner.reorder(rows)
    for layer, states in zip(session.inner.cache.layers, kept, strict=True):
        layer.recurrent_states = states


def reorder_backwards(session: FaultySession, rows: Sequence[int]) -> None:
    """Put row i in the place of row `rows[i]`, the other way round."""
    inverse = [list(rows).index(row) if row in rows else row for row in range(len(rows))]
    session.inner.reorder(inverse)


def keep_all(session: FaultySession, length: int) -> None:
    """Take nothing back."""


def write_anything(original: Change, prompts: Sequence[Tokens], **named: Any) -> list[Tokens]:
    """Write a symbol that may not follow, once in a while."""
    return [(*text[:-1], 3) if len(text) > 1 else text for text in original(prompts, **named)]


def fail(original: Change, rows: Any, *, padding: Padding | None) -> list[Scores]:
    """Fail on rows of unequal lengths."""
    if len({len(row) for row in rows}) > 1:
        raise RuntimeError("stack expects each tensor to be equal size")
    return original(rows, padding=padding)
