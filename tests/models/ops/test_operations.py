"""The laws of every fast operation, by the compiled kernel where there is one and by torch."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from statespan.errors import InputError
from statespan.models.ops import selective_scan
from tests.models.ops.means import MEANS, running_by
from tests.models.ops.operations import (
    BATCH,
    CHANNELS,
    OPERATIONS,
    STATE,
    Arguments,
    Operation,
    assert_close,
    draw_from,
    results_and_gradients,
)

every_operation = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


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


@pytest.fixture
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let several of torch's chunks and a shorter last one fit into short sequences."""
    module = sys.modules["statespan.models.ops.selective_scan_torch"]
    monkeypatch.setattr(module, "CHUNK_NUMBERS", 7 * BATCH * CHANNELS * STATE)


both_means = pytest.mark.usefixtures("_means", "_short_chunks")


@every_operation
@pytest.mark.parametrize("length", [1, 2, 7, 64, 100])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.usefixtures("_uninitialized_memory_is_nan")
@both_means
def test_an_operation_is_its_reference(
    operation: Operation, length: int, dtype: torch.dtype
) -> None:
    arguments = operation.make(length, draw_from(length, dtype))
    ours = results_and_gradients(operation, arguments)
    theirs = results_and_gradients(operation.expected, arguments)
    assert all(tensor.dtype == dtype for tensor in ours.values())
    assert len(ours) == 2 + len(arguments)
    assert_close(ours, theirs, length)


@every_operation
@pytest.mark.parametrize("length", [1_000, pytest.param(65_537, marks=pytest.mark.slow)])
def test_a_long_sequence_is_the_reference(operation: Operation, length: int) -> None:
    arguments = operation.make(length, draw_from(length, torch.float32))
    ours = results_and_gradients(operation, arguments)
    assert_close(ours, results_and_gradients(operation.expected, arguments), length)


