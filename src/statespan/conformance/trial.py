"""What is done to an engine, as data: steps on sessions, that can be shown, repeated and shrunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias, final

from statespan.conformance.protocol import Padding, Runner, Scores, Session, Tokens
from statespan.errors import InputError

__all__ = [
    "Crop", "Feed", "Fork", "Packed", "Reading", "Reorder", "Score", "Step", "Trial", "Write",
    "run_trial",
]  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class Score:
    """Score rows in one call, without a session."""

    rows: tuple[Tokens, ...]
    padding: Padding | None = None


@final
@dataclass(frozen=True, slots=True)
class Packed:
    """Score documents that are packed into one row."""

    documents: tuple[Tokens, ...]


@final
@dataclass(frozen=True, slots=True)
class Feed:
    """Feed a session, which is started with as many rows if there is none of that number yet."""

    rows: tuple[Tokens, ...]
    session: int = 0
    padding: Padding | None = None


@final
@dataclass(frozen=True, slots=True)
class Fork:
    """Copy a session to a new one."""

    source: int
    target: int


@final
@dataclass(frozen=True, slots=True)
class Crop:
    """Take a session back to its first `length` tokens."""

    length: int
    session: int = 0


@final
@dataclass(frozen=True, slots=True)
class Reorder:
    """Put row `rows[i]` of a session in the place of row i."""

    rows: tuple[int, ...]
    session: int = 0


@final
@dataclass(frozen=True, slots=True)
class Write:
    """Generate up to `steps` tokens after each prompt."""

    prompts: tuple[Tokens, ...]
    steps: int
    sampled: bool
    seed: int = 0


Step: TypeAlias = Score | Packed | Feed | Fork | Crop | Reorder | Write


@final
@dataclass(frozen=True, slots=True)
class Trial:
    """One or more lanes of steps; several lanes run at the same time, each in its own thread."""

    lanes: tuple[tuple[Step, ...], ...]

    @classmethod
    def of(cls, *steps: Step) -> Trial:
        """Return a trial of one lane."""
        return cls((steps,))


@final
@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What an engine said to one row in one step.

    Attributes:
        lane: the lane.
        step: the step in the lane.
        row: the row, or the document.
        history: all that the row has read since its beginning, the tokens of this step the last.
        scores: what was said after each token of this step; None for `Write`.
        written: the tokens that `Write` got, which `history` ends with.
    """

    lane: int
    step: int
    row: int
    history: Tokens
    scores: Scores | None = None
    written: Tokens = ()


def run_trial(runner: Runner, trial: Trial) -> list[Reading]:
    """Return what the engine said, lane by lane, step by step, row by row.

    Raises:
        UnsupportedError: the engine does not offer something that a step needs.
        InputError: it gave fewer scores than there were tokens, or more.
    """
    lanes = [_Lane(runner, number) for number in range(len(trial.lanes))]
    if len(lanes) == 1:
        return lanes[0].run(trial.lanes[0])
    with ThreadPoolExecutor(len(lanes)) as pool:
        done = pool.map(lambda pair: pair[0].run(pair[1]), zip(lanes, trial.lanes, strict=True))
        return [reading for readings in done for reading in readings]


@final
@dataclass(eq=False)
class _Lane:
    """The sessions of one lane, and what each of their rows has read."""

    runner: Runner
    number: int
    sessions: dict[int, Session] = field(default_factory=dict)
    histories: dict[int, list[Tokens]] = field(default_factory=dict)

    def run(self, steps: tuple[Step, ...]) -> list[Reading]:
        """Return what was said in all the steps."""
        return [reading for place, step in enumerate(steps) for reading in self._do(place, step)]

    def _do(self, place: int, step: Step) -> Iterator[Reading]:
        match step:
            case Score(rows, padding):
                yield from self._read(place, rows, rows, self.runner.score(rows, padding=padding))
            case Packed(documents):
                said = self.runner.score_packed(documents)
                yield from self._read(place, documents, documents, said)
            case Feed():
                yield from self._feed(place, step)
            case Fork(source, target):
                self.sessions[target] = self.sessions[source].copy()
                self.histories[target] = list(self.histories[source])
            case Crop(length, session):
                self.sessions[session].crop(length)
                self.histories[session] = [old[:length] for old in self.histories[session]]
            case Reorder(rows, session):
                self.sessions[session].reorder(rows)
                self.histories[session] = [self.histories[session][row] for row in rows]
            case Write():
                yield from self._write(place, step)

    def _feed(self, place: int, step: Feed) -> Iterator[Reading]:
        if step.session not in self.sessions:
            self.sessions[step.session] = self.runner.start(len(step.rows))
            self.histories[step.session] = [()] * len(step.rows)
        scores = self.sessions[step.session].feed(step.rows, padding=step.padding)
        old = self.histories[step.session]
        histories = [past + row for past, row in zip(old, step.rows, strict=True)]
        self.histories[step.session] = histories
        yield from self._read(place, histories, step.rows, scores)

    def _read(
        self, place: int, histories: _Rows, rows: _Rows, scores: list[Scores]
    ) -> Iterator[Reading]:
        needed, came = [len(row) for row in rows], [len(given.values) for given in scores]
        if came != needed:
            raise InputError(f"scores are needed for {needed} tokens of each row, got {came}.")
        for row, (history, given) in enumerate(zip(histories, scores, strict=True)):
            yield Reading(self.number, place, row, history, given)

    def _write(self, place: int, step: Write) -> Iterator[Reading]:
        generate: Callable[..., list[Tokens]] = self.runner.generate
        texts = generate(step.prompts, steps=step.steps, sampled=step.sampled, seed=step.seed)
        for row, (prompt, text) in enumerate(zip(step.prompts, texts, strict=True)):
            yield Reading(self.number, place, row, prompt + text, written=text)


_Rows: TypeAlias = "tuple[Tokens, ...] | list[Tokens]"
