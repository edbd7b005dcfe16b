"""Every operation, its reference and its arguments: what the laws of operations run over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import unwrap
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from statespan.models.ops import (
    causal_convolution,
    diagonal_recurrence,
    gated_delta_rule,
    gated_linear_attention,
    selective_scan,
    state_space_dual,
)
from statespan.models.ops.reference import (
    reference_causal_convolution,
    reference_diagonal_recurrence,
    reference_gated_delta_rule,
    reference_gated_linear_attention,
    reference_selective_scan,
    reference_state_space_dual,
)

BATCH, CHANNELS, STATE, HEADS, DIM, WIDTH = 3, 20, 4, 2, 5, 4

Draw = Callable[..., Tensor]
Arguments = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """`make(length, draw)` gives tensors by the name of their argument, the last the state's.

    Attributes:
        over_time: arguments with axes [batch, length, …].
        per_row: arguments with an axis of the batch, but none of time.
        options: arguments that are not tensors.
    """

    function: Callable[..., tuple[Tensor, Tensor]]
    reference: Callable[..., tuple[Tensor, Tensor]]
    make: Callable[[int, Draw], dict[str, Tensor]]
    over_time: tuple[str, ...]
    options: Arguments
    per_row: tuple[str, ...] = ("initial_state",)

    def __call__(self, arguments: Arguments, **more: Any) -> tuple[Tensor, Tensor]:
        return self.function(**arguments, **self.options, **more)

    def unwrapped(self, arguments: Arguments, **more: Any) -> tuple[Tensor, Tensor]:
        """Call the function as a user has it, without the tests' own check of its annotations."""
        results: tuple[Tensor, Tensor] = unwrap(self.function)(**arguments, **self.options, **more)
        return results

    def expected(self, arguments: Arguments) -> tuple[Tensor, Tensor]:
        return self.reference(**{n: t.double() for n, t in arguments.items()}, **self.options)


def scan_arguments(length: int, draw: Draw) -> dict[str, Tensor]:
    return {
        "inputs": draw(BATCH, length, CHANNELS),
        "delta": draw(BATCH, length, CHANNELS).exp(),
        "transition": -draw(CHANNELS, STATE).exp(),
        "write": draw(BATCH, length, STATE),
        "read": draw(BATCH, length, STATE),
        "initial_state": draw(BATCH, CHANNELS, STATE),
    }


def mixer_arguments(length: int, draw: Draw) -> dict[str, Tensor]:
    return scan_arguments(length, draw) | {
        "delta": draw(BATCH, length, CHANNELS),
        "skip": draw(CHANNELS),
        "gate": draw(BATCH, length, CHANNELS),
        "delta_bias": draw(CHANNELS),
    }


def dual_arguments(length: int, draw: Draw) -> dict[str, Tensor]:
    return {
        "inputs": draw(BATCH, length, HEADS, DIM),
        "delta": draw(BATCH, length, HEADS).exp(),
        "transition": -draw(HEADS).exp(),
        "write": draw(BATCH, length, STATE),
        "read": draw(BATCH, length, STATE),
        "initial_state": draw(BATCH, HEADS, DIM, STATE),
    }


def grouped_arguments(length: int, draw: Draw) -> dict[str, Tensor]:
    """Four heads in two groups, with all that Mamba-2 puts around the recurrence."""
    return {
        "inputs": draw(BATCH, length, 2 * HEADS, DIM),
        "delta": draw(BATCH, length, 2 * HEADS),
        "transition": -draw(2 * HEADS).exp(),
        "write": draw(BATCH, length, HEADS, STATE),
        "read": draw(BATCH, length, HEADS, STATE),
        "skip": draw(2 * HEADS),
        "delta_bias": draw(2 * HEADS),
        "initial_state": draw(BATCH, 2 * HEADS, DIM, STATE),
    }


def rule_arguments(length: int, draw: Draw) -> dict[str, Tensor]:
    """Keys of length 1 and rates from 0 to 2: eigenvalues from -1 to 1."""
    return {
        "query": draw(BATCH, length, HEADS, STATE),
        "key": normalize(draw(BATCH, length, HEADS, STATE), dim=-1),
        "value": draw(BATCH, length, HEADS, DIM),
        "log_decay": -draw(BATCH, length, HEADS).exp(),
        "rate": 2 * draw(BATCH, length, HEADS).sigmoid(),
        "initial_state": draw(BATCH, HEADS, STATE, DIM),
    }


