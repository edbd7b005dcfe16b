"""How far from 0 a model's logits are, as a few random words show: a check at every compilation."""

from __future__ import annotations

from random import Random
from typing import Any

import torch

from statespan.compiler.oracle import Oracle
from statespan.compiler.quiet import quiet_transformers
from statespan.training import BOS, EOS

__all__ = ["smallest_margin"]

NUM_WORDS = 8
LENGTH = 64
SURPRISE = 0.05


@torch.inference_mode()
def smallest_margin(
    model: Any, oracle: Oracle, *, rng: Random, valid_prefixes_only: bool = False
) -> float:
    """Return the smallest distance of a logit from 0; negative if one is on the wrong side.

    The words follow what is allowed; now and then, unless only valid prefixes are promised, comes
    any other token.
    """
    rows, wanted = [], []
    for _ in range(NUM_WORDS):
        tokens, answers = _walk(oracle, rng, valid_prefixes_only)
        rows.append(tokens)
        wanted.append(answers)
    with quiet_transformers():
        logits = model(torch.tensor(rows), use_cache=False).logits.float()
    signed = logits[..., oracle.vocabulary.answer_ids] * (2 * torch.tensor(wanted) - 1)
    return float(signed.min())


def _walk(oracle: Oracle, rng: Random, valid_only: bool) -> tuple[list[int], list[list[bool]]]:
    answer_ids = oracle.vocabulary.answer_ids
    tokens, state = [BOS], oracle.start
    answers = [oracle.answers(state)]
    while len(tokens) < LENGTH:
        allowed = [t for t, yes in zip(answer_ids, answers[-1], strict=True) if yes and t != EOS]
        token = rng.choice(allowed or [BOS])
        if not valid_only and rng.random() < SURPRISE:
            token = rng.randrange(oracle.vocabulary.size)
        state = oracle.step(state, token)
        tokens.append(token)
        answers.append(oracle.answers(state))
    return tokens, answers
