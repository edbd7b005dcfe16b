"""What stops a figure: the least time that the arithmetic and the bytes of a step take here.

Arithmetic is counted as multiply-adds (a multiplication alone counts as one) and set at the rate of
a large product of matrices, torch's or this package's, whichever is faster, measured in the same
run. No step is faster, and none reaches it: the other instructions, memory and calls come on top.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from statespan.models.ops import linear

Times = dict[str, dict[str, float]]
Medians = Callable[[dict[str, Callable[[], object]], int, int], Times]

SIDE = 1_024
SCAN_FORWARD = 10
"""Multiply-adds for a state and token: the exponent 1, the decay's polynomial 6, the update 2, the
output 1."""

SCAN_BACKWARD = 18
"""Those of the forward pass again, since states are not kept, and 8 for the gradients."""

SCAN_OTHER = 3
"""What a decay takes besides, with AVX-512: the exponent's rest 1, its whole number 1, scale 1. Not
in a floor, as a processor may do it beside multiply-adds."""


def products_a_second(medians: Medians) -> dict[str, dict[str, float]]:
    """Return the multiply-adds a second of torch's and of our product of two square matrices."""
    matrix = torch.randn(SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    runs: dict[str, Callable[[], object]] = {
        "torch": lambda: matrix @ matrix,
        "ours": lambda: linear(matrix, matrix),
    }
    return {
        side: {kind: SIDE**3 / microseconds * 1e6 for kind, microseconds in spent.items()}
        for side, spent in medians(runs, 20, 1).items()
    }


def fastest(products: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the rate of the faster product, by wall and by process time."""
    return {kind: max(rate[kind] for rate in products.values()) for kind in ("wall", "process")}


def multiply_adds_a_second(medians: Medians) -> dict[str, float]:
    """Return the measured rate of the faster product, by wall and by process time."""
    return fastest(products_a_second(medians))


def count_projections(model: nn.Module) -> int:
    """Return the multiply-adds of all linear layers for a token: forward, and twice backward."""
    return 3 * sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Linear))


def count_scans(model: nn.Module) -> int:
    """Return the multiply-adds of Mamba's scans and convolutions for a token, both passes.

    A convolution's tap takes one forward, and backward one again and two for its gradients.
    """
    states = sum(p.numel() for n, p in model.named_parameters() if n.endswith("A_log"))
    taps = sum(m.weight.numel() for m in model.modules() if isinstance(m, nn.Conv1d))
    return (SCAN_FORWARD + SCAN_BACKWARD) * states + 4 * taps


def floors(counts: dict[str, int], rate: dict[str, float]) -> dict[str, Any]:
    """Return microseconds a token for each count of multiply-adds, and for all of them."""
    counts = counts | {"all": sum(counts.values())}
    return {
        name: {kind: 1e6 * count / rate[kind] for kind in rate} for name, count in counts.items()
    }


def with_calls(
    floor: dict[str, float], one_token: dict[str, float], tokens: int
) -> dict[str, float]:
    """Return microseconds a token: those of the arithmetic, and a share of a step of one token.

    Such a step has next to no arithmetic: it is what Python, torch and its autograd take for the
    calls of a step, whatever its size. In a small batch this is the larger part of the floor.
    """
    return {kind: floor[kind] + one_token[kind] / tokens for kind in floor}
