"""A check of the operations finds them right, and finds each way of being wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from statespan.models.ops import conformance, selective_scan
from statespan.models.ops.conformance import Conformance, check_operations

NAMES = [
    "causal_convolution", "diagonal_recurrence", "gated_delta_rule",
    "gated_linear_attention", "gated_norm", "linear", "selective_scan", "state_space_dual",
]  # fmt: skip


def check(**options: Any) -> dict[str, Conformance]:
    generator = torch.Generator().manual_seed(3)
    return {item.operation: item for item in check_operations(generator=generator, **options)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_the_operations_conform(dtype: torch.dtype) -> None:
    found = check(dtype=dtype)
    assert list(found) == NAMES
    assert all(item.holds for item in found.values()), found
    assert {item.dtype for item in found.values()} == {str(dtype).removeprefix("torch.")}


def off_in_outputs(**arguments: Any) -> tuple[Tensor, Tensor]:
    outputs, last = selective_scan(**arguments)
    return outputs * 1.0001, last


def off_in_the_last_state(**arguments: Any) -> tuple[Tensor, Tensor]:
    outputs, last = selective_scan(**arguments)
    return outputs, last * 1.0001


def off_in_a_gradient(**arguments: Any) -> tuple[Tensor, Tensor]:
    read = arguments["read"]
    return selective_scan(**arguments | {"read": read.detach() + 1.001 * (read - read.detach())})


def not_a_number(**arguments: Any) -> tuple[Tensor, Tensor]:
    outputs, last = selective_scan(**arguments)
    return outputs, torch.where(torch.arange(last.shape[1])[:, None] == 2, math.nan, last)


@pytest.mark.parametrize(
    "function", [off_in_outputs, off_in_the_last_state, off_in_a_gradient, not_a_number]
)
def test_what_is_wrong_is_found(
    function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conformance, "selective_scan", function)
    found = check()
    assert [name for name in NAMES if not found[name].holds] == ["selective_scan"]
    deviation = found["selective_scan"].deviation
    assert deviation is not None
    assert math.isnan(deviation) == (function is not_a_number)


def test_what_does_not_run_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> tuple[Tensor, Tensor]:
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(conformance, "selective_scan", broken)
    found = check()["selective_scan"]
    assert not found.holds
    assert found.failure == "RuntimeError: no such instruction"
