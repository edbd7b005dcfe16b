"""Documents in one row attend each to itself, or are refused where a mixer would mix them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from statespan.errors import InputError
from statespan.pretrained import accelerate, enable
from tests.pretrained.span.span_models import EVERY, assert_same, logits, span, span_model, tokens
from tests.pretrained.tiny_models import FAMILIES

LENGTHS = (21, 4, 35)
PLACES = torch.cat([torch.arange(length) for length in LENGTHS])[None]
PURE = ["llama", "mistral", "qwen3"]
MIXED = [name for name in EVERY if name.partition("/")[0] in FAMILIES]
UNKNOWN = ["lfm2", "lfm3", "kimi_linear", "bailing_hybrid", "zaya"]


def assert_apart(model: Any, **arguments: Any) -> None:
    ids = tokens(batch=1, length=sum(LENGTHS))
    packed = logits(model, ids, position_ids=PLACES, **arguments)
    for part, document in zip(packed.split(LENGTHS, 1), ids.split(LENGTHS, 1), strict=True):
        assert_same(part, logits(model, document))


@pytest.mark.parametrize("family", PURE)
@pytest.mark.parametrize("use_cache", [True, False, None])
def test_documents_are_apart(family: str, use_cache: bool | None) -> None:
    model = span_model(family)
    for selection in ("chunk", "running"):
        enable(model, span(selection=selection, chunk=8))
        assert_apart(model, use_cache=use_cache)


@pytest.mark.parametrize("family", MIXED)
def test_documents_are_apart_in_mixers_that_are_accelerated(family: str) -> None:
    model, ids = span_model(family), tokens(batch=1, length=sum(LENGTHS))
    enable(model, span(chunk=8))
    with pytest.raises(InputError, match=r"mix in .*: call statespan.accelerate\(model\)"):
        model(ids, position_ids=PLACES)
    accelerate(model)
    assert_apart(model)


@pytest.mark.parametrize("family", UNKNOWN)
def test_documents_are_refused_where_nothing_keeps_them_apart(family: str) -> None:
    model, ids = span_model(family), tokens(batch=1, length=sum(LENGTHS))
    enable(model, span(family))
    with pytest.raises(InputError, match="or give each document a row"):
        model(ids, position_ids=PLACES)
    assert logits(model, ids, position_ids=torch.arange(60)[None]).isfinite().all()


def test_documents_may_be_numbered() -> None:
    model = span_model("bamba")
    enable(model, span(chunk=8))
    accelerate(model)
    numbers = torch.cat([torch.full((length,), n) for n, length in enumerate(LENGTHS)])[None]
    assert_apart(model, seq_idx=numbers)


def test_a_row_of_documents_goes_into_no_cache() -> None:
    from transformers import DynamicCache

    model, ids = span_model("llama"), tokens(batch=1, length=sum(LENGTHS))
    enable(model, span())
    assert model(ids, position_ids=PLACES).past_key_values is None
    with pytest.raises(InputError, match="cannot go into a cache"):
        model(ids, position_ids=PLACES, past_key_values=DynamicCache(config=model.config))


def test_documents_learn_apart() -> None:
    model, ids = span_model("llama").train(), tokens(batch=1, length=sum(LENGTHS))
    enable(model, span(chunk=8))
    model(ids, labels=ids, position_ids=PLACES).loss.backward()
    first = model.model.layers[0].self_attn.v_proj.weight.grad
    assert first.abs().max() > 0
