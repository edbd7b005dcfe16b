"""Blocks by chance (SE-Random): a hash of where the decision stands, not a generator."""

from __future__ import annotations

from typing import Final, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from statespan.memory.rules.registry import RULES, Place
from statespan.memory.rules.top_k import largest

__all__ = ["Random", "chances"]

# The constants of splitmix64 (Steele, Lea and Flood 2014, DOI 10.1145/2660193.2660195).
INCREMENT: Final = 0x9E3779B97F4A7C15
FIRST: Final = 0xBF58476D1CE4E5B9
SECOND: Final = 0x94D049BB133111EB


@final
class Random:
    """The blocks of the `top_k` largest hashes of (seed, step, layer, head, decision, block).

    Each set of candidates is as likely as another, and what is drawn depends neither on the batch
    nor on how a pass is cut into pieces.
    """

    reads_scores = False

    def choose(
        self,
        scores: Float[Tensor, "*batch head decision block"] | None,
        candidates: Bool[Tensor, "*#batch #head decision block"],
        *,
        top_k: int,
        place: Place,
    ) -> Bool[Tensor, "*#batch #head decision block"]:
        """Return the candidates of the largest hashes."""
        del scores
        return largest(chances(place, candidates.shape[-1]), candidates, top_k=top_k)


def chances(place: Place, num_blocks: int) -> Float[Tensor, "*batch head decision block"]:
    """Return a number from [0, 1), of 53 bits, for each block of each decision of each head."""
    heads, decisions = place.heads[:, None, None], place.decisions[..., None, :, None]
    blocks = torch.arange(num_blocks, device=heads.device)
    state = torch.zeros((), dtype=torch.int64, device=heads.device)
    numbers = (_signed(number % 2**64) for number in (place.seed, place.step, place.layer))
    parts: tuple[int | Tensor, ...] = (*numbers, heads, decisions, blocks)
    for part in parts:
        state = _mixed((state + _signed(INCREMENT)) ^ part)
    return _shifted(state, 11).double() * 2.0**-53


def _mixed(state: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    state = (state ^ _shifted(state, 30)) * _signed(FIRST)
    state = (state ^ _shifted(state, 27)) * _signed(SECOND)
    return state ^ _shifted(state, 31)


def _shifted(state: Int[Tensor, "*shape"], bits: int) -> Int[Tensor, "*shape"]:
    """Shift to the right as if without a sign."""
    return torch.bitwise_and(state >> bits, 2 ** (64 - bits) - 1)


def _signed(constant: int) -> int:
    """Return the number of 64 bits with a sign that has the same bits."""
    return constant - 2**64 if constant >= 2**63 else constant


RULES.add("random", Random())
