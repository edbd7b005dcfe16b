"""Every fast operation is its reference, forward and in gradients, whole and in pieces."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from statespan.models.ops import causal_convolution, selective_scan, state_space_dual
from statespan.models.ops import selective_scan as scan_function
from statespan.models.ops.reference import (
    reference_causal_convolution,
    reference_selective_scan,
    reference_state_space_dual,
)

BATCH, CHANNELS, STATE, HEADS, DIM, WIDTH = 3, 6, 4, 2, 5, 4

Operation = Callable[..., tuple[Tensor, Tensor]]


def draw(generator: torch.Generator, dtype: torch.dtype) -> Callable[..., Tensor]:
    return lambda *shape: torch.randn(shape, generator=generator, dtype=dtype)


def scan_inputs(length: int, randn: Callable[..., Tensor]) -> list[Tensor]:
    return [
        randn(BATCH, length, CHANNELS),
        randn(BATCH, length, CHANNELS).exp(),
        -randn(CHANNELS, STATE).exp(),
        randn(BATCH, length, STATE),
        randn(BATCH, length, STATE),
        randn(BATCH, CHANNELS, STATE),
    ]


def dual_inputs(length: int, randn: Callable[..., Tensor]) -> list[Tensor]:
    return [
        randn(BATCH, length, HEADS, DIM),
        randn(BATCH, length, HEADS).exp(),
        -randn(HEADS).exp(),
        randn(BATCH, length, STATE),
        randn(BATCH, length, STATE),
        randn(BATCH, HEADS, DIM, STATE),
    ]


def convolution_inputs(length: int, randn: Callable[..., Tensor]) -> list[Tensor]:
    return [
        randn(BATCH, length, CHANNELS),
        randn(CHANNELS, WIDTH),
        randn(CHANNELS),
        randn(BATCH, WIDTH - 1, CHANNELS),
    ]


OPERATIONS = {
    "selective_scan": (selective_scan, reference_selective_scan, scan_inputs),
    "state_space_dual": (state_space_dual, reference_state_space_dual, dual_inputs),
    "causal_convolution": (causal_convolution, reference_causal_convolution, convolution_inputs),
}
every_operation = pytest.mark.parametrize("name", OPERATIONS)


@pytest.fixture
def uninitialized_memory_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let several chunks and a shorter last one fit into short sequences."""
    module = __import__("sys").modules[scan_function.__module__]
    monkeypatch.setattr(module, "CHUNK_NUMBERS", 7 * BATCH * CHANNELS * STATE)