@every_operation
@pytest.mark.parametrize("threads", [2, 5])
def test_the_number_of_threads_changes_roundings_at_most(
    operation: Operation, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = operation.make(70, draw_from(0, torch.float32))
    wide = {
        name: tensor[:1] if name in on_rows(operation) else tensor
        for name, tensor in arguments.items()
    }
    alone = results_and_gradients(operation, wide)
    monkeypatch.setattr("statespan.native.LEAST_WORK", 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        shared = results_and_gradients(operation, wide)
    finally:
        torch.set_num_threads(before)
    assert_close(shared, alone, 70)


def on_rows(operation: Operation) -> tuple[str, ...]:
    return (*operation.over_time, *operation.per_row)


def piece(operation: Operation, arguments: Arguments, part: slice) -> Arguments:
    return {
        name: tensor[:, part] if name in operation.over_time else tensor
        for name, tensor in arguments.items()
    }


@every_operation
@pytest.mark.parametrize("cut", [0, 1, 3, 7, 19, 20])
@both_means
def test_pieces_give_what_the_whole_gives(operation: Operation, cut: int) -> None:
    arguments = operation.make(20, draw_from(3, torch.float32))

    def in_pieces(leaves: Arguments) -> tuple[Tensor, Tensor]:
        first, state = operation(piece(operation, leaves, slice(cut)))
        rest = piece(operation, leaves, slice(cut, None)) | {"initial_state": state}
        second, state = operation(rest)
        return torch.cat((first, second), dim=1), state

    whole = results_and_gradients(operation, arguments)
    assert_close(results_and_gradients(in_pieces, arguments), whole, 20)


@every_operation
@both_means
def test_a_missing_state_is_zero(operation: Operation) -> None:
    arguments = operation.make(5, draw_from(4, torch.float32))
    zero = arguments | {"initial_state": torch.zeros_like(arguments["initial_state"])}
    missing = {name: tensor for name, tensor in arguments.items() if name != "initial_state"}
    for ours, theirs in zip(operation(missing), operation(zero), strict=True):
        assert torch.equal(ours, theirs)


@every_operation
@both_means
def test_packed_documents_are_each_on_its_own(operation: Operation) -> None:
    """Row 0 holds documents of 1, 2, 9 and 8 tokens, row 1 one of 20, row 2 two."""
    sizes = [[1, 2, 9, 8], [20], [13, 7]]
    documents = torch.tensor(
        [[n for n, size in enumerate(row) for _ in range(size)] for row in sizes]
    )
    arguments = operation.make(20, draw_from(5, torch.float32))

    def one_by_one(leaves: Arguments) -> tuple[Tensor, Tensor]:
        outputs, states = [], []
        for row, parts in enumerate(sizes):
            state = leaves["initial_state"][row : row + 1]
            ends = torch.tensor(parts).cumsum(0).tolist()
            pieces = []
            for begin, end in zip([0, *ends], ends, strict=False):
                here = {
                    name: tensor[row : row + 1] if name in on_rows(operation) else tensor
                    for name, tensor in piece(operation, leaves, slice(begin, end)).items()
                }
                state = state if begin == 0 else torch.zeros_like(state)
                output, state = operation(here | {"initial_state": state})
                pieces.append(output)
            outputs.append(torch.cat(pieces, dim=1))
            states.append(state)
        return torch.cat(outputs), torch.cat(states)

    packed = results_and_gradients(lambda leaves: operation(leaves, documents=documents), arguments)
    assert_close(packed, results_and_gradients(one_by_one, arguments), 20)


@every_operation
@both_means
def test_padding_is_as_if_it_were_not_there(operation: Operation) -> None:
    """Left, right and in the middle, over NaN and infinity, with a document that starts after."""
    document = torch.tensor([-1, -1, 0, 0, -1, 0, 0, 0, -1, 1, 1, -1, -1])
    kept = document >= 0
    arguments = operation.make(len(document), draw_from(6, torch.float32))
    spoiled = {
        name: tensor.masked_fill(~kept.view(1, -1, *[1] * (tensor.ndim - 2)), torch.nan)
        if name in operation.over_time
        else tensor
        for name, tensor in arguments.items()
    }
    documents = document.expand(BATCH, -1)

    def without(leaves: Arguments) -> tuple[Tensor, Tensor]:
        dense = {n: t[:, kept] if n in operation.over_time else t for n, t in leaves.items()}
        outputs, last = operation(dense, documents=documents[:, kept])
        spread = torch.zeros(BATCH, len(document), *outputs.shape[2:])
        spread[:, kept] = outputs
        return spread, last

    padded = results_and_gradients(lambda leaves: operation(leaves, documents=documents), spoiled)
    assert_close(padded, results_and_gradients(without, arguments), len(document))


@every_operation
@both_means
def test_a_row_of_padding_leaves_the_state(operation: Operation) -> None:
    arguments = operation.make(4, draw_from(7, torch.float32))
    outputs, last = operation(arguments, documents=torch.full((BATCH, 4), -1))
    assert not outputs.any()
    assert torch.equal(last, arguments["initial_state"])


@every_operation
@both_means
def test_no_token_and_no_row_are_sequences_too(operation: Operation) -> None:
    arguments = operation.make(3, draw_from(8, torch.float32))
    outputs, last = operation(piece(operation, arguments, slice(0)))
    assert outputs.shape[:2] == (BATCH, 0)
    assert torch.equal(last, arguments["initial_state"])
    none = {n: t[:0] if n in on_rows(operation) else t for n, t in arguments.items()}
    outputs, last = operation(none)
    assert outputs.shape[:2] == (0, 3)
    assert len(last) == 0


@every_operation
def test_layout_in_memory_does_not_matter(operation: Operation) -> None:
    arguments = operation.make(9, draw_from(9, torch.float32))
    strange = {
        name: torch.stack((tensor, tensor), dim=-1)[..., 0] if number % 2 else
        tensor.transpose(0, -1).contiguous().transpose(0, -1)
        for number, (name, tensor) in enumerate(arguments.items())
    }  # fmt: skip
    for ours, theirs in zip(operation(strange), operation(arguments), strict=True):
        assert torch.equal(ours, theirs)


@every_operation
def test_bfloat16_is_computed_in_float32(operation: Operation) -> None:
    arguments = operation.make(100, draw_from(10, torch.bfloat16))
    outputs, last = operation(arguments)
    wide, _ = operation({name: tensor.float() for name, tensor in arguments.items()})
    assert outputs.dtype is torch.bfloat16
    assert torch.equal(outputs, wide.bfloat16())
    again, _ = operation(arguments | {"initial_state": last})
    assert again.dtype is torch.bfloat16


@every_operation
@both_means
def test_vmap_is_a_loop(operation: Operation) -> None:
    """Over every argument, over some, and with the gradient taken inside or outside."""
    members = [operation.make(6, draw_from(seed, torch.float32)) for seed in range(3)]
    stacked = {name: torch.stack([m[name] for m in members]) for name in members[0]}

    def loop(leaves: Arguments) -> tuple[Tensor, ...]:
        results = [operation({n: t[i] for n, t in leaves.items()}) for i in range(3)]
        return tuple(torch.stack(parts) for parts in zip(*results, strict=True))

    mapped = results_and_gradients(torch.func.vmap(operation), stacked)
    expected = results_and_gradients(loop, stacked)
    assert_close(mapped, expected, 6)

    def loss(leaves: Arguments) -> Tensor:
        outputs, last = operation(leaves)
        return outputs.sin().sum() + last.sin().sum()

    inside = torch.func.vmap(torch.func.grad(loss))(stacked)
    for i, member in enumerate(members):
        alone = torch.func.grad(loss)(member)
        assert_close({n: t[i] for n, t in inside.items()}, alone, 6)
    shared = [name for name in stacked if name not in on_rows(operation)]
    only = [*shared, *operation.over_time][0]
    some = torch.func.vmap(lambda tensor: operation(members[0] | {only: tensor}))(stacked[only])
    for i in range(3):
        alone_results = operation(members[0] | {only: stacked[only][i]})
        for ours, theirs in zip(some, alone_results, strict=True):
            torch.testing.assert_close(ours[i], theirs)


@every_operation
@both_means
def test_many_gradients_at_once_are_each_its_own(operation: Operation) -> None:
    leaves = operation.make(6, draw_from(16, torch.float32))
    every = [tensor.requires_grad_() for tensor in leaves.values()]
    results, draw = operation(leaves), draw_from(17, torch.float32)
    passed = [draw(3, *result.shape) for result in results]
    together = torch.autograd.grad(results, every, passed, retain_graph=True, is_grads_batched=True)
    for index in range(3):
        given = [each[index] for each in passed]
        alone = torch.autograd.grad(results, every, given, retain_graph=True)
        for ours, theirs in zip(together, alone, strict=True):
            torch.testing.assert_close(ours[index], theirs, rtol=1e-4, atol=1e-4)


COMPILED = """
import torch
from tests.models.ops.operations import OPERATIONS, assert_close, draw_from, results_and_gradients

for name, operation in OPERATIONS.items():
    # All share the code of `unwrapped`, which dynamo compiles for so many callers and no more.
    torch._dynamo.reset()
    arguments = operation.make(6, draw_from(11, torch.float32))
    compiled = torch.compile(operation.unwrapped, backend="aot_eager", fullgraph=True)
    ours = results_and_gradients(compiled, arguments)
    assert_close(ours, results_and_gradients(operation, arguments), 6)
    print(name)
"""


def test_compiled_graphs_are_the_same() -> None:
    """In a process of its own, where no test's check of annotations is in the graph's way."""
    command = [sys.executable, "-c", COMPILED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines() == list(OPERATIONS), done.stderr


@every_operation
def test_what_does_not_fit_is_named(operation: Operation) -> None:
    arguments = operation.make(5, draw_from(12, torch.float32))
    for name, tensor in arguments.items():
        with pytest.raises(InputError, match=r"(?s).*must .*got"):
            operation.unwrapped(arguments | {name: tensor[..., :-1]})
        with pytest.raises(InputError, match=rf"{name} must be of floating point, got torch.int64"):
            operation.unwrapped(arguments | {name: tensor.long()})
        with pytest.raises(InputError, match="must be on the device of"):
            operation.unwrapped(arguments | {name: tensor.to("meta")})
    if "diagonal" not in operation.function.__name__:
        name, tensor = next(iter(arguments.items()))
        with pytest.raises(InputError, match=rf"{name} must be of floating point, got torch.c"):
            operation.unwrapped(arguments | {name: tensor.to(torch.complex64)})
    with pytest.raises(InputError, match="documents must be of integers"):
        operation.unwrapped(arguments, documents=torch.zeros(BATCH, 5))
    with pytest.raises(InputError, match="documents must have the shape"):
        operation.unwrapped(arguments, documents=torch.zeros(BATCH, 4, dtype=torch.long))


@every_operation
def test_nan_and_infinity_reach_what_depends_on_them_and_nothing_else(operation: Operation) -> None:
    arguments = operation.make(9, draw_from(13, torch.float32))
    for bad in (torch.nan, torch.inf):
        first = operation.over_time[0]
        spoiled = arguments | {first: arguments[first].clone()}
        spoiled[first][0, 4] = bad
        outputs, _ = operation(spoiled)
        assert not outputs[0, 4].isfinite().any()
        assert outputs[0, :4].isfinite().all()
        assert outputs[1:].isfinite().all()


@pytest.mark.parametrize("length", [1, 130])
@both_means
def test_extreme_steps_keep_or_forget_exactly(length: int) -> None:
    """Δ = 0 keeps the state bit by bit; a large Δ forgets it to exactly nothing."""
    ones = torch.ones(1, length, 1)
    state = torch.tensor([[[0.1234567]]])
    transition = torch.tensor([[-1.0]])
    kept, last = selective_scan(ones, torch.zeros(1, length, 1), transition, ones, ones, state)
    assert kept.flatten().tolist() == [state.item()] * length
    assert torch.equal(last, state)
    for delta in (200.0, 1e30, torch.inf):
        forgotten, last = selective_scan(
            torch.zeros(1, length, 1) if delta < torch.inf else ones / delta,
            torch.full((1, length, 1), min(delta, 3e38)),
            transition, ones, ones, state,
        )  # fmt: skip
        assert not forgotten.any()
        assert not last.any()


@both_means
def test_steps_far_on_either_side_of_softplus_are_exact() -> None:
    """softplus is exactly 0 far below zero and the number itself far above."""
    ones = torch.ones(1, 1, 1)
    state = torch.tensor([[[0.1234567]]])
    for raw, expected in ((-200.0, state.item()), (128.0, 128.0)):
        _, last = selective_scan(
            ones, torch.full((1, 1, 1), raw), -ones[0], ones, ones, state, softplus=True
        )
        assert last.item() == expected


@pytest.mark.parametrize("name", ["selective_scan", "state_space_dual"])
def test_what_came_before_a_reset_does_not_blur_what_came_after(name: str) -> None:
    """A huge exponent in the middle costs the steps after it no precision (float32)."""
    operation = OPERATIONS[name]
    arguments = operation.make(24, draw_from(8, torch.float32))
    arguments["delta"].mul_(1e-2)
    arguments["delta"][:, 11] = 1e6
    arguments["inputs"][:, 11] = 0
    for ours, theirs in zip(operation(arguments), operation.expected(arguments), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=2e-6, atol=2e-6)


def test_training_the_scan_takes_time_linear_in_the_length() -> None:
    """Four times the length takes well under the sixteen times of a quadratic algorithm."""
    operation = OPERATIONS["selective_scan"]

    def seconds(length: int) -> float:
        arguments = operation.make(length, draw_from(6, torch.float32))
        best = float("inf")
        for _ in range(3):
            began = time.perf_counter()
            results_and_gradients(operation, arguments)
            best = min(best, time.perf_counter() - began)
        return best

    assert seconds(8_192) / seconds(2_048) < 8
