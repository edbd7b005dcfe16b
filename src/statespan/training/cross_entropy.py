"""The loss of a language model without the logits of a whole sequence in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from statespan.errors import ConfigError
from statespan.pretrained.span.plan import model_of
from statespan.training.text.rows import NO_LABEL

__all__ = ["LOGITS_AT_ONCE", "check_chunked_loss", "chunked_cross_entropy", "head_logits"]

LOGITS_AT_ONCE = 1 << 22
"""Logits that exist at once, of all rows and tokens of the vocabulary, more or less."""

LOSSES = frozenset({"ForCausalLM"})
"""What `transformers` calls the plain mean over the next tokens."""


def chunked_cross_entropy(
    model: Any,
    tokens: Int[Tensor, "batch length"],
    labels: Int[Tensor, "batch length"],
    *,
    mask: Int[Tensor, "batch length"] | None = None,
    positions: Int[Tensor, "batch length"] | None = None,
    piece: int | None = None,
) -> Float[Tensor, ""]:
    """Return the sum of -log p over all labels, in float32.

    Divided by the number of labels that are predicted, it is what `model(…, labels=labels)` gives,
    and so are its gradients: a label is predicted by the token before it, and one of -100 is not.
    The layers run once; then the model's own code after them (head, scaling, capping) runs on the
    hidden states of `piece` positions at a time, and once more in the backward pass, so that never
    more logits exist than those of one piece.

    Args:
        model: a causal language model of `transformers`, with adapters or without; see
            `check_chunked_loss`.
        tokens: their ids.
        labels: the ids again, -100 where a token is not predicted.
        mask: 1 for a token, 0 for padding.
        positions: the place of each token in its document.
        piece: positions at a time; by default as many as have about four million logits.
    """
    causal: Any = model_of(model)
    more = {"attention_mask": mask, "position_ids": positions}
    given = {name: value for name, value in more.items() if value is not None}
    layers = getattr(causal, causal.base_model_prefix)
    output = layers(input_ids=tokens, use_cache=False, **given)
    hidden, kind = output[0][:, :-1], type(output)
    targets = labels[:, 1:]
    vocabulary = causal.get_output_embeddings().weight.shape[0]
    size = piece or max(1, LOGITS_AT_ONCE // max(1, tokens.shape[0] * vocabulary))
    total: Tensor = hidden.new_zeros((), dtype=torch.float32)
    for begin in range(0, targets.shape[1], size):
        part = slice(begin, begin + size)
        arguments = (causal, kind, tokens[:, :-1][:, part], hidden[:, part], targets[:, part])
        total = total + checkpoint(_piece_loss, *arguments, use_reentrant=False)
    return total


def check_chunked_loss(model: Any) -> None:
    """Check that the loss of `model` is that of its next tokens and nothing else.

    Raises:
        ConfigError: a loss of its own, or one for the routers of experts, is added.
    """
    causal: Any = model_of(model)
    name = type(causal).__name__
    if getattr(causal.config.get_text_config(), "output_router_logits", False):
        raise ConfigError(
            f"{name} adds a loss for the routers of its experts (output_router_logits), which is "
            "not computed in pieces: set it to false in the model's config.json."
        )
    if causal.loss_type not in LOSSES:
        raise ConfigError(
            f"{name} has a loss of its own, {causal.loss_type}, which is not computed in pieces."
        )
    if causal.get_output_embeddings() is None:
        raise ConfigError(f"{name} has no head that predicts tokens.")


def head_logits(
    causal: Any,
    kind: type[Any],
    tokens: Int[Tensor, "batch piece"],
    hidden: Float[Tensor, "batch piece width"],
) -> Float[Tensor, "batch piece token"]:
    """Return what the model's own code makes of the hidden states that its layers end with.

    `kind` is the class of what the layers return.
    """
    with _answering(causal, kind(last_hidden_state=hidden)):
        logits: Tensor = causal(input_ids=tokens, use_cache=False).logits
    return logits


def _piece_loss(
    causal: Any,
    kind: type[Any],
    tokens: Int[Tensor, "batch piece"],
    hidden: Float[Tensor, "batch piece width"],
    targets: Int[Tensor, "batch piece"],
) -> Float[Tensor, ""]:
    logits = head_logits(causal, kind, tokens, hidden).flatten(0, 1).float()
    loss: Tensor = nn.functional.cross_entropy(
        logits, targets.flatten(), ignore_index=NO_LABEL, reduction="sum"
    )
    return loss


class _Answer(nn.Module):
    """Stands for the layers: gives one output, whatever it is asked, and their attributes."""

    def __init__(self, layers: nn.Module, output: Any) -> None:
        super().__init__()
        self.hidden = (layers, output)  # in a tuple, the layers are no part of this module

    def forward(self, *_: Any, **__: Any) -> Any:
        return self.hidden[1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.hidden[0], name)


@contextmanager
def _answering(causal: Any, output: Any) -> Iterator[None]:
    """Let the layers of a model give this output in here; no hook of theirs is called."""
    name = causal.base_model_prefix
    layers = getattr(causal, name)
    setattr(causal, name, _Answer(layers, output))
    try:
        yield
    finally:
        setattr(causal, name, layers)
