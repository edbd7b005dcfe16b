"""Whether the operations, as they run on this machine, give what their definitions say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import normalize

from statespan.models.ops.causal_convolution import causal_convolution
from statespan.models.ops.diagonal_recurrence import diagonal_recurrence
from statespan.models.ops.gated_delta_rule import gated_delta_rule
from statespan.models.ops.gated_linear_attention import gated_linear_attention
from statespan.models.ops.gated_norm import gated_norm
from statespan.models.ops.linear import linear
from statespan.models.ops.reference import (
    reference_causal_convolution,
    reference_diagonal_recurrence,
    reference_gated_delta_rule,
    reference_gated_linear_attention,
    reference_gated_norm,
    reference_linear,
    reference_selective_scan,
    reference_state_space_dual,
)
from statespan.models.ops.selective_scan import selective_scan
from statespan.models.ops.state_space_dual import state_space_dual

__all__ = ["Conformance", "check_operations"]

BATCH, LENGTH, CHANNELS, STATE, HEADS, DIM = 2, 40, 16, 4, 2, 8

Function: TypeAlias = Callable[..., Tensor | tuple[Tensor, Tensor]]
Draw: TypeAlias = Callable[..., Tensor]


@dataclass(frozen=True, slots=True)
class Conformance:
    """How far an operation is from its definition on a small input.

    Attributes:
        operation: its name.
        device: where it ran.
        dtype: what its arguments were of.
        deviation: the largest difference in an output, a last state or a gradient, in units of the
            largest number there or 1; not a number if some number is none.
        limit: the deviation that roundings explain.
        failure: why it did not run at all, if so.
    """

    operation: str
    device: str
    dtype: str
    deviation: float | None
    limit: float
    failure: str | None = None

    @property
    def holds(self) -> bool:
        """Whether the operation ran and deviates by no more than roundings."""
        return self.deviation is not None and self.deviation <= self.limit


@dataclass(frozen=True, slots=True)
class _Case:
    function: Function
    reference: Function
    tensors: dict[str, Tensor]
    options: dict[str, Any]


def check_operations(
    *, device: str = "cpu", dtype: torch.dtype = torch.float32, generator: torch.Generator
) -> Iterator[Conformance]:
    """Yield how each operation conforms, with its gradients, one after the other.

    Example:
        >>> import torch
        >>> found = check_operations(generator=torch.Generator().manual_seed(0))
        >>> all(item.holds for item in found)
        True
    """

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    limit = 8 * torch.finfo(dtype).eps * (1 + LENGTH) ** 0.5
    for name, case in _cases(draw).items():
        rounded = {key: tensor.to(dtype) for key, tensor in case.tensors.items()}
        on_device = {key: tensor.to(device) for key, tensor in rounded.items()}
        deviation, failure = None, None
        try:
            ours = _with_gradients(case.function, on_device, case.options)
            double = {key: tensor.double() for key, tensor in rounded.items()}
            theirs = _with_gradients(case.reference, double, case.options)
            deviation = _largest_deviation(ours, theirs)
        except (OSError, RuntimeError) as error:
            failure = f"{type(error).__name__}: {error}"
        yield Conformance(name, device, str(dtype).split(".")[1], deviation, limit, failure)


def _with_gradients(
    function: Function, tensors: dict[str, Tensor], options: dict[str, Any]
) -> list[Tensor]:
    leaves = {key: tensor.detach().requires_grad_() for key, tensor in tensors.items()}
    found = function(**leaves, **options)
    results = [found] if isinstance(found, Tensor) else list(found)
    loss = torch.stack([result.double().square().sum() for result in results]).sum()
    return [*results, *torch.autograd.grad(loss, list(leaves.values()))]


def _largest_deviation(ours: list[Tensor], theirs: list[Tensor]) -> float:
    with torch.no_grad():
        deviations = [
            (left.cpu().double() - right).abs().max() / right.abs().max().clamp(min=1)
            for left, right in zip(ours, theirs, strict=True)
        ]
        # Unlike Python's, this maximum is not a number if one of them is none.
        return float(torch.stack(deviations).max())


def _cases(draw: Draw) -> dict[str, _Case]:
    channels, heads = (BATCH, LENGTH, CHANNELS), (BATCH, LENGTH, HEADS)
    convolution = {
        "inputs": draw(*channels), "weight": draw(CHANNELS, 4), "bias": draw(CHANNELS),
    }  # fmt: skip
    diagonal = {"inputs": draw(*channels), "decay": draw(*channels).tanh()}
    rule = {
        "query": draw(*heads, STATE), "key": normalize(draw(*heads, STATE), dim=-1),
        "value": draw(*heads, DIM), "log_decay": -draw(*heads).exp(),
        "rate": 2 * draw(*heads).sigmoid(),
    }  # fmt: skip
    attention = {
        "query": draw(*heads, STATE), "key": draw(*heads, STATE), "value": draw(*heads, DIM),
        "log_decay": -draw(*heads, STATE).exp(),
    }  # fmt: skip
    norm = {"hidden": draw(*channels), "gate": draw(*channels), "weight": draw(CHANNELS)}
    projection = {"inputs": draw(*channels), "weight": draw(3, CHANNELS), "bias": draw(3)}
    scan = {
        "inputs": draw(*channels), "delta": draw(*channels),
        "transition": -draw(CHANNELS, STATE).exp(), "write": draw(BATCH, LENGTH, STATE),
        "read": draw(BATCH, LENGTH, STATE), "skip": draw(CHANNELS), "gate": draw(*channels),
        "delta_bias": draw(CHANNELS),
    }  # fmt: skip
    dual = {
        "inputs": draw(*heads, DIM), "delta": draw(*heads), "transition": -draw(HEADS).exp(),
        "write": draw(BATCH, LENGTH, STATE), "read": draw(BATCH, LENGTH, STATE),
        "skip": draw(HEADS), "delta_bias": draw(HEADS),
    }  # fmt: skip
    activated, positive = {"activation": "silu"}, {"softplus": True}
    grouped = {"epsilon": 1e-5, "groups": 2}
    return {
        "causal_convolution": _Case(
            causal_convolution, reference_causal_convolution, convolution, activated
        ),
        "diagonal_recurrence": _Case(
            diagonal_recurrence, reference_diagonal_recurrence, diagonal, {}
        ),
        "gated_delta_rule": _Case(gated_delta_rule, reference_gated_delta_rule, rule, {}),
        "gated_linear_attention": _Case(
            gated_linear_attention, reference_gated_linear_attention, attention, {}
        ),
        "gated_norm": _Case(gated_norm, reference_gated_norm, norm, grouped),
        "linear": _Case(linear, reference_linear, projection, {}),
        "selective_scan": _Case(selective_scan, reference_selective_scan, scan, positive),
        "state_space_dual": _Case(state_space_dual, reference_state_space_dual, dual, positive),
    }
