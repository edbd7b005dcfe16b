"""Every family, extended, is what it has to be where that is known by other means."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from statespan.memory.reference import reference_attention
from statespan.pretrained import enable
from statespan.pretrained.span import function
from tests.pretrained.span.span_models import (
    CAUSAL,
    EVERY,
    LENGTH,
    assert_different,
    assert_same,
    logits,
    positions,
    span,
    span_model,
    tokens,
)

FAMILY = pytest.mark.parametrize("family", EVERY)

FULL = {
    "one chunk": {"chunk": 64, "selection": "chunk"},
    "every block": {"rule": "all"},
    "as many blocks as there are": {"top_k": 99, "selection": "token"},
}


@FAMILY
def test_what_sees_everything_is_full_attention(family: str) -> None:
    model, ids = span_model(family), tokens(length=LENGTH)
    expected = logits(model, ids)
    for changes in FULL.values():
        enable(model, span(family, **changes))
        assert_same(logits(model, ids), expected)
    enable(model, span(family))
    assert_different(logits(model, ids), expected)


def block_diagonal(model: Any, length: int, chunk: int) -> Any:
    """Return a mask of stock attention: causal, and within chunks for layers that do not slide."""
    place = torch.arange(length)
    causal = place[:, None] >= place
    diagonal = (causal & (place[:, None] // chunk == place // chunk))[None, None]
    if model.config.model_type != "lfm3":
        return diagonal
    near = causal & (place[:, None] - place < model.config.sliding_window)
    return {"full_attention": diagonal, "sliding_attention": near[None, None], "conv": None}


@FAMILY
def test_without_blocks_it_is_block_diagonal(family: str) -> None:
    model, ids = span_model(family), tokens(length=LENGTH)
    mask = block_diagonal(model, LENGTH, 16)
    mask = mask if isinstance(mask, dict) else mask.expand(2, 1, LENGTH, LENGTH)
    expected = logits(model, ids, attention_mask=mask)
    for selection in ("chunk", *CAUSAL):
        enable(model, span(family, top_k=0, selection=selection))
        assert_same(logits(model, ids), expected)


def loss_and_gradients(model: Any, ids: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    labels = ids.where(mask == 1, -100)
    loss = model(
        ids, attention_mask=mask, position_ids=positions(mask), labels=labels, use_cache=False
    ).loss
    loss.backward()
    found = {name: weight.grad for name, weight in model.named_parameters()}
    return loss.detach(), {name: grad.clone() for name, grad in found.items() if grad is not None}


@FAMILY
def test_it_is_the_dense_reference(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = span_model(family), tokens(length=LENGTH)
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    enable(model, span(family, selection="chunk", local=5, keep_first=1))
    loss, gradients = loss_and_gradients(model, ids, mask)
    calls = []

    def dense(query: Tensor, *rest: Any, **where: Any) -> Tensor:
        calls.append(where["layer"])
        return reference_attention(query, *rest, **where).to(query.dtype)

    monkeypatch.setattr(function, "span_attention", dense)
    expected, expected_gradients = loss_and_gradients(model, ids, mask)
    assert calls
    torch.testing.assert_close(loss, expected)
    assert gradients.keys() == expected_gradients.keys()
    largest = max(gradient.abs().max() for gradient in expected_gradients.values())
    for name, gradient in expected_gradients.items():
        assert (gradients[name] - gradient).abs().max() <= 1e-4 * largest, name


@FAMILY
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_as_if_it_were_not_there(family: str, side: str) -> None:
    model, ids = span_model(family), tokens(length=LENGTH)
    real = slice(7, None) if side == "left" else slice(None, -7)
    mask = torch.zeros_like(ids)
    mask[:, real] = 1
    mask[1] = 1
    for selection in ("chunk", "running"):
        enable(model, span(family, selection=selection))
        padded = logits(model, ids, attention_mask=mask, position_ids=positions(mask))
        assert_same(padded[:1, real], logits(model, ids[:1, real]))
        assert_same(padded[1:], logits(model, ids[1:]))


@FAMILY
@pytest.mark.parametrize("selection", CAUSAL)
def test_later_tokens_change_nothing_before(family: str, selection: str) -> None:
    model, ids = span_model(family), tokens(length=LENGTH)
    enable(model, span(family, selection=selection))
    expected = logits(model, ids)
    for place in (20, 31, 32, 44):
        changed = ids.clone()
        changed[:, place] = (changed[:, place] + 1) % 30 + 2
        outputs = logits(model, changed)
        assert_same(outputs[:, :place], expected[:, :place])
        assert not torch.equal(outputs[:, place:], expected[:, place:])
