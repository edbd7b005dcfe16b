"""A Mamba layer as one operation is its parts one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import unwrap
from typing import Any

import pytest
import torch
from torch import Tensor

from statespan.errors import InputError
from statespan.models.ops import mamba_mixer, mamba_mixer_kernel
from statespan.models.ops.mamba_mixer_kernel import HUGE_PAGE
from statespan.models.ops.reference import reference_causal_convolution, reference_selective_scan
from tests.models.ops.means import both_means, running_by
from tests.models.ops.operations import Arguments, draw_from

BATCH, WIDTH, CHANNELS, RANK, STATE, WINDOW = 3, 10, 36, 2, 5, 4
EPSILON = 0.1


def make(length: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    draw = draw_from(seed, dtype)
    return {
        "hidden": draw(BATCH, length, WIDTH),
        "in_projection": draw(2 * CHANNELS, WIDTH) / 3,
        "convolution": draw(CHANNELS, WINDOW) / 3,
        "convolution_bias": draw(CHANNELS) / 3,
        "x_projection": draw(RANK + 2 * STATE, CHANNELS) / 3,
        "delta_projection": draw(CHANNELS, RANK) / 3,
        "delta_bias": draw(CHANNELS) / 3,
        "transition_log": draw(CHANNELS, STATE) / 3,
        "skip": draw(CHANNELS) / 3,
        "out_projection": draw(WIDTH, CHANNELS) / 3,
        "initial_window": draw(BATCH, WINDOW - 1, CHANNELS),
        "initial_state": draw(BATCH, CHANNELS, STATE),
    }


def make_block(length: int, seed: int = 0) -> dict[str, Tensor]:
    return make(length, seed) | {"norm": draw_from(seed + 1, torch.float32)(WIDTH) / 3}


def run(means: str, arguments: Arguments, **more: Any) -> tuple[Tensor, Tensor, Tensor]:
    with running_by(means):
        return mamba_mixer(**arguments, **more)


def reference(arguments: Arguments) -> tuple[Tensor, Tensor, Tensor]:
    given = {name: tensor.double() for name, tensor in arguments.items()}
    hidden, residual = given["hidden"], torch.zeros(())
    if "norm" in given:
        size = (hidden.square().mean(-1, keepdim=True) + EPSILON).sqrt()
        hidden, residual = hidden / size * given["norm"], hidden
    inputs, gate = (hidden @ given["in_projection"].mT).chunk(2, dim=-1)
    inputs, window = reference_causal_convolution(
        inputs,
        given["convolution"],
        given["convolution_bias"],
        given["initial_window"],
        activation="silu",
    )
    step, write, read = (inputs @ given["x_projection"].mT).split([RANK, STATE, STATE], dim=-1)
    outputs, state = reference_selective_scan(
        inputs,
        step @ given["delta_projection"].mT,
        -given["transition_log"].exp(),
        write,
        read,
        given["initial_state"],
        skip=given["skip"],
        gate=gate,
        delta_bias=given["delta_bias"],
        softplus=True,
    )
    return residual + outputs @ given["out_projection"].mT, window, state


def everything(
    results: tuple[Tensor, ...], leaves: list[Tensor], retain: bool = False
) -> list[Tensor]:
    loss = sum((result.double().sin().sum() for result in results), torch.zeros(()).double())
    return [*results, *torch.autograd.grad(loss, leaves, retain_graph=retain)]


def leaves_of(arguments: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone().requires_grad_() for name, tensor in arguments.items()}


def assert_near(actual: list[Tensor], expected: list[Tensor], limit: float = 1e-5) -> None:
    for ours, theirs in zip(actual, expected, strict=True):
        scale = theirs.double().abs().max().clamp(min=1)
        torch.testing.assert_close(
            ours.double() / scale, theirs.double() / scale, rtol=limit, atol=limit
        )


@both_means
@pytest.mark.parametrize("length", [1, 2, 7, 64, 100])
def test_it_is_its_parts(means: str, length: int) -> None:
    leaves = leaves_of(make(length, length))
    ours = everything(run(means, leaves), list(leaves.values()))
    theirs = everything(reference(leaves), list(leaves.values()))
    assert_near(ours, theirs)


@both_means
@pytest.mark.parametrize("length", [1, 2, 7, 64, 100])
def test_a_block_is_its_norm_the_layer_and_the_residual(means: str, length: int) -> None:
    leaves = leaves_of(make_block(length, length))
    ours = everything(run(means, leaves, epsilon=EPSILON), list(leaves.values()))
    theirs = everything(reference(leaves), list(leaves.values()))
    assert_near(ours, theirs)


@pytest.fixture
def three_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("least_work", [1, 1 << 40])
def test_threads_change_nothing_but_roundings(
    batch: int, least_work: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer rows than threads these share each part of the layer, else the rows."""
    monkeypatch.setattr("statespan.native.LEAST_WORK", least_work)
    over_rows = ("hidden", "initial_window", "initial_state")
    arguments = make_block(150)
    leaves = leaves_of(arguments | {name: arguments[name][:batch] for name in over_rows})
    documents = torch.tensor([-1] * 3 + [0] * 60 + [1] * 80 + [-1] * 7).expand(batch, -1)
    ours = everything(
        run("kernel", leaves, documents=documents, epsilon=EPSILON), list(leaves.values())
    )
    theirs = everything(
        run("torch", leaves, documents=documents, epsilon=EPSILON), list(leaves.values())
    )
    assert_near(ours, theirs)


