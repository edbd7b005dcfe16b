"""A Mamba layer as one operation is its parts one after the other."""

from __future__ import annotations

from contextlib import nullcontext
from inspect import unwrap

import pytest
import torch
from torch import Tensor

from statespan.errors import InputError
from statespan.models.ops import mamba_mixer
from statespan.models.ops.native import kernel_level, torch_only
from statespan.models.ops.reference import reference_causal_convolution, reference_selective_scan
from tests.models.ops.operations import Arguments, draw_from

BATCH, WIDTH, CHANNELS, RANK, STATE, WINDOW = 3, 10, 20, 2, 5, 4

both_means = pytest.mark.parametrize("means", ["kernel", "torch"])


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


def run(means: str, arguments: Arguments, **more: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    if means == "kernel" and kernel_level() is None:
        pytest.skip("no kernel was compiled")
    with torch_only() if means == "torch" else nullcontext():
        return mamba_mixer(**arguments, **more)


def reference(arguments: Arguments) -> tuple[Tensor, Tensor, Tensor]:
    given = {name: tensor.double() for name, tensor in arguments.items()}
    inputs, gate = (given["hidden"] @ given["in_projection"].mT).chunk(2, dim=-1)
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
    return outputs @ given["out_projection"].mT, window, state


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
    arguments = make(9)
    documents = torch.tensor([0] * 4 + [1] * 5).expand(BATCH, -1)
    outputs, window, state = run(means, arguments, documents=documents)
    alone = {
        name: tensor for name, tensor in arguments.items() if not name.startswith("initial_")
    } | {"hidden": arguments["hidden"][:, 4:]}
    assert_near([outputs[:, 4:], window, state], list(run(means, alone)))


@both_means
def test_vmap_is_one_call_for_many_members(means: str) -> None:
    members = [make(6, seed) for seed in range(3)]
    stacked = leaves_of({name: torch.stack([m[name] for m in members]) for name in members[0]})
    mapped = everything(
        torch.func.vmap(lambda leaves: run(means, leaves))(stacked), list(stacked.values())
    )
    for number, member in enumerate(members):
        leaves = leaves_of(member)
        alone = everything(run(means, leaves), list(leaves.values()))
        assert_near([tensor[number] for tensor in mapped], alone)


def test_what_does_not_fit_is_named() -> None:
    arguments = make(3)
    with pytest.raises(InputError, match=r"in_projection must have the shape \[40, 10\], got"):
        unwrap(mamba_mixer)(**arguments | {"in_projection": torch.zeros(39, 10)})
    with pytest.raises(InputError, match="hidden must be of floating point"):
        unwrap(mamba_mixer)(**arguments | {"hidden": torch.zeros(3, 3, 10, dtype=torch.long)})
