"""A linear layer by the compiled product of matrices is torch's but for roundings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from inspect import unwrap
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from statespan.models.ops import linear
from statespan.models.ops.linear import LEAST_ROWS, multiply
from statespan.models.ops.reference import reference_linear
from statespan.native import kernel_level, torch_only
from tests.models.ops.operations import (
    Arguments,
    assert_close,
    draw_from,
    results_and_gradients,
)

MODULE: Any = import_module("statespan.models.ops.linear")  # in the package it is the function
ROWS, COLUMNS = 70, 24

needs_kernels = pytest.mark.skipif(kernel_level() is None, reason="no kernel was compiled")


@pytest.fixture
def products(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The sizes of what the kernel multiplies, as on a machine where it is faster than torch."""
    found: list[tuple[int, ...]] = []

    def watched(left: Tensor, right: Tensor) -> Tensor:
        found.append((*left.shape, right.shape[1]))
        return multiply(left, right)

    monkeypatch.setattr(MODULE, "multiply", watched)
    monkeypatch.setattr(MODULE, "_is_preferred", lambda level: level is not None)
    return found


def make(*leading: int, bias: bool = True) -> dict[str, Tensor]:
    draw = draw_from(0, torch.float32)
    tensors = {"inputs": draw(*leading, COLUMNS), "weight": draw(ROWS, COLUMNS)}
    return tensors | ({"bias": draw(ROWS)} if bias else {})


def run(arguments: Arguments) -> tuple[Tensor]:
    return (linear(**arguments),)


def by_torch(arguments: Arguments) -> Tensor:
    return functional.linear(arguments["inputs"], arguments["weight"], arguments.get("bias"))


def reference(arguments: Arguments) -> tuple[Tensor]:
    return (reference_linear(**arguments),)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "by rows": lambda matrix: matrix,
    "by columns": lambda matrix: matrix.T.contiguous().T,
    "between gaps": lambda matrix: functional.pad(matrix, (3, 2), value=torch.nan)[:, 3:-2],
    "far apart": lambda matrix: torch.stack((matrix, torch.full_like(matrix, torch.nan)), -1)[
        ..., 0
    ],
}
SIZES = [(1, 1, 1), (1, 9, 20), (7, 5, 3), (6, 129, 64), (64, 64, 200), (45, 300, 90)]


@needs_kernels
@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("left", LAYOUTS)
@pytest.mark.parametrize(("rows", "inner", "columns"), SIZES)
def test_a_product_is_the_product(
    left: str, right: str, rows: int, inner: int, columns: int
) -> None:
    draw = draw_from(rows, torch.float32)
    first, second = draw(rows, inner), draw(inner, columns)
    ours = multiply(LAYOUTS[left](first), LAYOUTS[right](second))
    assert ours.is_contiguous()
    assert_close({"outputs": ours}, {"outputs": first.double() @ second.double()}, inner)


@needs_kernels
def test_what_is_repeated_in_memory_is_read_again() -> None:
    draw = draw_from(0, torch.float32)
    row, column, matrix = draw(1, 40), draw(40, 1), draw(40, 40)
    for repeated in (row.expand(40, 40), column.expand(40, 40), draw(1, 1).expand(40, 40)):
        torch.testing.assert_close(multiply(repeated, matrix), repeated @ matrix)
        torch.testing.assert_close(multiply(matrix, repeated), matrix @ repeated)


@needs_kernels
@pytest.mark.parametrize("threads", [2, 3, 50])
def test_the_number_of_threads_changes_nothing(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = draw_from(0, torch.float32)
    left, right = draw(40, 150), draw(150, 70)
    alone = multiply(left, right), multiply(left.T.contiguous().T, right.T.contiguous().T)
    monkeypatch.setattr("statespan.native.LEAST_WORK", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        shared = multiply(left, right), multiply(left.T.contiguous().T, right.T.contiguous().T)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(alone, shared, strict=True))


@needs_kernels
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", [(LEAST_ROWS,), (2, 33), (3, 1, 40)])
def test_it_is_its_reference(
    leading: tuple[int, ...], bias: bool, products: list[tuple[int, ...]]
) -> None:
    arguments = make(*leading, bias=bias)
    ours = results_and_gradients(run, arguments)
    assert_close(ours, results_and_gradients(reference, arguments), leading[-1] + ROWS)
    tokens = make(*leading)["inputs"].numel() // COLUMNS
    sizes = [(tokens, COLUMNS, ROWS), (tokens, ROWS, COLUMNS), (ROWS, tokens, COLUMNS)]
    assert products == sizes


@needs_kernels
@pytest.mark.parametrize("wanted", ["inputs", "weight", "bias"])
def test_a_gradient_that_nobody_wants_is_not_computed(
    wanted: str, products: list[tuple[int, ...]]
) -> None:
    arguments = make(40)
    arguments[wanted].requires_grad_()
    linear(**arguments).sum().backward()
    assert len(products) == (1 if wanted == "bias" else 2)
    assert arguments[wanted].grad is not None
    assert all(tensor.grad is None for name, tensor in arguments.items() if name != wanted)


@needs_kernels
@pytest.mark.usefixtures("products")
def test_a_gradient_can_be_differentiated() -> None:
    found = []
    for function in (run, reference):
        leaves = {name: tensor.requires_grad_() for name, tensor in make(40).items()}
        loss = function(leaves)[0].square().sum()
        (grad,) = torch.autograd.grad(loss, [leaves["inputs"]], create_graph=True)
        found.append(torch.autograd.grad(grad.square().sum(), list(leaves.values())))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours / theirs.abs().max(), theirs / theirs.abs().max())


