"""What an extended model retrieved is written down as it was, in a pass and token by token."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import torch

from statespan.errors import InputError
from statespan.pretrained import disable, enable, watch
from statespan.records import Record, RetrievalRecord
from statespan.report import draw_retrievals
from tests.pretrained.span.span_models import (
    CAUSAL,
    LENGTH,
    logits,
    span,
    span_model,
    structure,
    tokens,
)
from tests.pretrained.tiny_models import in_pieces


def table(seen: list[RetrievalRecord]) -> set[tuple[int, ...]]:
    """Return (layer, row, head, query, first key of a block), one by one."""
    return {
        (item.layer, item.row, head, query, first)
        for item in seen
        for head in item.heads
        for query in range(item.first, item.last + 1)
        for first, _ in item.keys
    }


def test_every_query_after_the_first_chunk_retrieves_what_it_may() -> None:
    model, ids = span_model("falcon_h1"), tokens(length=LENGTH)
    enable(model, span(selection="chunk", share="layer"))
    with watch(model) as seen:
        logits(model, ids)
    assert {item.layer for item in seen} == {0, 1}
    assert all(item.heads == [0, 1] and item.document == 0 for item in seen)
    found = table(seen)
    for row in range(2):
        for query in range(LENGTH):
            past = query // 16 * 2
            blocks = {key for _, at, head, place, key in found if (at, place) == (row, query)}
            assert len(blocks) <= 2 * min(2, past)
            assert bool(blocks) == bool(past)
            assert all(key % 8 == 0 and key + 8 <= query // 16 * 16 for key in blocks)
    before = len(seen)
    logits(model, ids)
    assert len(seen) == before  # nobody watches any more


@pytest.mark.parametrize("selection", CAUSAL)
@pytest.mark.parametrize("family", ["llama", "kimi_linear", "zamba2"])
def test_generation_retrieves_what_the_whole_pass_does(family: str, selection: str) -> None:
    model, ids = span_model(family), tokens(length=LENGTH)
    enable(model, span(family, selection=selection))
    with watch(model) as whole:
        logits(model, ids)
    with watch(model) as seen:
        in_pieces(model, ids, [19, *[1] * 16, 5, *[1] * 5])
    assert table(seen) == table(whole)
    assert {item.layer for item in seen} == {
        int(part.path.split(".")[2]) for part in structure(model).attentions
    }


def test_padding_counts_in_the_places() -> None:
    model, ids = span_model("llama"), tokens(length=LENGTH)
    mask = torch.ones_like(ids)
    mask[0, :3] = 0
    enable(model, span())
    settings: dict[str, Any] = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    with watch(model) as seen:
        model.generate(ids, attention_mask=mask, num_beams=2, max_new_tokens=9, **settings)
    starts = {row: {key[0] % 8 for i in seen if i.row == row for key in i.keys} for row in range(4)}
    assert starts == {0: {3}, 1: {3}, 2: {0}, 3: {0}}
    assert max(item.last for item in seen) == LENGTH + 7


def test_layers_that_are_run_again_are_written_down_once() -> None:
    model, ids = span_model("llama").train(), tokens(length=LENGTH)
    enable(model, span())
    with watch(model) as once:
        model(ids, labels=ids).loss.backward()
    model.activation_checkpointing_enable()
    enable(model, span())
    with watch(model) as again:
        model(ids, labels=ids).loss.backward()
    assert again == once


def test_who_comes_late_is_told() -> None:
    model, ids = span_model("llama"), tokens(length=LENGTH)
    with pytest.raises(InputError, match=r"statespan.enable is in force"), watch(model):
        pass
    enable(model, span())
    with torch.no_grad():
        cache = model(ids, use_cache=True).past_key_values
        with watch(model), pytest.raises(InputError, match=r"45 tokens before statespan.watch"):
            model(ids[:, :1], past_key_values=cache)
    disable(model)


def test_records_are_lines_and_a_picture() -> None:
    model, ids = span_model("llama"), tokens(length=LENGTH)
    enable(model, span())
    with watch(model) as seen:
        logits(model, ids)
    line = msgspec.json.encode(seen[0])
    assert msgspec.json.decode(line, type=Record) == seen[0]
    assert draw_retrievals(seen, row=1).startswith(b"\x89PNG")
    with pytest.raises(InputError, match="retrieval in row 2"):
        draw_retrievals(seen, row=2)
    with pytest.raises(InputError, match="retrieval in row 0"):
        draw_retrievals([])
