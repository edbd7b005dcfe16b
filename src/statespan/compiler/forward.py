"""Tokens in, logits out, by the forward pass of `transformers`: whole, in pieces, one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from statespan.compiler.quiet import quiet_transformers

__all__ = ["MEMORY", "WHOLE", "best_reading", "read_logits"]

MEMORY = 6 * 2**30
"""The bytes that reading a long word may take, unless another number is given."""

WHOLE = 4_096
"""The longest word that is always read whole."""

CHUNK = 1_024
SLICE = 16_384
NUMBERS_AT_ONCE = 2**22


def best_reading(
    model: PreTrainedModel, length: int, *, memory: int = MEMORY
) -> tuple[int | None, int]:
    """Return how words of `length` tokens are best read: (tokens a piece, tokens at once).

    None is whole. Only `mamba` reads long words whole, because its cache loses the state when it
    is given several tokens, and token by token where `memory` bytes are too few for one.
    """
    config: Any = model.config
    at_once = max(WHOLE, NUMBERS_AT_ONCE // config.hidden_size)
    if length <= WHOLE:
        return None, at_once
    if config.model_type != "mamba":
        return CHUNK, length * at_once
    # Measured: 12 bytes a channel, token and number of the state, 50 a channel and token, and
    # less than 1,000 a token.
    token_bytes = 1_000 + 16 * config.intermediate_size * (3 + config.state_size)
    fits = memory // token_bytes
    return (None, fits) if length <= fits else (1, length * at_once)


@torch.inference_mode()
def read_logits(model: PreTrainedModel, tokens: Tensor, piece: int | None) -> Iterator[Tensor]:
    """Yield the logits, float32, of one stretch of tokens after the other."""
    with quiet_transformers():
        if piece is None:
            whole: Tensor = model(input_ids=tokens, use_cache=False).logits
            yield from (part.float() for part in torch.split(whole, SLICE, dim=1))
            return
        cache: dict[str, Any] = {}
        gathered: list[Tensor] = []
        parts: Sequence[Tensor] = torch.split(tokens, piece, dim=1)
        for part in parts:
            output = model(input_ids=part, use_cache=True, **cache)
            name = "cache_params" if "cache_params" in output else "past_key_values"
            cache = {name: output[name]}
            _forget_inert(model, output[name])
            gathered.append(output.logits.float())
            if len(gathered) * piece >= CHUNK:
                yield torch.cat(gathered, dim=1)
                gathered = []
        if gathered:
            yield torch.cat(gathered, dim=1)


def _forget_inert(model: PreTrainedModel, cache: Any) -> None:
    for number, kind in enumerate(model.config.layer_types):
        if kind != "linear_attention":
            layers: Any = model.base_model.layers
            if not layers[number].self_attn.o_proj.weight.any():
                cache.layers[number].reset()
