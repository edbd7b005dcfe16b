"""Why a recall checkpoint is right: its scores at every distance, and its logits, in numbers.

The weights are read in float64 and nothing of how they were made is used. All queries and keys of
layer 1 are found to be the same, so its scores are a function of the distance; those of layer 2
are bounded over all distances, for every symbol that is read and every token that may be found.
From both follows how much weight at most goes astray, and with it the logits for every symbol,
predecessor and answer. Then the model itself is run, in its own precision.

Axes: `token`, the token ids that documents are made of: BOS and the symbols; `before`, likewise,
the token before; `width`, the residual stream; `dim`, a head's queries and keys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import msgspec
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from statespan.compiler.forward import read_logits
from statespan.conformance.recall import DIM, RECALL_LENGTH, rotations
from statespan.conformance.recall_answers import recall_answers, sample_cycle, sample_pairs
from statespan.errors import InputError
from statespan.training import BOS, EOS, PAD

__all__ = ["RecallCertificate", "certify_recall", "measure_recall"]

MEASURED: tuple[int, ...] = (2, 38, 75, 500, 2_000)
"""Tokens of the documents that a new checkpoint is tried on."""
LEAK = 1e-12
"""The weight that may go astray: with less, no logit of 64 moves by what float32 could tell."""


class RecallCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for every document of up to `length` tokens, and what was measured.

    Attributes:
        length: tokens of a document, BOS included.
        previous_gap: by how much the score of the token before is above all others, in nats.
        match_gap: likewise the score of a match, above that of BOS.
        sink_gap: the score of BOS, above those of all other tokens that are no match.
        leak: the largest part of the attention, of either layer, that goes elsewhere.
        margin: the smallest distance of a logit from 0, on the right side, in exact arithmetic.
        measured_margin: likewise, of the model itself in its precision.
        measured_answers: how many answers that is over.
    """

    length: int
    previous_gap: float
    match_gap: float
    sink_gap: float
    leak: float
    margin: float
    measured_margin: float
    measured_answers: int


def certify_recall(
    model: PreTrainedModel, *, lengths: Sequence[int] = MEASURED
) -> RecallCertificate:
    """Return why `model` is right, from its weights, and run it on documents of these lengths.

    Raises:
        InputError: it is not right; the message says in what.
    """
    stream = _Stream(model)
    previous = stream.previous_scores()
    match, sink, other = stream.match_scores()
    others = torch.cat((previous[:1], previous[2:]))
    leaks = (
        float((others - previous[1]).exp().sum()),
        math.exp(sink[1] - match) + RECALL_LENGTH * math.exp(other - match),
        RECALL_LENGTH * math.exp(other - sink[0]),
    )
    margin = stream.logit_margin()
    if not max(leaks) < LEAK or not margin > 0:
        raise InputError(
            f"this is no recall checkpoint: attention leaks {max(leaks):.3g} where {LEAK:g} may, "
            f"with logits {margin:.3g} on the right side of 0."
        )
    measured, number = measure_recall(model, lengths)
    if not measured > 0:
        raise InputError(f"the recall checkpoint is wrong, by a logit of {measured:.3g}.")
    return RecallCertificate(
        length=RECALL_LENGTH,
        previous_gap=float(previous[1] - others.max()),
        match_gap=match - sink[1],
        sink_gap=sink[0] - other,
        leak=max(leaks),
        margin=margin,
        measured_margin=measured,
        measured_answers=number,
    )


def measure_recall(model: PreTrainedModel, lengths: Sequence[int]) -> tuple[float, int]:
    """Run `model` on a document of each kind and length; return its margin and over what number."""
    margin, number = math.inf, 0
    for length in lengths:
        for sample in (sample_cycle, sample_pairs):
            tokens = sample(length, rng=Random(length))
            logits = torch.cat(list(read_logits(model, torch.tensor([tokens]), None)), dim=1)[0]
            for row, answer in zip(logits, recall_answers(tokens), strict=True):
                if answer is not None:
                    margin, number = min(margin, _margin(row, answer)), number + 1
    return margin, number


def _margin(logits: Float[Tensor, " vocabulary"], answer: frozenset[int]) -> float:
    signs = -torch.ones_like(logits)
    signs[list(answer)] = 1
    return float((signs * logits).min())