def results_and_gradients(operation: Operation, inputs: list[Tensor], seed: int) -> list[Tensor]:
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    results = operation(*leaves)
    generator = torch.Generator().manual_seed(seed)
    loss = sum(
        (result * torch.randn(result.shape, generator=generator, dtype=torch.float64)).sum()
        for result in results
    )
    assert isinstance(loss, Tensor)
    loss.backward()
    return [*results, *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def tolerances(dtype: torch.dtype, length: int) -> dict[str, float]:
    """A few roundings a step, which add up like a walk, relative to the largest number."""
    scale = 8 * torch.finfo(dtype).eps * (1 + length) ** 0.5
    return {"rtol": scale, "atol": scale}


@every_operation
@pytest.mark.parametrize("length", [1, 2, 7, 64, 100])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.usefixtures("uninitialized_memory_is_nan", "short_chunks")
def test_fast_path_is_the_reference(name: str, length: int, dtype: torch.dtype) -> None:
    fast, reference, make = OPERATIONS[name]
    inputs = make(length, draw(torch.Generator().manual_seed(length), dtype))
    actual = results_and_gradients(fast, inputs, seed=1)
    expected = results_and_gradients(reference, [i.double() for i in inputs], seed=1)
    assert len(actual) == len(expected) == 2 + len(inputs)
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.dtype == dtype
        scale = theirs.abs().max().clamp(min=1)
        torch.testing.assert_close(
            ours.double() / scale, theirs / scale, **tolerances(dtype, length)
        )


@every_operation
@pytest.mark.parametrize("cut", [1, 3, 7, 19])
@pytest.mark.usefixtures("short_chunks")
def test_pieces_give_what_the_whole_gives(name: str, cut: int) -> None:
    operation, _, make = OPERATIONS[name]
    inputs = make(20, draw(torch.Generator().manual_seed(3), torch.float64))
    over_time = {"selective_scan": (0, 1, 3, 4), "state_space_dual": (0, 1, 3, 4)}.get(name, (0,))

    def piece(part: slice, state: Tensor) -> tuple[Tensor, Tensor]:
        cut_inputs = [t[:, part] if i in over_time else t for i, t in enumerate(inputs[:-1])]
        return operation(*cut_inputs, state)

    whole, last = operation(*inputs)
    first, state = piece(slice(0, cut), inputs[-1])
    second, state = piece(slice(cut, None), state)
    torch.testing.assert_close(torch.cat((first, second), dim=1), whole)
    torch.testing.assert_close(state, last)


@every_operation
def test_a_missing_state_is_zero(name: str) -> None:
    operation, _, make = OPERATIONS[name]
    *inputs, state = make(5, draw(torch.Generator().manual_seed(4), torch.float64))
    for ours, theirs in zip(
        operation(*inputs), operation(*inputs, torch.zeros_like(state)), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_extreme_steps_keep_or_forget_exactly() -> None:
    """Δ = 0 keeps the state bit by bit; a large Δ forgets it to exactly nothing."""
    ones = torch.ones(1, 2, 1)
    state = torch.tensor([[[0.1234567]]])
    transition = torch.tensor([[-1.0]])
    kept, _ = selective_scan(ones, torch.zeros(1, 2, 1), transition, ones, ones, state)
    assert kept.flatten().tolist() == [state.item()] * 2
    forgotten, last = selective_scan(
        torch.zeros(1, 1, 1),
        torch.full((1, 1, 1), 200.0),
        transition,
        ones[:, :1],
        ones[:, :1],
        state,
    )
    assert forgotten.item() == last.item() == 0.0


@pytest.mark.parametrize("name", ["selective_scan", "state_space_dual"])
def test_what_came_before_a_reset_does_not_blur_what_came_after(name: str) -> None:
    """A huge exponent in the middle costs the steps after it no precision (float32)."""
    fast, reference, make = OPERATIONS[name]
    inputs = make(24, draw(torch.Generator().manual_seed(8), torch.float32))
    inputs[1].mul_(1e-2)
    inputs[1][:, 11] = 1e6
    inputs[0][:, 11] = 0
    for ours, theirs in zip(fast(*inputs), reference(*inputs), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=2e-6, atol=2e-6)


def test_nan_goes_through_to_what_depends_on_it_and_to_nothing_before() -> None:
    inputs = scan_inputs(9, draw(torch.Generator().manual_seed(5), torch.float32))
    inputs[0][0, 4] = torch.nan
    outputs, _ = selective_scan(*inputs)
    assert outputs[0, 4:].isnan().all()
    assert outputs[0, :4].isfinite().all()
    assert outputs[1:].isfinite().all()


def test_training_the_scan_takes_time_linear_in_the_length() -> None:
    """Four times the length takes well under the sixteen times of a quadratic algorithm."""

    def seconds(length: int) -> float:
        randn = draw(torch.Generator().manual_seed(6), torch.float32)
        *inputs, _ = scan_inputs(length, randn)
        best = float("inf")
        for _ in range(3):
            leaves = [tensor.clone().requires_grad_() for tensor in inputs]
            began = time.perf_counter()
            selective_scan(*leaves)[0].sum().backward()
            best = min(best, time.perf_counter() - began)
        return best

    assert seconds(8_192) / seconds(2_048) < 8
