"""Recognition: a model that predicts next symbols, used to tell words from near misses.

A model accepts a word if it allows each symbol after the prefix before it, and the end after the
last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import torch

from statespan.errors import LengthError
from statespan.evaluation.accuracy import predict_sets
from statespan.languages import Language, Word
from statespan.models import SequenceModel
from statespan.records import RecognitionRecord
from statespan.training import EOS, Example, LanguageData, SetReadout, batch_examples

__all__ = ["count_accepted", "evaluate_recognition"]


def count_accepted(model: SequenceModel, readout: SetReadout, words: Sequence[Word]) -> int:
    """Return how many of `words` the model accepts."""
    model.eval()
    answer_of = {token: i for i, token in enumerate(readout.vocabulary.answer_ids)}
    examples = []
    for word in words:
        tokens = readout.vocabulary.encode(word)
        # After each token, what is asked is whether the next one, or at last the end, is allowed.
        asked = [answer_of[token] for token in (*tokens[1:], EOS)]
        examples.append(Example(tokens, asked))
    accepted = 0
    for batch in batch_examples(examples):
        allowed = predict_sets(model, readout, batch.tokens)
        answered = torch.gather(allowed, 2, batch.targets[..., None])[..., 0]
        accepted += int((answered | ~batch.mask).all(1).sum())
    return accepted


def evaluate_recognition(
    model: SequenceModel,
    readout: SetReadout,
    language: Language,
    data: LanguageData,
    negatives: int,
    rng: Random,
) -> list[RecognitionRecord]:
    """Return a record for each bin: its test words, and `negatives` near misses (0: no record).

    A bin whose lengths have no near miss has no record.
    """
    records = []
    for (lower, upper), members in zip(data.bins, data.test_words, strict=True):
        try:
            misses = language.sample_negatives(length=(lower, upper), count=negatives, rng=rng)
        except LengthError:
            continue
        if not misses:
            continue
        records.append(
            RecognitionRecord(
                lower=lower,
                upper=upper,
                members=len(members),
                accepted=count_accepted(model, readout, members),
                negatives=len(misses),
                rejected=len(misses) - count_accepted(model, readout, misses),
            )
        )
    return records
