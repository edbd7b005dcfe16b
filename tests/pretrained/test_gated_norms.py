"""A mixer's gated norm is computed by the operation where that is the same, else it is called."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from statespan.pretrained.mixers import gated_norms
from statespan.pretrained.mixers.gated_norms import GATED_NORMS, normalize_gated

BATCH, LENGTH, CHANNELS, GROUP = 2, 9, 48, 12


def class_of(name: str) -> type[nn.Module]:
    module, _, cls = name.rpartition(".")
    found: type[nn.Module] = getattr(import_module(module), cls)
    return found


def make_norm(name: str = "transformers.models.mamba2.modeling_mamba2.MambaRMSNormGated") -> Any:
    norm = class_of(name)(CHANNELS, group_size=GROUP, eps=0.01)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(CHANNELS, generator=generator))  # type: ignore[operator]
    return norm


def draw(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    shape = (2, BATCH, LENGTH, CHANNELS)
    outputs, gate = torch.randn(shape, generator=generator).to(dtype)
    return outputs.requires_grad_(), gate.requires_grad_()


def with_gradients(norm: Any, function: Callable[..., Tensor], *tensors: Tensor) -> list[Tensor]:
    result = function(norm, *tensors)
    return [result, *torch.autograd.grad(result.float().sin().sum(), [*tensors, norm.weight])]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of groups that the operation was called with."""
    found: list[int] = []
    own = gated_norms.gated_norm

    def watched(*arguments: Any) -> Tensor:
        found.append(arguments[-1])
        return own(*arguments)

    monkeypatch.setattr(gated_norms, "gated_norm", watched)
    return found


@pytest.mark.parametrize("name", sorted(GATED_NORMS))
@pytest.mark.parametrize("weight", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_known_norm_is_the_operation(
    name: str, dtype: torch.dtype, weight: torch.dtype, calls: list[int]
) -> None:
    """In the dtype, too, that a weight of another makes of the result."""
    norm, tensors = make_norm(name).to(weight), draw(dtype)
    ours = with_gradients(norm, normalize_gated, *tensors)
    theirs = with_gradients(norm, lambda norm, *given: norm(*given), *tensors)
    assert calls == [CHANNELS // GROUP]
    limit = 1e-5 if weight is dtype is torch.float32 else 0.02
    for left, right in zip(ours, theirs, strict=True):
        assert left.dtype is right.dtype
        scale = right.abs().max().float()
        torch.testing.assert_close(left / scale, right / scale, rtol=limit, atol=limit)


@pytest.mark.parametrize(
    "register",
    [
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
    ],
)
def test_a_hook_on_a_norm_is_called(register: str, calls: list[int]) -> None:
    norm, seen = make_norm(), []
    handle = getattr(norm, register)(lambda *_: seen.append(1))
    with_gradients(norm, normalize_gated, *draw())
    assert (seen, calls) == ([1], [])
    handle.remove()
    with_gradients(norm, normalize_gated, *draw())
    assert (seen, calls) == ([1], [CHANNELS // GROUP])


def other_class(norm: nn.Module) -> nn.Module:
    own: Any = type(norm)
    doubled = {"forward": lambda self, *given: 2 * own.forward(self, *given)}
    norm.__class__ = type(own.__name__, (own,), doubled | {"__module__": own.__module__})
    return norm


def other_forward(norm: nn.Module) -> nn.Module:
    own = norm.forward
    norm.forward = lambda *given: 2 * own(*given)
    return norm


def wrapped(norm: nn.Module) -> nn.Module:
    class Wrapper(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.weight = norm, norm.weight

        def forward(self, *given: Tensor) -> Tensor:
            doubled: Tensor = 2 * self.norm(*given)
            return doubled

    return Wrapper()


@pytest.mark.parametrize("change", [other_class, other_forward, wrapped])
def test_what_took_a_norm_s_place_is_called(
    change: Callable[[nn.Module], nn.Module], calls: list[int]
) -> None:
    tensors = draw()
    expected = 2 * make_norm()(*tensors)
    assert torch.equal(normalize_gated(change(make_norm()), *tensors), expected)
    assert not calls


def test_a_forward_that_took_the_place_of_a_class_s_is_called(
    monkeypatch: pytest.MonkeyPatch, calls: list[int]
) -> None:
    norm, tensors = make_norm(), draw()
    monkeypatch.setattr(type(norm), "forward", lambda self, outputs, gate: outputs)
    assert normalize_gated(norm, *tensors) is tensors[0]
    assert not calls


def test_in_float64_the_norm_is_called(calls: list[int]) -> None:
    norm, tensors = make_norm().double(), draw(torch.float64)
    assert torch.equal(normalize_gated(norm, *tensors), norm(*tensors))
    assert not calls


@pytest.mark.parametrize("family", ["bamba", "granitemoehybrid", "mamba2", "nemotron_h", "zamba2"])
def test_the_mixers_of_a_model_run_on_it(family: str, calls: list[int]) -> None:
    from statespan.pretrained import accelerate
    from tests.pretrained.tiny_models import tiny_model, tokens

    model, ids = tiny_model(family), tokens()
    mixers = accelerate(model).replaced
    model(ids, use_cache=False)
    assert len(calls) == len(mixers) > 0