def attention_arguments(length: int, draw: Draw) -> dict[str, Tensor]:
    return {
        "query": draw(BATCH, length, HEADS, STATE),
        "key": draw(BATCH, length, HEADS, STATE),
        "value": draw(BATCH, length, HEADS, DIM),
        "log_decay": -draw(BATCH, length, HEADS, STATE).exp(),
        "initial_state": draw(BATCH, HEADS, STATE, DIM),
    }


def diagonal_arguments(length: int, draw: Draw) -> dict[str, Tensor]:
    return {
        "inputs": draw(BATCH, length, CHANNELS),
        "decay": draw(BATCH, length, CHANNELS).tanh(),
        "initial_state": draw(BATCH, CHANNELS),
    }


def convolution_arguments(length: int, draw: Draw) -> dict[str, Tensor]:
    return {
        "inputs": draw(BATCH, length, CHANNELS),
        "weight": draw(CHANNELS, WIDTH),
        "bias": draw(CHANNELS),
        "initial_state": draw(BATCH, WIDTH - 1, CHANNELS),
    }


SCANNED = ("inputs", "delta", "write", "read")

OPERATIONS = {
    "selective_scan": Operation(
        selective_scan, reference_selective_scan, scan_arguments, SCANNED, {}
    ),
    "selective_scan, fused": Operation(
        selective_scan,
        reference_selective_scan,
        mixer_arguments,
        (*SCANNED, "gate"),
        {"softplus": True},
    ),
    "state_space_dual": Operation(
        state_space_dual, reference_state_space_dual, dual_arguments, SCANNED, {}
    ),
    "state_space_dual, fused": Operation(
        state_space_dual,
        reference_state_space_dual,
        grouped_arguments,
        SCANNED,
        {"softplus": True, "delta_limits": (0.1, 2.0)},
    ),
    "gated_delta_rule": Operation(
        gated_delta_rule,
        reference_gated_delta_rule,
        rule_arguments,
        ("query", "key", "value", "log_decay", "rate"),
        {},
    ),
    "gated_linear_attention": Operation(
        gated_linear_attention,
        reference_gated_linear_attention,
        attention_arguments,
        ("query", "key", "value", "log_decay"),
        {},
    ),
    "diagonal_recurrence": Operation(
        diagonal_recurrence,
        reference_diagonal_recurrence,
        diagonal_arguments,
        ("inputs", "decay"),
        {},
    ),
    "causal_convolution": Operation(
        causal_convolution, reference_causal_convolution, convolution_arguments, ("inputs",), {}
    ),
    "causal_convolution, fused": Operation(
        causal_convolution,
        reference_causal_convolution,
        convolution_arguments,
        ("inputs",),
        {"activation": "silu"},
    ),
}


def draw_from(seed: int, dtype: torch.dtype) -> Draw:
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(shape, generator=generator, dtype=dtype)


def results_and_gradients(
    run: Callable[[Arguments], tuple[Tensor, ...]], arguments: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return the results, and the gradients of a fixed weighted sum of them."""
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in arguments.items()}
    results = run(leaves)
    draw = draw_from(1, torch.float64)
    loss = sum(((result * draw(*result.shape)).sum() for result in results), torch.zeros(()))
    grads = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    named = {f"gradient of {n}": g for n, g in zip(leaves, grads, strict=True) if g is not None}
    found = zip(("outputs", "last"), results, strict=False)
    return {**{name: result.detach() for name, result in found}, **named}


def assert_close(actual: dict[str, Tensor], expected: dict[str, Tensor], length: int) -> None:
    """Compare within a few roundings a step, which add up like a walk, of the largest number."""
    assert actual.keys() == expected.keys()
    for name, ours in actual.items():
        theirs = expected[name]
        limit = 8 * torch.finfo(ours.dtype).eps * (1 + length) ** 0.5
        scale = theirs.double().abs().max().clamp(min=1) if theirs.numel() else 1
        torch.testing.assert_close(
            ours.double() / scale, theirs.double() / scale, rtol=limit, atol=limit, msg=name.__add__
        )
