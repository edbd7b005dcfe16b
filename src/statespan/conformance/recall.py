"""Exact recall: an induction head by hand, in two layers of the Llama family.

The model says, after each symbol, what followed that symbol earlier in the document, and the end
where it is new. Layer 1 fetches the token before each one, by rotary positions alone: its queries
and keys are the same for all tokens, and the product of a query with the key d tokens back,
Σ_f a_f cos(θ_f (d - 1)), has its peak at d = 1. Layer 2 finds the token whose predecessor is the
symbol that was read, and copies it; there only the slowest rotations are in use, which turn by
less than 0.02 rad over the whole length. A BOS is found where no symbol is, at half the score. A
PAD is found by every query, at twice the score, and copied as BOS, which is never an answer: so a
mask that is forgotten shows.

The residual stream holds the token, the token before, the answer, each as one of 40 channels, and
a constant, all of one amplitude; so the norms divide by the same number everywhere. The
feed-forward parts are zero.

Axes: `vocabulary`, the token ids; `width`, the residual stream; `dim`, a head's queries and keys.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from statespan.compiler.weights import Weights
from statespan.conformance.recall_answers import RECALL_ALPHABET
from statespan.training import BOS, EOS, PAD, Vocabulary

__all__ = ["DIM", "RECALL_LENGTH", "recall_weights", "rotations"]

RECALL_LENGTH: Final = 2**17
"""Tokens of a document up to which the answers are right."""

WIDTH: Final = 128
DIM: Final = 128
ROPE_THETA: Final = 1e10
AMPLITUDE: Final = 8.0
"""What a channel of the stream holds for yes."""
MARGIN: Final = 64.0
"""A logit's distance from 0, as in the models of the compiler."""

FREQUENCIES: Final = 16
"""The rotations that the head of the previous token uses, from the fastest on."""
FASTEST_SHARE: Final = 0.45
"""The share of the fastest: it tells d = 1 from its neighbours, the others from what is far."""
PREVIOUS_SCORE: Final = 360.0
MATCH_SCORE: Final = 96.0
"""The score of the token before; of a match. What these leave is in the certificate."""


def recall_weights() -> Weights:
    """Return the model: every weight is a number of bfloat16, so both precisions hold the same."""
    vocabulary = Vocabulary(RECALL_ALPHABET)
    size = vocabulary.size
    token, before, answer = (slice(part * size, (part + 1) * size) for part in range(3))
    constant = 3 * size
    embeddings = torch.zeros(size, WIDTH, dtype=torch.float64)
    embeddings[:, token] = AMPLITUDE * torch.eye(size, dtype=torch.float64)
    embeddings[:, constant] = AMPLITUDE
    head = torch.zeros_like(embeddings)
    answers = vocabulary.answer_ids
    head[answers, answer.start + torch.tensor(answers)] = 2 * MARGIN / AMPLITUDE
    head[:, constant] = -MARGIN / AMPLITUDE
    tensors = {"model.embed_tokens.weight": embeddings, "lm_head.weight": head}
    previous = _attention(_constant_maps(constant), _copies(size), _writes(before))
    match = _attention(_match_maps(token, before, constant), _values(size), _writes(answer))
    for layer, (maps, ones) in enumerate(((previous, 2), (match, 3))):
        tensors |= {f"model.layers.{layer}.{name}": value for name, value in maps.items()}
        # A stream of so many channels of one amplitude comes out of the norm as it was.
        tensors |= _norm(f"model.layers.{layer}.input_layernorm", ones)
        tensors |= _norm(f"model.layers.{layer}.post_attention_layernorm", ones + 1)
    tensors |= _norm("model.norm", 4)
    return Weights(
        config=_config(size),
        tensors={name: value.bfloat16().double() for name, value in tensors.items()},
        alphabet=RECALL_ALPHABET,
        remarks=("Defined where what followed a symbol earlier in the document is one symbol.",),
    )


def _config(size: int) -> dict[str, object]:
    return {
        "model_type": "llama",
        "vocab_size": size,
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
        "head_dim": DIM,
        "max_position_embeddings": RECALL_LENGTH,
        "rope_parameters": {"rope_type": "default", "rope_theta": ROPE_THETA},
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "attention_bias": False,
        "mlp_bias": False,
    }


