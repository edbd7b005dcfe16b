"""Exact-set accuracy: a word counts only if the set of next symbols is right at every position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random

import torch
from jaxtyping import Bool
from torch import Tensor

from statespan.errors import LengthError
from statespan.evaluation.published import Published
from statespan.languages import Language
from statespan.models import SequenceModel
from statespan.records import BinRecord, LengthRecord
from statespan.tasks import SymbolTask
from statespan.training import AnswerData, Example, SetReadout, batch_examples
from statespan.training.data import AnswerSets

__all__ = ["Score", "evaluate_bins", "evaluate_lengths", "predict_sets", "score", "total_score"]

Score = Counter[tuple[int, str]]
"""(length, "words" | "correct" | "positions" | "correct_positions") -> count."""


@torch.no_grad()
def predict_sets(
    model: SequenceModel, readout: SetReadout, tokens: Tensor
) -> Bool[Tensor, "batch length answer"]:
    """Return which answers the model gives after each token."""
    return readout.logits(model(tokens).logits) > 0


@torch.no_grad()
def score(
    model: SequenceModel, readout: SetReadout, examples: Sequence[Example], answer_sets: Tensor
) -> Score:
    """Count words and positions by word length; a position that is padded never counts."""
    model.eval()
    counts: Score = Counter()
    for batch in batch_examples(examples):
        right = readout.is_right(model(batch.tokens).logits, answer_sets[batch.targets])
        whole = (right | ~batch.mask).all(1)
        asked, rights = batch.mask.sum(1), (right & batch.mask).sum(1)
        for length, *found in torch.stack((batch.lengths, whole, asked, rights), 1).tolist():
            counts[length, "words"] += 1
            for kind, number in zip(BIN_COUNTS[1:], found, strict=True):
                counts[length, kind] += number
    return counts


def total_score(counts: Score) -> Counter[str]:
    """Return the counts of all lengths together."""
    totals: Counter[str] = Counter()
    for (_, kind), count in counts.items():
        totals[kind] += count
    return totals


BIN_COUNTS = ("words", "correct", "positions", "correct_positions")


def evaluate_bins(
    model: SequenceModel,
    readout: SetReadout,
    data: AnswerData,
    published: Published | None = None,
    *,
    architecture: str = "",
    layers: int = 0,
) -> list[BinRecord]:
    """Return a record for each bin, with the published figure where the bin is the published one.

    `architecture` and `layers` say which of the published models to compare with.
    """
    mamba = published.for_model(architecture, layers) if published else None
    transformer = published.transformer if published else None
    records = []
    for index, (bounds, examples) in enumerate(zip(data.bins, data.tests, strict=True)):
        totals = total_score(score(model, readout, examples, data.answer_sets))
        same_bin = published is not None and bounds in published.bins[index : index + 1]
        records.append(
            BinRecord(
                lower=bounds[0],
                upper=bounds[1],
                **{key: totals[key] for key in BIN_COUNTS},
                seen=data.seen[index],
                published=mamba[index] if mamba and same_bin else None,
                published_transformer=transformer[index] if transformer and same_bin else None,
            )
        )
    return records


def evaluate_lengths(
    model: SequenceModel,
    readout: SetReadout,
    subject: Language | SymbolTask,
    lengths: Sequence[int],
    words: int,
    rng: Random,
    *,
    on_step: Callable[[int], None] = lambda _: None,
) -> list[LengthRecord]:
    """Return a record for each of the lengths that has words, over `words` uniform draws each.

    The words of a task are its samples.
    """
    records = []
    for done, length in enumerate(lengths, start=1):
        try:
            sets = AnswerSets(readout.vocabulary)
            examples = _draw_examples(subject, length, words, rng, sets)
        except LengthError:
            on_step(done)
            continue
        counts = score(model, readout, examples, sets.table())
        records.append(
            LengthRecord(
                length=length, words=counts[length, "words"], correct=counts[length, "correct"]
            )
        )
        on_step(done)
    return records


def _draw_examples(
    subject: Language | SymbolTask, length: int, count: int, rng: Random, sets: AnswerSets
) -> list[Example]:
    """Return the distinct ones of `count` draws."""
    if isinstance(subject, Language):
        words = subject.sample(length=length, count=count, rng=rng)
        return sets.encode(subject, dict.fromkeys(words))
    samples = subject.sample(length=length, count=count, rng=rng)
    return sets.encode_samples(dict.fromkeys(samples))
