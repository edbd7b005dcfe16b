"""A mixer's projection is the product of its weights where it is no more than that."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from statespan.native import kernel_level
from statespan.pretrained.mixers import projections
from statespan.pretrained.mixers.projections import project
from tests.pretrained.test_same_model import assert_same_model
from tests.pretrained.tiny_models import FAMILIES, tiny_model, tokens

LINEAR: Any = import_module("statespan.models.ops.linear")  # in the package it is the function


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The weights that the operation was called with."""
    found: list[Tensor] = []
    own = projections.linear

    def watched(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        found.append(weight)
        return own(hidden, weight, bias)

    monkeypatch.setattr(projections, "linear", watched)
    return found


@pytest.mark.parametrize("is_preferred", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_by_either_product_a_model_is_the_stock_one(
    family: str, is_preferred: bool, calls: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever this machine prefers; a plain Mamba is one operation, without a product apart."""
    preferred = is_preferred and kernel_level() is not None
    monkeypatch.setattr(LINEAR, "_is_preferred", lambda _: preferred)
    assert_same_model(tiny_model(family), tokens())
    assert bool(calls) == (family != "mamba")


def hooked(projection: nn.Linear) -> None:
    projection.register_forward_hook(lambda _, __, output: 2 * output)


def replaced(projection: Any) -> None:
    own = projection.forward
    projection.forward = lambda hidden: 2 * own(hidden)


def subclassed(projection: Any) -> None:
    class Twice(nn.Linear):
        def forward(self, hidden: Tensor) -> Tensor:
            return 2 * super().forward(hidden)

    projection.__class__ = Twice


@pytest.mark.parametrize("change", [hooked, replaced, subclassed])
@torch.no_grad()
def test_what_is_more_than_its_weights_is_called(
    change: Callable[[Any], None], calls: list[Tensor]
) -> None:
    with torch.random.fork_rng(devices=[]):
        projection, hidden = nn.Linear(24, 8), torch.randn(1, 40, 24)
    plain = project(projection, hidden)
    assert [weight is projection.weight for weight in calls] == [True]
    change(projection)
    torch.testing.assert_close(project(projection, hidden), 2 * plain)
    assert len(calls) == 1