@both_means
def test_pieces_and_padding(means: str) -> None:
    """A row in two pieces, with padding over NaN between them, is the whole row."""
    leaves = leaves_of(make(12))
    whole = everything(run(means, leaves), list(leaves.values()))
    first, window, state = run(means, leaves | {"hidden": leaves["hidden"][:, :5]})
    padding = torch.full((BATCH, 2, WIDTH), torch.nan)
    rest = {
        "hidden": torch.cat((padding, leaves["hidden"][:, 5:], padding), dim=1),
        "initial_window": window,
        "initial_state": state,
    }
    documents = torch.tensor([-1, -1, *[4] * 7, -1, -1]).expand(BATCH, -1)
    second, window, state = run(means, leaves | rest, documents=documents)
    outputs = torch.cat((first, second[:, 2:-2]), dim=1)
    assert_near(everything((outputs, window, state), list(leaves.values())), whole)


@both_means
def test_packed_documents_do_not_meet(means: str) -> None:
    arguments = make_block(9)
    documents = torch.tensor([0] * 4 + [1] * 5).expand(BATCH, -1)
    outputs, window, state = run(means, arguments, documents=documents)
    alone = {
        name: tensor for name, tensor in arguments.items() if not name.startswith("initial_")
    } | {"hidden": arguments["hidden"][:, 4:]}
    assert_near([outputs[:, 4:], window, state], list(run(means, alone)))


@both_means
def test_vmap_is_one_call_for_many_members(means: str) -> None:
    members = [make_block(6, seed) for seed in range(3)]
    stacked = leaves_of({name: torch.stack([m[name] for m in members]) for name in members[0]})
    mapped = everything(
        torch.func.vmap(lambda leaves: run(means, leaves))(stacked), list(stacked.values())
    )
    for number, member in enumerate(members):
        leaves = leaves_of(member)
        alone = everything(run(means, leaves), list(leaves.values()))
        assert_near([tensor[number] for tensor in mapped], alone)


def test_a_derivative_of_a_gradient_is_refused() -> None:
    leaves = leaves_of(make(3))
    (grad,) = torch.autograd.grad(
        run("kernel", leaves)[0].sum(), [leaves["skip"]], create_graph=True
    )
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        torch.autograd.grad(grad.sum(), [leaves["hidden"]])


def test_what_does_not_fit_is_named() -> None:
    arguments = make(3)
    with pytest.raises(InputError, match=r"norm must have the shape \[10\], got \[9\]"):
        unwrap(mamba_mixer)(**arguments, norm=torch.zeros(9))
    with pytest.raises(InputError, match=r"in_projection must have the shape \[72, 10\], got"):
        unwrap(mamba_mixer)(**arguments | {"in_projection": torch.zeros(39, 10)})
    with pytest.raises(InputError, match="hidden must be of floating point"):
        unwrap(mamba_mixer)(**arguments | {"hidden": torch.zeros(3, 3, 10, dtype=torch.long)})


def test_what_many_tokens_keep_lies_in_huge_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Tensor] = []
    monkeypatch.setattr(mamba_mixer_kernel, "ask_for_huge_pages", asked.append)
    hidden = torch.zeros(BATCH, 1)
    room = mamba_mixer_kernel._make_room(hidden, HUGE_PAGE // 4)
    assert room.shape == (BATCH, HUGE_PAGE // 4)
    assert room.is_contiguous()
    assert room.data_ptr() % HUGE_PAGE == 0
    assert [each.data_ptr() for each in asked] == [room.untyped_storage().data_ptr()]
    assert mamba_mixer_kernel._make_room(hidden, HUGE_PAGE // 4 // BATCH).shape[0] == BATCH
    assert len(asked) == 1


def test_gradients_are_right_from_a_huge_page() -> None:
    length, leaves = 1_700, leaves_of(make(1_700))
    assert length * BATCH * 3 * CHANNELS * 4 > HUGE_PAGE
    every = list(leaves.values())
    double = {name: tensor.double() for name, tensor in leaves.items()}
    limit = 8 * torch.finfo(torch.float32).eps * (1 + length) ** 0.5
    assert_near(
        everything(run("kernel", leaves), every), everything(run("torch", double), every), limit
    )
