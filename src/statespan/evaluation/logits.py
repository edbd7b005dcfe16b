"""Logits a few positions at a time: those of a whole sequence never exist at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from statespan.training.cross_entropy import head_logits

__all__ = ["PIECE", "logits_in_pieces", "next_tokens", "token_losses"]

PIECE = 1 << 22
"""Logits that exist at once, of all rows and tokens of the vocabulary, more or less."""


def logits_in_pieces(
    model: Any, tokens: Int[Tensor, "batch length"], *, begin: int = 0, piece: int | None = None
) -> Iterator[tuple[int, Float[Tensor, "batch piece token"]]]:
    """Yield (first position, logits) of the positions from `begin` on, `piece` of them at a time.

    The layers run once; then the model's own code after them (head, scaling, capping) runs on the
    hidden states of a piece. `piece` is chosen for about four million logits if it is not given.
    """
    causal = _causal_model(model)
    output = getattr(causal, causal.base_model_prefix)(tokens, use_cache=False)
    length = tokens.shape[1]
    vocabulary = causal.get_output_embeddings().weight.shape[0]
    step = piece or max(1, PIECE // max(1, tokens.shape[0] * vocabulary))
    for first in range(begin, length, step):
        last = min(first + step, length)
        piece_of = slice(first, last)
        yield first, head_logits(causal, type(output), tokens[:, piece_of], output[0][:, piece_of])


def token_losses(
    model: Any, tokens: Int[Tensor, "batch length"], *, first: int = 1, piece: int | None = None
) -> Float[Tensor, "batch scored"]:
    """Return −log p, in nats, of each token from position `first` on, given those before it."""
    losses = []
    pieces = logits_in_pieces(model, tokens[:, :-1], begin=first - 1, piece=piece)
    for begin, logits in pieces:
        targets = tokens[:, begin + 1 : begin + 1 + logits.shape[1]]
        flat = nn.functional.cross_entropy(
            logits.flatten(0, 1).float(), targets.flatten(), reduction="none"
        )
        losses.append(flat.view_as(targets))
    return torch.cat(losses, dim=1)


def next_tokens(
    model: Any, tokens: Int[Tensor, "batch length"], *, begin: int = 0
) -> Int[Tensor, "batch asked"]:
    """Return the likeliest next token after each position from `begin` on."""
    pieces = logits_in_pieces(model, tokens, begin=begin)
    return torch.cat([logits.argmax(-1) for _, logits in pieces], dim=1)


def _causal_model(model: Any) -> Any:
    """Return the model of `transformers` in what may be a wrapper of PEFT around it."""
    from transformers import PreTrainedModel  # noqa: PLC0415

    return model if isinstance(model, PreTrainedModel) else model.get_base_model()
