"""The kernels beside each other, those of a GPU by their signatures, and the memory in use."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from statespan.memory import Attention, FullAttention, SpanAttention, span_attention
from statespan.memory.attend import attend, attend_backward, merge_into
from statespan.memory.kernels import (
    EfficientOnGPU,
    FlashOnCPU,
    FlashOnGPU,
    Kernel,
    Logits,
    Plain,
    kernel_for,
)
from tests.memory.attentions import EXTRAS, assert_close, draw, expected, span, with_gradients


def entries(queries: int, keys: int, *, heads: int = 3, **options: Any) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, heads, queries, 8), (2, 1, keys, 8), (2, 1, keys, 6))
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def some_mask(queries: int, keys: int) -> Tensor:
    """Return a mask that leaves the second query nothing."""
    generator = torch.Generator().manual_seed(1)
    hidden = torch.rand(2, 1, queries, keys, generator=generator) < 0.4
    hidden[:, :, 1] = True
    return torch.zeros(2, 1, queries, keys, dtype=torch.float64).masked_fill(hidden, -torch.inf)


@pytest.mark.parametrize("kernel", [FlashOnCPU(), Plain()], ids=["flash", "plain"])
@pytest.mark.parametrize("masked", [False, True])
def test_parts_merge_into_the_whole(
    kernel: Kernel, masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gradients of a part, too, given what is merged, are those of the whole."""
    monkeypatch.setattr("statespan.memory.attend.kernel_for", lambda query, masked: kernel)
    query, key, value = entries(9, 14)
    mask = some_mask(9, 5) if masked else None
    near, far = slice(5, 14), slice(0, 5)
    parts = [
        (key[:, :, near], value[:, :, near], Logits(scaling=0.3, causal=True)),
        (key[:, :, far], value[:, :, far], Logits(scaling=0.3, mask=mask)),
    ]
    (out, lse), more = (attend(query, *part) for part in parts)
    merge_into(out, lse, *more)
    bias = torch.zeros(2, 1, 9, 14, dtype=torch.float64)
    bias[..., near] = torch.full((9, 9), -torch.inf, dtype=torch.float64).triu(1)
    bias[..., far] = 0 if mask is None else mask
    leaves = [tensor.requires_grad_() for tensor in (query, key, value)]
    logits = query @ key.mT * 0.3 + bias
    wanted = logits.softmax(-1) @ value
    torch.testing.assert_close(out, wanted)
    torch.testing.assert_close(lse, logits.logsumexp(-1))
    grad = torch.ones_like(wanted)
    wanted.backward(grad)
    with torch.no_grad():
        found = [
            attend_backward(grad, query, keys, values, out, lse, how) for keys, values, how in parts
        ]
    of_query, *rest = (leaf.grad for leaf in leaves)
    torch.testing.assert_close(found[0][0] + found[1][0], of_query)
    for place, whole in enumerate(rest, start=1):
        torch.testing.assert_close(torch.cat((found[1][place], found[0][place]), dim=2), whole)


