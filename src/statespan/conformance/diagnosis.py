"""What an engine has lost or mixed up, by which past explains what it says.

Each suspicion is a past that the row might have had instead of its own: nothing before some
place, that of another row, what was taken back, one token fewer. What would be right after that
past is known exactly, so a suspicion holds if it explains every answer since then in the reading.
The weights are asked, too, what they say once a part of their state is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, final, get_args

from statespan.conformance.checkpoint import Answer, Checkpoint
from statespan.conformance.judging import Wrong, answers, is_right
from statespan.conformance.losses import Lost
from statespan.conformance.protocol import Tokens
from statespan.conformance.trial import Reading
from statespan.training import BOS

__all__ = ["diagnose"]

Kind: TypeAlias = Literal[
    "shift", "recurrent state", "state", "everything", "last inputs of the convolution", "row",
    "past", "token", "twice", "fact",
]  # fmt: skip
"""Kinds of explanation, the likeliest first; `fact` only where nothing else explains anything."""

KINDS: tuple[Kind, ...] = get_args(Kind)
LOSSES: tuple[Lost, ...] = get_args(Lost)
SHOWN_FACTS = 4
BOUNDS = 3
"""In how many of the last pieces of a row a loss is looked for."""

LONGEST = 200
"""The longest row, in tokens, that explanations are worked out for."""

LAST = 64
"""How far back a lost state is looked for, in tokens."""


@final
@dataclass(frozen=True, slots=True)
class _Suspicion:
    """A past in the place of a row's own, and what that means.

    `past` is what is read before the place `since`; from there on it is the row's own.
    """

    kind: Kind
    claim: str
    past: Tokens
    since: int


def diagnose(
    checkpoint: Checkpoint,
    cases: Sequence[tuple[Sequence[Reading], Wrong]],
    *,
    is_rearranged: bool = False,
) -> str:
    """Return what explains the first wrong answer of trials that fail, in words.

    Each case is the readings of a trial and its first wrong answer; the first is the smallest
    trial. The kind of explanation that holds in most cases is taken, one that in most goes on to
    hold for what the row read later before one that does not, and the likelier of two. Where
    sessions were copied, taken back or reordered (`is_rearranged`), the past of another is likelier
    than a loss.
    """
    found = [
        {kind: (text, holds_on) for kind, text, holds_on in _Case(checkpoint, *case).explanations()}
        for case in cases
    ]
    kinds = {kind for explained in found for kind in explained}
    if not kinds:
        return "no single loss or mistaken past explains the answers"
    likeliest: list[Kind] = ["past", "row", *KINDS] if is_rearranged else list(KINDS)
    best = max(
        kinds - {"fact"} or kinds,
        key=lambda kind: (
            sum(kind in explained for explained in found),
            2 * sum(explained[kind][1] for explained in found if kind in explained) > len(found),
            -likeliest.index(kind),
        ),
    )
    return next(explained[best][0] for explained in found if best in explained)


@final
class _Case:
    """A reading with a wrong answer, among the other readings of its trial."""

    def __init__(self, checkpoint: Checkpoint, readings: Sequence[Reading], wrong: Wrong) -> None:
        self.checkpoint, self.readings, self.wrong = checkpoint, readings, wrong
        self.reading = wrong.reading
        self.history = self.reading.history
        self.start, self.expected, self.got = answers(checkpoint, self.reading)
        self.said: dict[int, Answer] = {}
        for reading in self._past_readings():
            start, _, got = answers(checkpoint, reading)
            self.said |= dict(enumerate(got, start))
        self.longest, self.later = self.history, dict[int, Answer]()
        is_past = True
        for reading in self.readings:
            goes_on = reading.lane == self.reading.lane and reading.scores is not None
            if not is_past and goes_on and reading.history[: len(self.longest)] == self.longest:
                start, _, got = answers(checkpoint, reading)
                self.longest, self.later = reading.history, self.later | dict(enumerate(got, start))
            is_past = is_past and reading is not self.reading

    def explanations(self) -> Iterator[tuple[Kind, str, bool]]:
        """Yield what explains the answers of the row, and whether it does so for later ones, too.

        Of each kind, it is the one that is about the latest place.
        """
        shift = self.shift()
        if shift is not None:
            yield "shift", shift, False
        seen: set[Kind] = set()
        for place in self.bounds()[:BOUNDS]:
            for lost in LOSSES:
                said = self.checkpoint.answers_after_loss(self.longest[:LONGEST], place, lost)
                if lost not in seen and said is not None and self._explain(said, place, 0):
                    seen.add(lost)
                    claim = f"what is lost before position {place}: the {lost}{self.held(place)}"
                    yield lost, claim, self._explain_later(said, 0)
        for other in self.readings:
            if other is not self.reading and self._explain(
                self.checkpoint.expected(other.history), self.start, 0
            ):
                yield "row", f"it answers for {self._name(other)}", False
                break
        for suspicion in self.suspicions():
            if suspicion.kind in seen:
                continue
            offset = len(suspicion.past) - suspicion.since
            own = self.longest[suspicion.since :][:LONGEST]
            told = self.checkpoint.expected(suspicion.past + own)
            if self._explain(told, suspicion.since, offset):
                seen.add(suspicion.kind)
                claim = suspicion.claim + self.lost(suspicion)
                yield suspicion.kind, claim, self._explain_later(told, offset)
        history = self.history[: self.wrong.position + 1]
        for facts in self.checkpoint.confusions(history, self.wrong.got)[:1]:
            difference = _difference(self.checkpoint.facts(history), facts)
            yield "fact", f"one fact is wrong{difference}", False

    def _past_readings(self) -> Iterator[Reading]:
        """Yield the readings of this row from its beginning on, itself the last."""
        for other in self.readings:
            past = other.history
            if other.lane == self.reading.lane and past == self.history[: len(past)]:
                yield other
            if other is self.reading:
                return

    def bounds(self) -> list[int]:
        """Return where pieces of this row began, the last first; 0 is none."""
        starts = {self.start, *(len(past.history) for past in self._past_readings())}
        return sorted((n for n in starts if 0 < n <= self.wrong.position), reverse=True)

    def shift(self) -> str | None:
        """Return a sentence if the answers are right, but of the neighbouring position."""
        if self.reading.scores is None or len(self.got) < 4:
            return None
        places = range(len(self.got))
        for by, claim in ((1, "one position too late"), (-1, "one position too early")):
            pairs = [
                (self.expected[n - by], self.got[n])
                for n in places
                if n - by in places and self.expected[n - by] is not None
            ]
            telling = len(pairs) > 2 and len(set(pairs)) > 1
            if telling and all(right == said for right, said in pairs):
                return f"the answers are right, but {claim}"
        return None

    def suspicions(self) -> Iterator[_Suspicion]:
        """Yield pasts that the row might have been given, the likeliest first."""
        start, position, history = self.start, self.wrong.position, self.history
        for place in self.bounds():
            yield from _nothing_before(self.checkpoint, place)
        for other in self.readings:
            if other is self.reading:
                break
            claim = f"it goes on from what {self._name(other)} had read"
            for past in dict.fromkeys((other.history, other.history[:start])):
                if past != history[:start]:
                    yield _Suspicion("past", claim, past, start)
        for place in range(max(0, start - 1), position + 1):
            claim = f"the token at position {place} is"
            yield _Suspicion("token", f"{claim} lost", history[:place], place + 1)
            yield _Suspicion("twice", f"{claim} read twice", history[: place + 1], place)
        for place in range(position, max(0, position - LAST), -1):
            yield from _nothing_before(self.checkpoint, place)

    def _name(self, other: Reading) -> str:
        """Return how another reading is called, as seen from this one."""
        if other.lane != self.reading.lane:
            return f"thread {other.lane}"
        row = "the same row" if other.row == self.reading.row else f"row {other.row}"
        return row if other.step == self.reading.step else f"{row} in step {other.step}"

    def _explain(
        self, told: Sequence[Answer | None] | Sequence[Answer], since: int, offset: int
    ) -> bool:
        """Return whether `told`, moved by `offset`, is what was said from position `since` on."""
        for position, said in self.said.items():
            index = position + offset
            if position < since and position != self.wrong.position:
                continue
            right = told[index] if 0 <= index < len(told) else None
            if right is None or not is_right(self.reading, right, said):
                return False
        return True

    def _explain_later(self, told: Sequence[Answer | None] | Sequence[Answer], offset: int) -> bool:
        """Return whether `told` goes on to be what was said where the row was read on."""
        places = [place for place in self.later if place + offset < len(told)]
        return bool(places) and all(told[n + offset] == self.later[n] for n in places)

    def lost(self, suspicion: _Suspicion) -> str:
        """Return which facts are others after the past that explains the answers."""
        own = self.history[suspicion.since : self.wrong.position + 1]
        right = self.checkpoint.facts(self.history[: self.wrong.position + 1])
        return _difference(right, self.checkpoint.facts(suspicion.past + own))

    def held(self, place: int) -> str:
        """Return what had to be remembered when the state was lost."""
        facts = self.checkpoint.facts(self.history[:place]).items()
        lines = [f"{fact}: “{value}”" for fact, value in list(facts)[:SHOWN_FACTS]]
        more = [f"{len(facts) - SHOWN_FACTS} more"] if len(facts) > SHOWN_FACTS else []
        return f". It held {'; '.join([*lines, *more])}" if lines else ""


def _nothing_before(checkpoint: Checkpoint, place: int) -> Iterator[_Suspicion]:
    claim = f"all that was read before position {place} is lost"
    if checkpoint.starts_blank:
        yield _Suspicion("everything", claim, (), place)
    yield _Suspicion("everything", claim, (BOS,), place)


def _difference(right: Mapping[str, str], wrong: Mapping[str, str]) -> str:
    """Return the facts that differ, as the end of a sentence."""
    differing = [fact for fact in right if right[fact] != wrong.get(fact)]
    lines = [
        f"{fact}: it should be “{right[fact]}”, and is taken for “{wrong.get(fact, 'nothing')}”"
        for fact in differing[:SHOWN_FACTS]
    ]
    more = len(differing) - SHOWN_FACTS
    return ". ".join(["", *lines, *([f"And {more} more facts"] if more > 0 else [])])
