"""Recall through span-expanded attention: with every causal rule, the answers that it must give."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

import statespan
from statespan.compiler.folder import build_model
from statespan.compiler.weights import convert
from statespan.conformance.recall import recall_weights
from statespan.conformance.recall_answers import recall_answers, sample_cycle, sample_pairs
from statespan.conformance.recall_span import LONGEST, check_attention, span_answers
from statespan.errors import InputError
from statespan.memory import SpanAttention
from statespan.training import BOS, EOS

SEEN = SpanAttention(
    chunk=32, block=8, top_k=3, selection="token", summary="bound", local=2, keep_first=1
)
ATTENTIONS = {
    f"{rule}, {selection}, {summary}": replace(
        SEEN, rule=rule, selection=selection, summary=summary
    )
    for rule in ("all", "none", "random", "recency", "top_k")
    for selection in ("previous", "running", "token")
    for summary in ("attention", "bound", "key", "landmark", "value")
    if rule == "top_k" or summary == "bound"
}
MODELS = {
    dtype: build_model(recall_weights().config, convert(recall_weights(), dtype), dtype)
    for dtype in ("float32", "bfloat16")
}
LENGTHS = (1, 31, 33, 64, 150, 331)


@torch.inference_mode()
def _logits(model: Any, tokens: Any, **kwargs: Any) -> Tensor:
    return model(input_ids=torch.tensor([tokens]), **kwargs).logits[0].float()


def _wrong(logits: Tensor, answers: list[frozenset[int] | None]) -> list[int]:
    said = [frozenset(row.nonzero().flatten().tolist()) for row in logits > 0]
    pairs = enumerate(zip(said, answers, strict=True))
    return [place for place, (given, right) in pairs if right is not None and given != right]


def _documents(length: int) -> list[tuple[int, ...]]:
    return [sample(length, rng=Random(length)) for sample in (sample_cycle, sample_pairs)]


@pytest.mark.parametrize("dtype", MODELS)
@pytest.mark.parametrize("name", ATTENTIONS)
def test_what_is_promised_is_said(name: str, dtype: str) -> None:
    attention = ATTENTIONS[name]
    check_attention(attention)
    with statespan.attention(MODELS[dtype], attention):
        for length in LENGTHS:
            for tokens in _documents(length):
                logits = _logits(MODELS[dtype], tokens)
                assert _wrong(logits, span_answers(tokens, attention)) == []


@pytest.mark.parametrize("rule", ["all", "top_k"])
@pytest.mark.parametrize("summary", ["bound", "key"])
def test_what_a_token_retrieves_by_itself_is_all_that_it_needs(rule: str, summary: str) -> None:
    attention = replace(SEEN, rule=rule, summary=summary, top_k=1)
    for length in LENGTHS:
        tokens = sample_cycle(length, rng=Random(length))
        assert span_answers(tokens, replace(attention, rule="all")) == recall_answers(tokens)
        found = span_answers(tokens, replace(attention, top_k=40))
        assert found == recall_answers(tokens)
    for length in LENGTHS:
        for tokens in _documents(length):
            found, expected = span_answers(tokens, attention), recall_answers(tokens)
            # Where different symbols followed, one block may show only one of them.
            pairs = zip(found, expected, strict=True)
            assert all(given == right for given, right in pairs if right is not None)


def test_without_blocks_only_the_chunk_is_remembered() -> None:
    tokens = (BOS, *range(3, 40), 39, *range(3, 40))
    attention = replace(SEEN, rule="none")
    answers = span_answers(tokens, attention)
    for place in range(39, len(tokens)):
        token, chunk = tokens[place], place // 32 * 32
        finds = [p for p in range(1, place + 1) if tokens[p - 1] == token]
        seen = {tokens[p] for p in finds if p >= min(chunk, place - 1) or p < 8 <= chunk}
        assert answers[place] == (seen or {EOS}), place
    assert sum(answer == {EOS} for answer in answers[39:]) > 10


def _sees(tokens: tuple[int, ...], attention: SpanAttention) -> Any:
    """Return what each token sees in layer 2, by the definition of the memory's own."""
    found: dict[str, Tensor] = {}

    def keep(module: Any, given: Any, kwargs: Any) -> None:
        hidden = kwargs["hidden_states"]
        shape = (1, hidden.shape[1], 1, 128)
        query, key, value = (
            getattr(module, f"{name}_proj")(hidden).view(shape).transpose(1, 2)
            for name in ("q", "k", "v")
        )
        from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

        query, key = apply_rotary_pos_emb(query, key, *kwargs["position_embeddings"])
        found["seen"] = attention.visible(query[0], key[0], value[0], scaling=128**-0.5)[0]

    model: Any = MODELS["float32"]
    handle = model.model.layers[1].self_attn.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        _logits(model, tokens)
    finally:
        handle.remove()
    return found["seen"]


@pytest.mark.parametrize("name", ATTENTIONS)
def test_blocks_that_are_counted_are_those_of_the_definition(name: str) -> None:
    from statespan.conformance.recall_span import _Document

    attention = ATTENTIONS[name]
    open_places = 0
    for tokens in _documents(170):
        document, mask = _Document(tokens, attention), _sees(tokens, attention)
        for reader in range(len(tokens)):
            seen, near = document.seen(reader), document.near(reader)
            open_places += bool(seen.level)
            past = range(reader // 32 * 4)
            visible = frozenset(block for block in past if mask[reader, 8 * block])
            assert seen.sure <= visible <= seen.sure | seen.level
            assert len(visible - seen.sure) == seen.number
            assert mask[reader, near : reader + 1].all()
    if attention.rule in {"all", "none", "recency"}:
        assert open_places == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"selection": "chunk"}, "attention must be causal"),
        ({"chunk": (32, 64)}, "must have one chunk size"),
        ({"local": 1}, "local of at least 2, so that each token sees the token before; got 1"),
        ({"keep_first": 0}, "keep_first of at least 1, so that each token sees BOS; got 0"),
    ],
)
def test_an_attention_of_which_nothing_is_known_is_refused(change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_attention(replace(SEEN, **change))


def test_nothing_is_promised_of_very_long_documents() -> None:
    tokens = sample_cycle(LONGEST + 2, rng=Random(0))
    answers = span_answers(tokens, replace(SEEN, top_k=1))
    assert answers[-2:] == [None, None]
    assert answers[LONGEST - 1] is not None


def test_a_block_of_another_document_is_seen() -> None:
    """Two documents in a row: kept apart both are right, else the second remembers the first."""
    first = sample_cycle(100, rng=Random(8))
    second = (BOS, *sorted(first[1:38]), *sorted(first[1:38]))
    answers = span_answers(first, SEEN) + span_answers(second, SEEN)
    places = torch.cat((torch.arange(len(first)), torch.arange(len(second))))[None]
    model = MODELS["float32"]
    with statespan.attention(model, SEEN):
        assert _wrong(_logits(model, first + second, position_ids=places), answers) == []
        wrong = _wrong(_logits(model, first + second), answers)
    assert len(first) < min(wrong) < len(first) + 40
