"""Whether documents in one row are kept apart is found out by running the model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from statespan.memory import SpanAttention
from statespan.pretrained import accelerate, enable
from statespan.training.separation import keeps_documents_apart

sys.path.insert(0, str(Path(__file__).parents[1] / "pretrained"))
from tiny_models import tiny_model


def test_attention_alone_keeps_documents_apart() -> None:
    model = tiny_model("llama")
    assert keeps_documents_apart(model)
    enable(model, SpanAttention(chunk=8, block=2, top_k=1))
    assert keeps_documents_apart(model)
    assert not model.training


@pytest.mark.parametrize("spans", [False, True])
def test_a_hybrid_does_once_its_mixers_are_accelerated(spans: bool) -> None:
    model = tiny_model("bamba")
    if spans:
        enable(model, SpanAttention(chunk=8, block=2, top_k=1))
    assert not keeps_documents_apart(model)
    with accelerate(model):
        assert keeps_documents_apart(model)


def test_a_model_that_mixes_them_does_not() -> None:
    assert not keeps_documents_apart(tiny_model("lfm2"))
