"""What an evaluation of a long-context model found: one JSON line a cell, sums and counts."""

from __future__ import annotations

from math import exp, log
from typing import TypeAlias

import msgspec

__all__ = [
    "EvaluationRecord",
    "HarnessRecord",
    "ModelRecord",
    "PerplexityRecord",
    "PositionLoss",
    "PredictionRecord",
    "RecallRecord",
    "RulerRecord",
]


class _Record(msgspec.Struct, frozen=True, tag_field="kind", kw_only=True):
    """What all records share: the field `kind` says which one it is."""


class ModelRecord(_Record, frozen=True, tag="model", kw_only=True):
    """What was evaluated: sizes, not results. `architecture` is its `model_type`."""

    name: str
    architecture: str
    parameters: int
    vocabulary: int


class PositionLoss(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens at the positions `begin` to `end` (not included) of their window."""

    begin: int
    end: int
    loss_sum: float
    tokens: int

    @property
    def perplexity(self) -> float:
        """The perplexity of a token there."""
        return exp(self.loss_sum / self.tokens)


class PerplexityRecord(_Record, frozen=True, tag="perplexity", kw_only=True):
    """Windows of `length` tokens of text, `stride` apart; `loss_sum` is in nats over `tokens`.

    Only the last `stride` tokens of a window count, of a document's first window all. `text` says
    which text it was; `positions` splits the sums by position in the window.
    """

    attention: str
    length: int
    stride: int
    text: str
    documents: int
    windows: int
    loss_sum: float
    tokens: int
    positions: list[PositionLoss]

    @property
    def perplexity(self) -> float:
        """The perplexity of a token."""
        return exp(self.loss_sum / self.tokens)

    @property
    def bits(self) -> float:
        """The mean loss of a token in bits."""
        return self.loss_sum / self.tokens / log(2)


class RulerRecord(_Record, frozen=True, tag="ruler", kw_only=True):
    """A task of RULER at one length: `share_sum` adds up each sample's share of answers found.

    `original` counts the samples whose prompt has the original's shape; the others are shorter for
    want of room. `haystack` and `words` say what the prompts are made of.
    """

    attention: str
    task: str
    group: str
    length: int
    samples: int
    share_sum: float
    answers: int
    found: int
    original: int
    haystack: str
    words: str

    @property
    def score(self) -> float:
        """RULER's score, `string_match_all`, in percent."""
        return 100 * self.share_sum / self.samples


class PredictionRecord(_Record, frozen=True, tag="prediction", kw_only=True):
    """What a model answered to one sample of RULER, and how many answers were found in it."""

    attention: str
    task: str
    length: int
    index: int
    prediction: str
    answers: list[str]
    found: int


class RecallRecord(_Record, frozen=True, tag="recall", kw_only=True):
    """Synthetic recall at one length, and at one depth where the task has depths (0 to 1).

    A sample is correct if every position that was asked is.
    """

    attention: str
    task: str
    length: int
    depth: float | None = None
    samples: int
    correct: int
    positions: int
    correct_positions: int

    @property
    def accuracy(self) -> float:
        """The share of correct positions, in percent."""
        return 100 * self.correct_positions / self.positions


class HarnessRecord(_Record, frozen=True, tag="harness", kw_only=True):
    """A metric of one task of lm-evaluation-harness: `value` is its mean over `samples`.

    `part` is the task itself, or, of a group, the one that the metric is of.
    """

    attention: str
    task: str
    part: str
    metric: str
    value: float
    samples: int


EvaluationRecord: TypeAlias = (
    ModelRecord | PerplexityRecord | RulerRecord | PredictionRecord | RecallRecord | HarnessRecord
)