def rotations() -> Float[Tensor, " frequency"]:
    """Return by how many radians a token turns each pair of numbers of a query, fastest first."""
    exponents = torch.arange(DIM // 2, dtype=torch.float64) / (DIM // 2)
    return ROPE_THETA**-exponents


def _shares() -> Float[Tensor, " frequency"]:
    """Return the share of each rotation in the score of the previous token; their sum is 1."""
    shares = torch.full(
        (FREQUENCIES,), (1 - FASTEST_SHARE) / (FREQUENCIES - 1), dtype=torch.float64
    )
    shares[0] = FASTEST_SHARE
    return shares


def _attention(
    query_key: tuple[Tensor, Tensor], value: Tensor, output: Tensor
) -> dict[str, Tensor]:
    query, key = query_key
    zero = torch.zeros(WIDTH, WIDTH, dtype=torch.float64)
    maps = {"q_proj": query, "k_proj": key, "v_proj": value, "o_proj": output}
    return {
        **{f"self_attn.{name}.weight": tensor for name, tensor in maps.items()},
        **{f"mlp.{name}_proj.weight": zero.clone() for name in ("gate", "up", "down")},
    }


def _constant_maps(constant: int) -> tuple[Tensor, Tensor]:
    """Return the maps to queries and keys that do not depend on the token, in layer 1."""
    query, key = (torch.zeros(DIM, WIDTH, dtype=torch.float64) for _ in range(2))
    angles = rotations()[:FREQUENCIES]
    lengths = (_shares() * PREVIOUS_SCORE * math.sqrt(DIM)).sqrt() / AMPLITUDE
    first, second = slice(0, FREQUENCIES), slice(DIM // 2, DIM // 2 + FREQUENCIES)
    key[first, constant] = lengths
    # A query is turned back by one token.
    query[first, constant] = lengths * angles.cos()
    query[second, constant] = -lengths * angles.sin()
    return query, key


def _match_maps(token: slice, before: slice, constant: int) -> tuple[Tensor, Tensor]:
    """Return the maps to what was read and to what came before, in layer 2."""
    query, key = (torch.zeros(DIM, WIDTH, dtype=torch.float64) for _ in range(2))
    length = math.sqrt(MATCH_SCORE * math.sqrt(DIM)) / AMPLITUDE
    numbers = torch.arange(PAD + 1, token.stop)
    slowest, here = _slowest(len(numbers) + 1), slice(None, -1)
    query[slowest[here], token.start + numbers] = length
    key[slowest[here], before.start + numbers] = length
    query[slowest[-1], constant] = length
    key[slowest[-1], token.start + BOS] = length / 2
    key[slowest[-1], token.start + PAD] = length * 2
    return query, key


def _slowest(number: int) -> Tensor:
    """Return the numbers of a query that turn slowest, in pairs."""
    half = DIM // 2
    pairs = torch.arange(half - -(-number // 2), half)
    return torch.stack((pairs, pairs + half), dim=1).flatten()[:number]


def _copies(size: int) -> Tensor:
    copies = torch.zeros(DIM, WIDTH, dtype=torch.float64)
    copies[:size, :size] = torch.eye(size, dtype=torch.float64)
    return copies


def _values(size: int) -> Tensor:
    """Return what is copied: a symbol as itself, BOS as the end, PAD as BOS."""
    values = _copies(size)
    values[:, [BOS, EOS, PAD]] = 0
    values[EOS, BOS] = values[BOS, PAD] = 1
    return values


def _writes(channels: slice) -> Tensor:
    writes = torch.zeros(WIDTH, DIM, dtype=torch.float64)
    writes[channels, : channels.stop - channels.start] = torch.eye(
        channels.stop - channels.start, dtype=torch.float64
    )
    return writes


def _norm(name: str, ones: int) -> dict[str, Tensor]:
    """Return a norm that leaves a stream with this many channels of the amplitude as it is."""
    scale = math.sqrt(ones * AMPLITUDE**2 / WIDTH)
    return {f"{name}.weight": torch.full((WIDTH,), scale, dtype=torch.float64)}
