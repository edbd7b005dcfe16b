"""The compiled attention to retrieved blocks is the definition, and what torch does without it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from statespan.memory import SpanAttention, span_attention
from statespan.memory import block_kernel as kernel_module
from statespan.native import kernel_level, torch_only
from tests.memory.attentions import assert_close, draw, expected, span, with_gradients

pytestmark = pytest.mark.skipif(kernel_level() is None, reason="there are no compiled kernels")

SMALL = {"summary": "key", "chunk": 16, "block": 4, "top_k": 3}
CONFIGS = [
    span(**SMALL, selection="token"),
    span(**SMALL, selection="token", share="kv_group", local=9),
    span(**SMALL, selection="token", share="layer", keep_first=2, local=40),
    span(**SMALL, selection="running", share="kv_group", local=1),
    span(**SMALL, selection="running", share="layer", keep_first=1, local=5),
    span(**SMALL, selection="previous"),
    span(**SMALL, selection="chunk", share="kv_group"),
    span(**SMALL, selection="token", rule="random"),
    span(**SMALL | {"chunk": 23, "block": 23}, selection="token", keep_first=1),
    span(**SMALL | {"chunk": 32, "block": 32}, selection="running"),
    span(**SMALL | {"chunk": 1, "block": 1}, selection="token"),
]


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note which kernels are called."""
    names: list[str] = []
    inner = kernel_module.call

    def noted(name: str, *arguments: Any) -> None:
        names.append(name)
        inner(name, *arguments)

    monkeypatch.setattr(kernel_module, "call", noted)
    return names


def run(config: SpanAttention, tensors: tuple[Tensor, Tensor, Tensor]) -> dict[str, Tensor]:
    return with_gradients(lambda *leaves: span_attention(*leaves, config), tensors)


BOTH = ["block_attention_forward", "block_attention_backward"]


@pytest.mark.parametrize("heads", [(4, 2), (3, 3), (6, 1)], ids=str)
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_it_is_the_definition(
    config: SpanAttention, heads: tuple[int, int], calls: list[str]
) -> None:
    tensors = draw(75, heads=heads[0], kv_heads=heads[1], dtype=torch.float32)
    assert_close(run(config, tensors), expected(tensors, config), 75, torch.float32)
    assert calls == BOTH


@pytest.mark.parametrize("widths", [(1, 1), (5, 3), (16, 40), (33, 64), (80, 130)], ids=str)
@pytest.mark.parametrize("selection", ["token", "running"])
def test_it_is_the_definition_for_all_widths(
    selection: str, widths: tuple[int, int], calls: list[str]
) -> None:
    config = span(**SMALL, selection=selection)
    tensors = draw(60, dim=widths[0], value_dim=widths[1], dtype=torch.float32)
    ours = run(config, tensors)
    assert_close(ours, expected(tensors, config), 60, torch.float32)
    assert calls == BOTH


@pytest.mark.parametrize("threads", [2, 3, 7])
@pytest.mark.parametrize("kv_heads", [1, 2])
def test_threads_that_share_a_head_of_keys_add_to_its_gradients(
    threads: int, kv_heads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_module, "num_threads", lambda work: threads)
    config = span(**SMALL, selection="token")
    tensors = draw(75, batch=1, kv_heads=kv_heads, dtype=torch.float32)
    assert_close(run(config, tensors), expected(tensors, config), 75, torch.float32)


@pytest.mark.parametrize("selection", ["token", "running"])
def test_bfloat16_is_right_to_its_roundings(selection: str, calls: list[str]) -> None:
    config = span(**SMALL | {"rule": "random"}, selection=selection, local=5)
    tensors = draw(90, dim=24, value_dim=20, dtype=torch.bfloat16)
    ours = run(config, tensors)
    assert all(tensor.dtype is torch.bfloat16 for tensor in ours.values())
    assert_close(ours, expected(tensors, config), 0, torch.bfloat16)
    assert calls == BOTH


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_strides_are_read(dtype: torch.dtype) -> None:
    config = span(**SMALL, selection="token")
    tensors = draw(60, dtype=dtype)
    query, key, value = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in tensors)
    assert not query.is_contiguous()
    torch.testing.assert_close(run(config, (query, key, value)), run(config, tensors))


def test_documents_and_padding_are_kept_apart(calls: list[str]) -> None:
    config = span(**SMALL, selection="token")
    documents = torch.tensor([[-1] * 5 + [0] * 55, [3] * 33 + [4] * 25 + [-1] * 2])
    tensors = draw(60, dtype=torch.float32)
    ours = with_gradients(
        lambda *leaves: span_attention(*leaves, config, documents=documents), tensors
    )
    assert_close(ours, expected(tensors, config, documents=documents), 60, torch.float32)
    assert "block_attention_forward" in calls


@pytest.mark.parametrize("size", [1e-4, 30.0])
def test_logits_of_any_size_are_right(size: float) -> None:
    """Weights of 0 and of 1 among them."""
    config = span(**SMALL, selection="token")
    query, key, value = draw(70, dtype=torch.float32)
    tensors = (query * size, key, value)
    assert_close(run(config, tensors), expected(tensors, config), 70, torch.float32)


def test_a_key_that_is_not_a_number_spoils_those_who_see_it_only() -> None:
    config = span(**SMALL, selection="token", rule="recency")
    query, key, value = draw(64, dtype=torch.float32)
    spoiled = key.clone()
    spoiled[0, 0, 15] = torch.nan
    out, clean = (span_attention(query, each, value, config) for each in (spoiled, key))
    sees = out.isnan().any(dim=3)
    assert sees[0, :2, 15:32].all()
    assert not sees[1].any()
    assert not sees[0, 2:].any()
    assert not sees[0, :2, 32:].any()
    torch.testing.assert_close(out[~sees], clean[~sees])


def test_torch_does_what_no_kernel_takes(calls: list[str]) -> None:
    config = span(**SMALL, selection="token")
    tensors = draw(60, dtype=torch.float32)
    with torch_only():
        ours = run(config, tensors)
    assert_close(ours, expected(tensors, config), 60, torch.float32)
    for dtype in (torch.float64, torch.float16):
        span_attention(*draw(60, dtype=dtype), config)
    span_attention(*draw(300, dtype=torch.float32), span(chunk=128, selection="chunk"))
    assert calls == []