@pytest.mark.parametrize(
    "arguments",
    [
        make(LEAST_ROWS - 1),
        make(0),
        make(1, LEAST_ROWS - 1),
        {name: tensor.double() for name, tensor in make(40).items()},
        {name: tensor.bfloat16() for name, tensor in make(40).items()},
        make(40) | {"weight": torch.zeros(0, COLUMNS), "bias": None},
        {"inputs": torch.zeros(40, 0), "weight": torch.zeros(3, 0)},
    ],
)
def test_few_rows_and_other_numbers_are_torchs(
    arguments: Arguments, products: list[tuple[int, ...]]
) -> None:
    assert torch.equal(linear(**arguments), by_torch(arguments))
    assert not products


@pytest.mark.parametrize(
    "around", [torch_only(), torch.autocast("cpu", torch.bfloat16)], ids=["torch only", "autocast"]
)
def test_inside_of_another_rule_it_is_torchs(around: Any, products: list[tuple[int, ...]]) -> None:
    with around:
        ours, theirs = linear(**make(40)), by_torch(make(40))
    assert ours.dtype is theirs.dtype
    assert torch.equal(ours, theirs)
    assert not products


def test_where_torch_is_as_fast_it_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, "_is_preferred", lambda _: False)
    assert torch.equal(linear(**make(40)), by_torch(make(40)))


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_errors_are_torchs(name: str, products: list[tuple[int, ...]]) -> None:
    arguments = make(40) | {name: torch.zeros(ROWS, 5)}
    with pytest.raises(RuntimeError) as expected:
        by_torch(arguments)
    with pytest.raises(RuntimeError, match=re.escape(str(expected.value))):
        unwrap(linear)(**arguments)
    assert not products


def test_transformations_are_torchs(products: list[tuple[int, ...]]) -> None:
    stacked = {name: torch.stack((tensor, 2 * tensor)) for name, tensor in make(40).items()}
    mapped = torch.func.vmap(lambda leaves: run(leaves)[0])(stacked)
    for ours, theirs in zip(
        mapped, (make(40), {n: 2 * t for n, t in make(40).items()}), strict=True
    ):
        torch.testing.assert_close(ours, by_torch(theirs))
    grad = torch.func.grad(lambda leaves: run(leaves)[0].sum())(make(40))
    torch.testing.assert_close(grad["bias"], torch.full((ROWS,), 40.0))
    assert not products


@needs_kernels
@pytest.mark.usefixtures("products")
def test_many_gradients_at_once_are_each_its_own() -> None:
    leaves = {name: tensor.requires_grad_() for name, tensor in make(40).items()}
    outputs, passed = run(leaves)[0], draw_from(2, torch.float32)(3, 40, ROWS)
    every = list(leaves.values())
    batched = torch.autograd.grad(outputs, every, passed, retain_graph=True, is_grads_batched=True)
    for index, grad in enumerate(passed):
        each = torch.autograd.grad(outputs, every, grad, retain_graph=True)
        for ours, theirs in zip(batched, each, strict=True):
            torch.testing.assert_close(ours[index], theirs, rtol=1e-4, atol=1e-4)


@needs_kernels
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.usefixtures("products")
def test_nan_and_infinity_reach_their_row_and_nothing_else(bad: float) -> None:
    arguments = make(40)
    arguments["inputs"][5, 3] = bad
    outputs = linear(**arguments)
    assert not outputs[5].isfinite().any()
    assert outputs.isfinite().sum() == 39 * ROWS


COMPILED = """
import torch
from inspect import unwrap
from statespan.models.ops import linear
from tests.models.ops.operations import assert_close, results_and_gradients
from tests.models.ops.test_linear import make, run

compiled = torch.compile(
    lambda leaves: (unwrap(linear)(**leaves),), backend="aot_eager", fullgraph=True
)
ours = results_and_gradients(compiled, make(40))
assert_close(ours, results_and_gradients(run, make(40)), 40)
print("same")
"""


def test_a_compiled_graph_is_the_same() -> None:
    """In a process of its own, where no test's check of annotations is in the graph's way."""
    command = [sys.executable, "-c", COMPILED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.splitlines() == ["same"], done.stderr


LESS = """
from importlib import import_module
from inspect import unwrap
from statespan.native import kernel_level
print(kernel_level(), import_module("statespan.models.ops.linear")._is_preferred(kernel_level()))
"""


@pytest.mark.parametrize("level", ["avx2", "default"])
def test_kernels_without_avx512_leave_products_to_torch(level: str) -> None:
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": level}
    command = [sys.executable, "-c", LESS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split()[1] == "False"