class _Stream:
    """The residual stream of every token, and what the layers make of it, in float64."""

    def __init__(self, model: PreTrainedModel) -> None:
        config: Any = model.config
        self.weights: Mapping[str, Tensor] = {
            name: tensor.double() for name, tensor in model.state_dict().items()
        }
        self.epsilon = float(config.rms_norm_eps)
        # What a document is made of.
        self.tokens = torch.tensor([BOS, *range(PAD + 1, config.vocab_size)])
        self.embedded = self.weights["model.embed_tokens.weight"][self.tokens]
        read = self.normed(self.embedded, "model.layers.0.input_layernorm")
        fetched = self.projected(read, 0, "v", "o")
        # By token, and by the token before.
        self.paired = self.embedded[:, None] + fetched[None]
        self.read = self.normed(self.paired, "model.layers.1.input_layernorm")

    def normed(self, values: Tensor, name: str) -> Tensor:
        scale = (values.square().mean(dim=-1, keepdim=True) + self.epsilon).rsqrt()
        return values * scale * self.weights[f"{name}.weight"]

    def projected(self, values: Tensor, layer: int, *names: str) -> Tensor:
        for name in names:
            weight = self.weights[f"model.layers.{layer}.self_attn.{name}_proj.weight"]
            values = values @ weight.T
        return values

    def previous_scores(self) -> Float[Tensor, " distance"]:
        """Return the scores of layer 1, the same for all tokens, by distance."""
        read = self.normed(self.embedded, "model.layers.0.input_layernorm")
        query, key = (self.projected(read, 0, name) for name in ("q", "k"))
        for values in (query, key):
            if not torch.equal(values, values[:1].expand_as(values)):
                raise InputError("this is no recall checkpoint: layer 1 looks at the tokens.")
        even, odd = _products(query[0], key[0])
        angles = torch.arange(RECALL_LENGTH, dtype=torch.float64)[:, None] * rotations()
        return angles.cos() @ even + angles.sin() @ odd

    def match_scores(self) -> tuple[float, tuple[float, float], float]:
        """Return the least score of a match, the least and largest of BOS, the largest of others.

        Over all distances, symbols that are read, and tokens that can be in a document.
        """
        query = self.projected(self.read, 1, "q")
        key = self.projected(self.read, 1, "k")
        if not torch.equal(query, query[:, :1].expand_as(query)):
            raise InputError("this is no recall checkpoint: queries of layer 2 look further back.")
        low, high = _bounds(query[:, 0], key.flatten(0, 1))
        number = len(self.tokens)
        low, high = (torch.unflatten(bound[1:], 1, (number, number)) for bound in (low, high))
        symbols = torch.arange(1, number)
        # [query, token, before]: a token that is a symbol, and before it what the query asks for.
        matches = low[symbols - 1, 1:][symbols - 1, :, symbols]
        others = high[:, 1:].clone()
        others[symbols - 1, :, symbols] = -math.inf
        sink = low[:, 0, 0].min(), high[:, 0, 0].max()
        return float(matches.min()), (float(sink[0]), float(sink[1])), float(others.max())

    def logit_margin(self) -> float:
        """Return how far the logits are from 0, for all tokens, predecessors and finds."""
        values = self.projected(self.read, 1, "v", "o")
        if not torch.equal(values, values[:, :1].expand_as(values)):
            raise InputError("this is no recall checkpoint: what is copied depends on more.")
        margin = math.inf
        for find, value in zip(self.tokens.tolist(), values[:, 0], strict=True):
            last = self.normed(self.paired + value, "model.norm")
            logits = last @ self.weights["lm_head.weight"].T
            answer = EOS if find == BOS else find
            signs = -torch.ones(logits.shape[-1], dtype=torch.float64)
            signs[answer] = 1
            margin = min(margin, float((logits * signs).min()))
        return margin


def _products(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Return what a score is in cosines and sines of each rotation's angle at a distance."""
    half = DIM // 2
    scale = DIM**-0.5
    first, second = query[..., :half], query[..., half:]
    even = first * key[..., :half] + second * key[..., half:]
    # The query is turned by the distance, against the key.
    odd = first * key[..., half:] - second * key[..., :half]
    return even * scale, odd * scale


def _bounds(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Return the least and largest scores of each query and key, over all distances."""
    even, odd = _products(query[:, None], key[None])
    angles = (RECALL_LENGTH - 1) * rotations()
    used = (even != 0) | (odd != 0)
    if bool(used[..., angles > math.pi / 2].any()):
        raise InputError("this is no recall checkpoint: matches depend on the distance.")
    turned = angles.clamp(max=math.pi / 2)
    least = torch.minimum(even, even * turned.cos()) - odd.abs() * turned.sin()
    largest = torch.maximum(even, even * turned.cos()) + odd.abs() * turned.sin()
    return least.sum(dim=-1), largest.sum(dim=-1)
