"""The gated norm is its reference, by the compiled kernel where there is one and by torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from inspect import unwrap
from typing import Any

import pytest
import torch
from torch import Tensor

from statespan.errors import InputError
from statespan.models.ops import gated_norm
from statespan.models.ops.gated_norm_kernel import GatedNormKernel
from statespan.models.ops.reference import reference_gated_norm
from tests.models.ops.means import MEANS, running_by
from tests.models.ops.operations import Arguments, assert_close, draw_from, results_and_gradients

BATCH, CHANNELS, EPSILON = 3, 60, 0.1


@pytest.fixture(params=MEANS)
def _means(request: pytest.FixtureRequest) -> Iterator[None]:
    with running_by(request.param):
        yield


@pytest.fixture
def _uninitialized_memory_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.use_deterministic_algorithms(False)


both_means = pytest.mark.usefixtures("_means")


def make(length: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The gate reaches to where its silu is nothing, and to where it is the gate itself."""
    draw = draw_from(seed, dtype)
    return {
        "hidden": draw(BATCH, length, CHANNELS),
        "gate": 8 * draw(BATCH, length, CHANNELS),
        "weight": draw(CHANNELS),
    }


def run(arguments: Arguments, groups: int = 1) -> tuple[Tensor]:
    return (gated_norm(**arguments, epsilon=EPSILON, groups=groups),)


def reference(arguments: Arguments, groups: int = 1) -> tuple[Tensor]:
    return (reference_gated_norm(**arguments, epsilon=EPSILON, groups=groups),)


@pytest.mark.parametrize("groups", [1, 3, 60])
@pytest.mark.parametrize("length", [1, 2, 7, 64, 100])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.usefixtures("_uninitialized_memory_is_nan")
@both_means
def test_it_is_its_reference(groups: int, length: int, dtype: torch.dtype) -> None:
    arguments = make(length, length, dtype)
    ours = results_and_gradients(lambda leaves: run(leaves, groups), arguments)
    theirs = results_and_gradients(lambda leaves: reference(leaves, groups), arguments)
    assert all(tensor.dtype == dtype for tensor in ours.values())
    assert_close(ours, theirs, length)


