"""Whether a model keeps the documents of one row apart: found out by running it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from statespan.errors import InputError
from statespan.pretrained.span.plan import model_of

__all__ = ["keeps_documents_apart"]

FIRST, SECOND = 7, 9
"""Tokens of the two documents that a model is tried on."""
ROUNDINGS = 1_000


@torch.no_grad()
def keeps_documents_apart(model: Any) -> bool:
    """Return whether `model` reads a document behind another in a row as it reads it alone.

    That is so of attention that is told of documents by `position_ids`, and of mixers that are
    accelerated, on a CPU. A model that refuses several documents in a row does not.
    """
    causal: Any = model_of(model)
    table = causal.get_input_embeddings().weight
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(table.shape[0], (1, FIRST + SECOND), generator=generator).to(table.device)
    positions = torch.cat((torch.arange(FIRST), torch.arange(SECOND)))[None].to(table.device)
    layers = getattr(causal, causal.base_model_prefix)
    was_training = causal.training
    causal.eval()
    try:
        alone = _hidden(layers, ids[:, FIRST:], positions[:, FIRST:])
        behind = _hidden(layers, ids, positions)[:, FIRST:]
    except (InputError, ValueError):  # its own code refuses them with a ValueError
        return False
    finally:
        causal.train(was_training)
    allowed = ROUNDINGS * torch.finfo(alone.dtype).eps * alone.abs().max()
    return bool((alone - behind).abs().max() <= allowed)


def _hidden(layers: Any, ids: Tensor, positions: Tensor) -> Tensor:
    hidden: Tensor = layers(input_ids=ids, position_ids=positions, use_cache=False)[0]
    return hidden
