"""From scores to answers: by the signs of logits, or by which probabilities are large."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from statespan.conformance.checkpoint import Answer
from statespan.conformance.protocol import Scores

__all__ = ["allowed_margin", "allowed_tokens"]


def allowed_tokens(scores: Scores) -> list[Answer]:
    """Return the tokens that may follow at each position, as compiled models say it.

    Logits say it by their signs. Probabilities say it by their size: n tokens that may follow have
    1/n each, and where none may all of the V tokens have 1/V. BOS and PAD never may, so n is at
    most V - 2, and a token may follow if it has more than 1/(V - 1).
    """
    positive = _signed(scores) > 0
    return [frozenset(row.nonzero().flatten().tolist()) for row in positive]


def allowed_margin(scores: Scores, answers: list[Answer | None]) -> float:
    """Return the smallest distance of a score from the other answer; negative if one is wrong."""
    promised = [place for place, answer in enumerate(answers) if answer is not None]
    if not promised:
        return math.inf
    signed = _signed(scores)[promised]
    wanted = -torch.ones_like(signed)
    for row, place in enumerate(promised):
        wanted[row, sorted(answers[place] or ())] = 1
    margin = (signed * wanted).nan_to_num(nan=-math.inf).min()
    return float(margin)


def _signed(scores: Scores) -> Tensor:
    """Return numbers that are positive where a token may follow; not a number stays so."""
    values = scores.values.float()
    return values if scores.are_logits else values + math.log(values.shape[1] - 1)