def test_a_long_sequence_is_the_reference() -> None:
    arguments = make(4_096)
    ours = results_and_gradients(run, arguments)
    assert_close(ours, results_and_gradients(reference, arguments), 4_096)


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("threads", [2, 5])
def test_the_number_of_threads_changes_roundings_at_most(
    batch: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {n: t if n == "weight" else t[:batch] for n, t in make(70).items()}
    alone = results_and_gradients(run, arguments)
    monkeypatch.setattr("statespan.native.LEAST_WORK", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        shared = results_and_gradients(run, arguments)
    finally:
        torch.set_num_threads(before)
    assert_close(shared, alone, 70)


@both_means
def test_no_token_and_no_row_are_sequences_too() -> None:
    for size in ((BATCH, 0), (0, 3)):
        none = torch.zeros(*size, CHANNELS)
        arguments = make(3) | {"hidden": none, "gate": none}
        found = results_and_gradients(run, arguments)
        assert found["outputs"].shape == (*size, CHANNELS)
        assert torch.equal(found["gradient of weight"], torch.zeros(CHANNELS))


def test_layout_in_memory_does_not_matter() -> None:
    arguments = make(9)
    plain = results_and_gradients(run, arguments)
    strange = {
        "hidden": arguments["hidden"].transpose(0, 1).contiguous().transpose(0, 1),
        "gate": arguments["gate"].mT.contiguous().mT,
        "weight": torch.stack((arguments["weight"],) * 2, dim=-1)[:, 0],
    }
    # A clone would be another layout's: gradients are of the strange tensors themselves.
    leaves = {name: tensor.requires_grad_() for name, tensor in strange.items()}
    (outputs,) = run(leaves)
    passed = draw_from(1, torch.float64)(*outputs.shape).float().mT.contiguous().mT
    grads = torch.autograd.grad(outputs, list(leaves.values()), passed)
    assert torch.equal(outputs, plain["outputs"])
    for name, grad in zip(leaves, grads, strict=True):
        assert torch.equal(grad, plain[f"gradient of {name}"])


def test_a_gate_that_is_part_of_a_projection_is_not_copied() -> None:
    arguments = make(9)
    projected = torch.cat((torch.full((BATCH, 9, 5), torch.nan), arguments["gate"]), dim=-1)
    gate = projected[..., 5:]
    kernel = GatedNormKernel(arguments["hidden"], gate, arguments["weight"][None], 1)
    assert kernel.tensors[1].data_ptr() == gate.data_ptr()
    assert torch.equal(run(arguments | {"gate": gate})[0], run(arguments)[0])


@both_means
def test_bfloat16_is_computed_in_float32() -> None:
    arguments = make(100, dtype=torch.bfloat16)
    (outputs,) = run(arguments)
    (wide,) = run({name: tensor.float() for name, tensor in arguments.items()})
    assert outputs.dtype is torch.bfloat16
    assert torch.equal(outputs, wide.bfloat16())


@both_means
def test_vmap_is_a_loop() -> None:
    """Over every argument, over the weight alone, and with the gradient taken inside or outside."""
    members = [make(6, seed) for seed in range(3)]
    stacked = {name: torch.stack([m[name] for m in members]) for name in members[0]}

    def loop(leaves: Arguments) -> tuple[Tensor]:
        return (torch.stack([run({n: t[i] for n, t in leaves.items()})[0] for i in range(3)]),)

    mapped = results_and_gradients(torch.func.vmap(run), stacked)
    assert_close(mapped, results_and_gradients(loop, stacked), 6)

    def loss(leaves: Arguments) -> Tensor:
        return run(leaves)[0].sin().sum()

    inside = torch.func.vmap(torch.func.grad(loss))(stacked)
    for i, member in enumerate(members):
        alone = torch.func.grad(loss)(member)
        assert_close({n: t[i] for n, t in inside.items()}, alone, 6)
    some = torch.func.vmap(lambda weight: run(members[0] | {"weight": weight})[0])
    for ours, weight in zip(some(stacked["weight"]), stacked["weight"], strict=True):
        torch.testing.assert_close(ours, run(members[0] | {"weight": weight})[0])


COMPILED = """
import torch
from inspect import unwrap
from statespan.models.ops import gated_norm
from tests.models.ops.operations import assert_close, results_and_gradients
from tests.models.ops.test_gated_norm import EPSILON, make, run

def plain(leaves):
    return (unwrap(gated_norm)(**leaves, epsilon=EPSILON, groups=3),)

compiled = torch.compile(plain, backend="aot_eager", fullgraph=True)
ours = results_and_gradients(compiled, make(6))
assert_close(ours, results_and_gradients(lambda leaves: run(leaves, 3), make(6)), 6)
print("same")
"""


def test_a_compiled_graph_is_the_same() -> None:
    """In a process of its own, where no test's check of annotations is in the graph's way."""
    command = [sys.executable, "-c", COMPILED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.splitlines() == ["same"], done.stderr


def test_a_derivative_of_a_gradient_is_refused() -> None:
    leaves = {name: tensor.requires_grad_() for name, tensor in make(3).items()}
    (grad,) = torch.autograd.grad(run(leaves)[0].sum(), [leaves["gate"]], create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        torch.autograd.grad(grad.sum(), [leaves["hidden"]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": torch.zeros(3, 60)}, r"hidden must have the shape \[any, any, any\], got"),
        ({"gate": torch.zeros(3, 5, 59)}, r"gate must have the shape \[3, 5, 60\], got \[3, 5, 59"),
        ({"weight": torch.zeros(1)}, r"weight must have the shape \[60\], got \[1\]"),
        ({"hidden": torch.zeros(3, 5, 60).long()}, "hidden must be of floating point, got"),
        ({"gate": torch.zeros(3, 5, 60).to(torch.complex64)}, "gate must be of floating point"),
        ({"weight": torch.zeros(60, device="meta")}, "weight must be on the device of hidden, cpu"),
        ({"epsilon": -1e-5}, "epsilon must be at least 0, got -1e-05"),
        ({"epsilon": torch.nan}, "epsilon must be at least 0, got nan"),
        ({"groups": 7}, "groups must divide the 60 channels of hidden, got 7"),
        ({"groups": 0}, "groups must divide the 60 channels of hidden, got 0"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        unwrap(gated_norm)(**{**make(5), "epsilon": EPSILON, "groups": 1, **changes})


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", ["hidden", "gate"])
@both_means
def test_nan_and_infinity_reach_their_group_of_channels_and_nothing_else(
    name: str, bad: float
) -> None:
    arguments = make(9)
    arguments[name][0, 4, 25] = bad
    (outputs,) = run(arguments, groups=3)
    expected = reference(arguments, groups=3)[0]
    assert outputs[0, 4, 25].isnan()
    assert torch.equal(outputs.isfinite(), expected.isfinite())
    touched = ~outputs.isfinite().flatten()
    assert touched.sum() <= CHANNELS // 3
    assert torch.equal(outputs[1:], run(make(9), groups=3)[0][1:])


@both_means
def test_channels_of_zero_stay_zero() -> None:
    arguments = make(4) | {"hidden": torch.zeros(BATCH, 4, CHANNELS)}
    assert not run(arguments)[0].any()
