"""Recall tasks run on a model: the likeliest token at each position that is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random

import torch

from statespan.errors import InputError, LengthError
from statespan.evaluation.language_model import LanguageModel
from statespan.evaluation.logits import next_tokens
from statespan.evaluation.synthetic.task import RECALL_TASKS, RecallSample
from statespan.records import RecallRecord

__all__ = ["DEPTHS", "LEAST_LENGTH", "evaluate_recall", "plain_tokens"]

DEPTHS = tuple(step / 9 for step in range(10))
LEAST_LENGTH = 64


def plain_tokens(model: LanguageModel) -> list[int]:
    """Return the token ids that recall tasks draw from: all but the special ones."""
    special = set() if model.tokenizer is None else set(model.tokenizer.all_special_ids)
    known = model.vocabulary if model.tokenizer is None else model.tokenizer.vocab_size
    return [token for token in range(min(known, model.vocabulary)) if token not in special]


@torch.no_grad()
def evaluate_recall(
    model: LanguageModel,
    task: str,
    length: int,
    samples: int,
    *,
    seed: int = 0,
    depths: Sequence[float] = DEPTHS,
    tokens: Sequence[int] | None = None,
    batch_size: int = 1,
    attention: str = "full",
    on_step: Callable[[int], None] = lambda _: None,
) -> list[RecallRecord]:
    """Return a record of a recall task at one length; one for each depth, where the task has them.

    Each answer is asked with the right ones before it. `samples` are shared out among the depths,
    at least one to each. `tokens` are the ids that the sequences are made of: by default all of the
    model's but the special ones of its tokenizer.

    Raises:
        UnknownNameError: no such task.
        LengthError: a length below 64.
        InputError: too few different tokens.
    """
    made = RECALL_TASKS.get(task)
    if length < LEAST_LENGTH:
        raise LengthError(f"length must be at least {LEAST_LENGTH} tokens, got {length}.")
    ids = plain_tokens(model) if tokens is None else list(tokens)
    if len(ids) < made.least_tokens:
        raise InputError(f"{task} needs {made.least_tokens} different tokens, got {len(ids)}.")
    places: Sequence[float | None] = list(depths) if made.has_depths else [None]
    share = -(-samples // len(places))
    records = []
    for number, depth in enumerate(places):
        drawn = [
            made.draw(length, ids, depth or 0.0, Random(f"{seed}/{task}/{length}/{depth}/{index}"))
            for index in range(share)
        ]
        right = list(_answer(model, drawn, batch_size))
        records.append(
            RecallRecord(
                attention=attention,
                task=task,
                length=length,
                depth=depth,
                samples=share,
                correct=sum(map(all, right)),
                positions=sum(map(len, right)),
                correct_positions=sum(map(sum, right)),
            )
        )
        on_step((number + 1) * share)
    return records


def _answer(
    model: LanguageModel, drawn: Sequence[RecallSample], batch_size: int
) -> Iterator[list[bool]]:
    """Yield, for each sample, which of its answers the model gives."""
    for begin in range(0, len(drawn), batch_size):
        batch = drawn[begin : begin + batch_size]
        tokens = torch.tensor([sample.tokens for sample in batch], device=model.device)
        first = min(sample.asked[0] for sample in batch)
        given = next_tokens(model.model, tokens[:, :-1], begin=first).tolist()
        for row, sample in zip(given, batch, strict=True):
            pairs = zip(sample.asked, sample.answers, strict=True)
            yield [row[position - first] == answer for position, answer in pairs]
