"""The kinds of records: one JSON line each, counts and sums rather than means."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from statespan.records.evaluations import EvaluationRecord
from statespan.records.extensions import ExtensionRecord
from statespan.records.retrievals import RetrievalRecord
from statespan.records.verdicts import RefutationRecord, VerdictRecord

__all__ = [
    "BinRecord",
    "CellRecord",
    "EndRecord",
    "ErrorRecord",
    "HeldOutRecord",
    "LengthRecord",
    "MemberRecord",
    "OutcomeRecord",
    "PositionRecord",
    "PretrainingRecord",
    "RecognitionRecord",
    "Record",
    "RunRecord",
    "TokensRecord",
    "TrainingRecord",
    "WeightsFrom",
]

WeightsFrom: TypeAlias = Literal["random", "compiler", "probe"]
"""Drawn at random, written by the compiler, or trained by an earlier probe."""


class _Record(msgspec.Struct, frozen=True, tag_field="kind", kw_only=True):
    """What all records share: the field `kind` says which one it is."""


class RunRecord(_Record, frozen=True, tag="run", kw_only=True):
    """What was trained: sizes, not results.

    `language` is the name of the task where the probe was of one, and `train_words` counts its
    samples. `weights_from` says what the training began with.
    """

    language: str
    alphabet: list[str]
    model: str
    layers: int
    parameters: int
    steps: int
    loss: str
    sampler: str
    train_words: int
    train_lengths: tuple[int, int]
    is_task: bool = False
    weights_from: WeightsFrom = "random"

    @property
    def is_compiled(self) -> bool:
        """Whether the weights are as the compiler wrote them."""
        return self.weights_from == "compiler" and not self.steps

    @property
    def subject(self) -> str:
        """The name of the language, or of the task, said to be one."""
        return f"{self.language} (task)" if self.is_task else self.language


class TrainingRecord(_Record, frozen=True, tag="training", kw_only=True):
    """The steps since the last such record: `loss` is summed over `positions`."""

    step: int
    epoch: int
    loss_sum: float
    positions: int
    learning_rate: float
    seconds: float

    @property
    def loss(self) -> float:
        """The mean loss of a position."""
        return self.loss_sum / self.positions


class BinRecord(_Record, frozen=True, tag="bin", kw_only=True):
    """Words of one range of lengths: a word is correct only if every position is.

    `seen` counts the words that are also in the training set. The published figures are percent.
    """

    lower: int
    upper: int
    words: int
    correct: int
    positions: int
    correct_positions: int
    seen: int
    published: float | None = None
    published_transformer: float | None = None

    @property
    def accuracy(self) -> float:
        """The share of correct words, in percent."""
        return 100 * self.correct / self.words


class LengthRecord(_Record, frozen=True, tag="length", kw_only=True):
    """Words of one length."""

    length: int
    words: int
    correct: int

    @property
    def accuracy(self) -> float:
        """The share of correct words, in percent."""
        return 100 * self.correct / self.words


class ErrorRecord(_Record, frozen=True, tag="error", kw_only=True):
    """Samples of a task of numbers of one range of lengths: squared errors, summed over positions.

    `baseline` says in words what else estimated the same numbers.
    """

    lower: int
    upper: int
    samples: int
    positions: int
    squared_error: float
    baseline: str
    baseline_squared_error: float

    @property
    def error(self) -> float:
        """The mean squared error of the model."""
        return self.squared_error / self.positions

    @property
    def baseline_error(self) -> float:
        """The mean squared error of the baseline."""
        return self.baseline_squared_error / self.positions


class PositionRecord(_Record, frozen=True, tag="position", kw_only=True):
    """What is asked after as many inputs as `position` says, in samples of the last bin.

    The squared errors are summed over the samples that ask there.
    """

    position: int
    samples: int
    squared_error: float
    baseline_squared_error: float


class RecognitionRecord(_Record, frozen=True, tag="recognition", kw_only=True):
    """Members and near misses of one range of lengths, and how many were told right."""

    lower: int
    upper: int
    members: int
    accepted: int
    negatives: int
    rejected: int


class MemberRecord(_Record, frozen=True, tag="member", kw_only=True):
    """One probe of a fleet, as its own run directory, called `name`, tells it.

    `loss_sum` over `positions` is the loss of its last training record. A task of numbers has
    `errors` and no bins. `failure` says why it was not trained to the end; there are neither then.
    """

    name: str
    seed: int
    learning_rate: float
    loss_sum: float
    positions: int
    bins: list[BinRecord]
    errors: list[ErrorRecord] = msgspec.field(default_factory=list)
    failure: str | None = None

    @property
    def loss(self) -> float | None:
        """The mean loss of a position, None before the first training record."""
        return self.loss_sum / self.positions if self.positions else None


Status: TypeAlias = Literal["finished", "failed", "stopped", "lost", "open"]
"""How far a cell is: `failed` means that its loss was not finite, `stopped` that it took as long as
it may, `lost` that it broke off for another reason, `open` that it is still to be run."""


class OutcomeRecord(_Record, frozen=True, tag="outcome", kw_only=True):
    """How a run that a sweep began has ended; `seconds` is its share of what its runs took."""

    status: Status
    seconds: float
    failure: str | None = None


class CellRecord(_Record, frozen=True, tag="cell", kw_only=True):
    """One cell of a sweep, as its own run directory, called `name`, tells it.

    `settings` has what the sweep sets, by key. A task of numbers has `errors` and no bins; there
    are neither unless it is finished.
    """

    name: str
    settings: dict[str, Any]
    status: Status
    seconds: float
    bins: list[BinRecord]
    errors: list[ErrorRecord] = msgspec.field(default_factory=list)
    failure: str | None = None


class PretrainingRecord(_Record, frozen=True, tag="pretraining", kw_only=True):
    """What was trained from scratch on text: sizes, not results.

    `tokens` counts the places in the rows of all steps, padding included. `characters` counts the
    text in the folder of novels, of which a run need not see all.
    """

    model: str
    layers: int
    parameters: int
    vocab_size: int
    context: int
    steps: int
    tokens: int
    characters: int


class TokensRecord(_Record, frozen=True, tag="tokens", kw_only=True):
    """The steps since the last such record: `loss_sum` is weighted, and `weight` sums the weights.

    `tokens` counts the places in the rows of all steps so far, padding included.
    """

    step: int
    tokens: int
    loss_sum: float
    weight: float
    learning_rate: float
    seconds: float

    @property
    def loss(self) -> float:
        """The mean loss of a token, each as its weight says."""
        return self.loss_sum / self.weight


class HeldOutRecord(_Record, frozen=True, tag="held-out", kw_only=True):
    """Documents of one kind and length that were not trained on, as a model of `step` reads them.

    `loss_sum` is summed over `positions`, those of prose or of answers. An answer is correct if
    each of its tokens is the likeliest one, as when it is generated greedily; prose has no answers.
    """

    step: int
    document: str
    length: int
    documents: int
    loss_sum: float
    positions: int
    answers: int
    correct: int

    @property
    def loss(self) -> float:
        """The mean loss of a position."""
        return self.loss_sum / self.positions

    @property
    def accuracy(self) -> float:
        """The share of correct answers, in percent; 0 if there are none."""
        return 100 * self.correct / self.answers if self.answers else 0.0


class EndRecord(_Record, frozen=True, tag="end", kw_only=True):
    """The last record of a finished run: `records` are before it."""

    records: int


Record: TypeAlias = (
    EndRecord
    | RunRecord
    | TrainingRecord
    | BinRecord
    | LengthRecord
    | ErrorRecord
    | PositionRecord
    | RecognitionRecord
    | MemberRecord
    | OutcomeRecord
    | CellRecord
    | PretrainingRecord
    | TokensRecord
    | HeldOutRecord
    | EvaluationRecord
    | RetrievalRecord
    | ExtensionRecord
    | VerdictRecord
    | RefutationRecord
)