@pytest.mark.parametrize("config", [span(), span(selection="token"), *EXTRAS.values()], ids=str)
def test_plain_products_give_what_the_kernel_gives(
    config: Attention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("statespan.memory.attend.kernel_for", lambda query, masked: Plain())
    tensors = draw(50)

    def run(*leaves: Tensor) -> Tensor:
        return span_attention(*leaves, config)

    assert_close(with_gradients(run, tensors), expected(tensors, config), 50, torch.float64)


@pytest.mark.parametrize(
    ("kernel", "dtype"),
    [(FlashOnGPU(), torch.bfloat16), (EfficientOnGPU(), torch.float32)],
    ids=["flash", "efficient"],
)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("width", [8, 20])
def test_the_kernels_of_a_gpu_are_called_as_they_are_declared(
    kernel: Kernel, dtype: torch.dtype, causal: bool, width: int
) -> None:
    """Shapes and signatures only: on the meta device nothing is computed."""
    wide = kernel.width(width)
    assert wide % 8 == 0
    assert width <= wide < width + 8
    query = torch.empty(4, 3, 40, wide, dtype=dtype, device="meta")
    key = torch.empty(4, 1, 40, wide, dtype=dtype, device="meta")
    logits = Logits(scaling=0.5, causal=causal)
    out, lse = kernel.forward(query, key, key, logits)
    assert out.shape == query.shape
    assert lse.shape == (4, 3, 40)
    gradients = kernel.backward(out, query, key, key, out, lse, logits)
    assert [gradient.shape for gradient in gradients] == [query.shape] * 3


def test_each_device_and_dtype_has_its_kernel() -> None:
    def made(device: str, dtype: torch.dtype, width: int = 64) -> Any:
        return type("Query", (), {"device": torch.device(device), "dtype": dtype,
                                  "shape": (1, 1, 1, width)})()  # fmt: skip

    kinds = {
        FlashOnCPU: kernel_for(made("cpu", torch.float64), masked=True),
        FlashOnGPU: kernel_for(made("cuda", torch.bfloat16), masked=False),
        EfficientOnGPU: kernel_for(made("cuda", torch.float32), masked=False),
    }
    assert all(type(kernel) is kind for kind, kernel in kinds.items())
    for query, masked in (
        (made("cuda", torch.bfloat16), True),
        (made("cuda", torch.float64), False),
        (made("cuda", torch.float16, 512), False),
        (made("mps", torch.float32), False),
    ):
        assert type(kernel_for(query, masked=masked)) is Plain


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("config", [span(), span(rule="random"), *EXTRAS.values()], ids=str)
def test_a_gpu_gives_the_definition(config: Attention, dtype: torch.dtype) -> None:
    tensors = draw(90, dtype=dtype)
    on_gpu = tuple(tensor.cuda() for tensor in tensors)
    ours = with_gradients(lambda *leaves: span_attention(*leaves, config).cpu(), on_gpu)
    moved = {name: tensor.cpu() for name, tensor in ours.items()}
    exact = dtype is torch.float64
    assert_close(moved, expected(tensors, config), 90 if exact else 0, dtype)


def allocated(config: Attention, length: int, *, backward: bool) -> tuple[float, float]:
    """Return the peak of what a pass allocates, and its largest tensor, in sizes of its output."""
    heads, dim = 4, 64
    generator = torch.Generator().manual_seed(0)
    tensors = [
        torch.randn(1, heads, length, dim, generator=generator).requires_grad_() for _ in range(3)
    ]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        out = span_attention(*tensors, config)
        if backward:
            torch.autograd.grad(out, tensors, torch.zeros_like(out))
    now = peak = largest = 0
    events = recorded.profiler.kineto_results.events()
    for event in sorted(events, key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak, largest = max(peak, now), max(largest, event.nbytes())
    size = out.numel() * out.element_size()
    return peak / size, largest / size


SMALL = {"chunk": 256, "block": 32, "top_k": 2}
THRIFTY = [
    *(SpanAttention(**SMALL, selection=name) for name in ("chunk", "previous", "running")),
    SpanAttention(**SMALL, selection="running", local=64, keep_first=1),
]
BY_TOKEN = SpanAttention(**SMALL, selection="token", summary="key")


@pytest.mark.parametrize(
    "config", [*THRIFTY, pytest.param(BY_TOKEN, marks=pytest.mark.slow)], ids=str
)
def test_a_forward_pass_takes_little_more_memory_than_its_output(config: Attention) -> None:
    length = 8_192
    assert allocated(FullAttention(), 512, backward=False)[0] >= 1
    peak, largest = allocated(config, length, backward=False)
    assert largest == 1  # no logits of all pairs, which are 128 times an output here
    assert peak < 1.25


@pytest.mark.parametrize("config", THRIFTY[:3], ids=str)
def test_a_backward_pass_holds_little_more_than_gradients(config: Attention) -> None:
    peak, largest = allocated(config, 8_192, backward=True)
    assert largest == 1
    assert peak < 5.4  # the output, its gradient and three gradients
