"""The recall checkpoint: right on every document, and proved; what breaks it is seen."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from statespan.compiler.folder import build_model
from statespan.compiler.weights import convert
from statespan.conformance.protocol import Scores
from statespan.conformance.recall import recall_weights
from statespan.conformance.recall_answers import (
    RECALL_ALPHABET,
    recall_answers,
    sample_cycle,
    sample_pairs,
)
from statespan.conformance.recall_certificate import certify_recall, measure_recall
from statespan.conformance.recall_checkpoint import RecallCheckpoint, make_recall_checkpoint
from statespan.errors import InputError
from statespan.training import BOS, EOS, PAD, Vocabulary

SIZE = Vocabulary(RECALL_ALPHABET).size
SYMBOLS = st.integers(PAD + 1, SIZE - 1)
DOCUMENTS = st.one_of(
    st.lists(SYMBOLS, max_size=50), st.lists(st.integers(PAD + 1, PAD + 3), max_size=50)
).map(lambda word: (BOS, *word))


MODELS = {
    dtype: build_model(recall_weights().config, convert(recall_weights(), dtype), dtype)
    for dtype in ("float32", "bfloat16")
}


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> PreTrainedModel:
    return MODELS[request.param]


@torch.inference_mode()
def _logits(model: Any, tokens: Any, **kwargs: Any) -> torch.Tensor:
    return model(input_ids=torch.tensor([tokens]), **kwargs).logits[0].float()


def _wrong(logits: torch.Tensor, answers: list[frozenset[int] | None]) -> list[int]:
    said = [frozenset(row.nonzero().flatten().tolist()) for row in logits > 0]
    pairs = enumerate(zip(said, answers, strict=True))
    return [place for place, (given, right) in pairs if right is not None and given != right]


@given(DOCUMENTS)
def test_the_answer_is_what_followed_before(tokens: tuple[int, ...]) -> None:
    for place, answer in enumerate(recall_answers(tokens)):
        after = {tokens[i + 1] for i in range(1, place) if tokens[i] == tokens[place]} or {EOS}
        assert answer == (frozenset(after) if len(after) == 1 else None)


@pytest.mark.parametrize("end", [EOS, PAD, BOS])
def test_nothing_is_promised_from_another_special_token_on(end: int) -> None:
    assert recall_answers((BOS, 3, 3, end, 3)) == [{EOS}, {EOS}, {3}, None, None]
    assert recall_answers((3, 4)) == [None, None]


@given(DOCUMENTS)
def test_the_model_is_right_on_every_document(tokens: tuple[int, ...]) -> None:
    for dtype in ("float32", "bfloat16"):
        logits, answers = _logits(MODELS[dtype], tokens), recall_answers(tokens)
        assert _wrong(logits, answers) == []
        margins = [
            (row * torch.tensor([1.0 if i in answer else -1.0 for i in range(SIZE)])).min()
            for row, answer in zip(logits, answers, strict=True)
            if answer is not None
        ]
        assert float(min(margins)) > 63


def test_the_certificate_is_of_every_distance_and_measured(model: PreTrainedModel) -> None:
    certificate = certify_recall(model, lengths=(3, 200))
    assert certificate.length == 2**17
    assert certificate.previous_gap > 70
    assert min(certificate.match_gap, certificate.sink_gap) > 40
    assert certificate.leak < 1e-12
    assert min(certificate.margin, certificate.measured_margin) > 63
    assert certificate.measured_answers > 200


BREAKS = {
    "a weak previous token": ("0.self_attn.q_proj", lambda w: w * 0.1, "attention leaks"),
    "no previous token": ("0.self_attn.q_proj", lambda w: w.abs(), "attention leaks"),
    "a weak match": ("1.self_attn.k_proj", lambda w: w * 0.2, "attention leaks"),
    "another match": ("1.self_attn.k_proj", lambda w: w.roll(1, 0), "attention leaks"),
    "fast rotations": ("1.self_attn.[qk]_proj", lambda w: w + w.roll(84, 0), "on the distance"),
    "another copy": ("1.self_attn.o_proj", lambda w: w.roll(1, 0), "on the right side of 0"),
    "keys by token": ("0.self_attn.k_proj", lambda w: w + w.roll(-120, 1), "looks at the tokens"),
    "queries by two": ("1.self_attn.q_proj", lambda w: w + w.roll(40, 1), "look further back"),
    "values by two": ("1.self_attn.v_proj", lambda w: w + w.roll(40, 1), "depends on more"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_another_model_has_no_certificate(what: str) -> None:
    name, change, message = BREAKS[what]
    weights = recall_weights()
    tensors = convert(weights, "float32")
    for found in [found for found in tensors if re.search(name, found)]:
        tensors[found] = change(tensors[found])
    with pytest.raises(InputError, match=message):
        certify_recall(build_model(weights.config, tensors, "float32"))


def test_a_model_that_only_runs_wrongly_has_no_certificate(model: PreTrainedModel) -> None:
    handle = model.model.layers[1].register_forward_hook(lambda module, given, out: out * 0)
    try:
        with pytest.raises(InputError, match="the recall checkpoint is wrong, by a logit of -"):
            certify_recall(model, lengths=(100,))
    finally:
        handle.remove()


def test_rotations_are_those_of_transformers(model: PreTrainedModel) -> None:
    from statespan.conformance.recall import rotations

    found: Any = model.model.rotary_emb.inv_freq
    torch.testing.assert_close(found, rotations().float(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("sample", [sample_cycle, sample_pairs])
@pytest.mark.parametrize("length", [1, 2, 3, 20, 76, 400])
def test_documents_are_as_long_as_asked_and_mostly_defined(sample: Any, length: int) -> None:
    tokens = sample(length, rng=Random(length))
    assert len(tokens) == length
    assert tokens[0] == BOS
    answers = recall_answers(tokens)
    assert len(answers) == length
    recalled = [answer for answer in answers if answer not in {None, frozenset({EOS})}]
    assert len(recalled) >= (length - 1) // 8 or length < 20
    assert sample(length, rng=Random(length)) == tokens
    with pytest.raises(InputError, match="length must be at least 1"):
        sample(0, rng=Random(0))


def test_padding_that_no_mask_hides_is_seen(model: PreTrainedModel) -> None:
    tokens = sample_cycle(60, rng=Random(1))
    answers: Any = [None] * 3 + recall_answers(tokens)
    padded = (PAD,) * 3 + tokens
    mask = torch.tensor([[0] * 3 + [1] * len(tokens)])
    assert _wrong(_logits(model, padded, attention_mask=mask), answers) == []
    wrong = _wrong(_logits(model, padded), answers)
    assert wrong == list(range(3, 63))
    said = _logits(model, padded)[3:].argmax(dim=-1)
    assert said.tolist() == [BOS] * 60


def test_a_shifted_position_is_seen(model: PreTrainedModel) -> None:
    """Each piece of 16 tokens begins at position 0 again."""
    tokens = sample_cycle(100, rng=Random(2))
    cache: Any = None
    found = []
    for piece in torch.split(torch.tensor([tokens]), 16, dim=1):
        positions = torch.arange(piece.shape[1])[None]
        with torch.inference_mode():
            output: Any = model(input_ids=piece, past_key_values=cache, position_ids=positions)
        cache = output.past_key_values
        found.append(output.logits[0].float())
    assert _wrong(torch.cat(found), recall_answers(tokens))


def test_a_mask_that_is_not_causal_is_seen(model: PreTrainedModel) -> None:
    tokens = sample_cycle(100, rng=Random(3))
    seen = torch.ones(1, 1, 100, 100, dtype=torch.bool)
    assert _wrong(_logits(model, tokens, attention_mask=seen.tril()), recall_answers(tokens)) == []
    assert _wrong(_logits(model, tokens, attention_mask=seen), recall_answers(tokens))


def test_documents_that_are_not_kept_apart_are_seen(model: PreTrainedModel) -> None:
    first = sample_pairs(60, rng=Random(4))
    second = sample_pairs(60, rng=Random(5))
    answers = recall_answers(first) + recall_answers(second)
    apart = torch.block_diag(torch.ones(60, 60), torch.ones(60, 60)).tril().bool()[None, None]
    places = torch.arange(60).repeat(2)[None]
    logits = _logits(model, first + second, attention_mask=apart, position_ids=places)
    assert _wrong(logits, answers) == []
    leaking = _logits(model, first + second)
    assert min(_wrong(leaking, answers)) >= 60


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_folder_is_one_of_transformers_with_its_answers(tmp_path: Path, dtype: str) -> None:
    made = make_recall_checkpoint(tmp_path / "recall", dtype=dtype)
    checkpoint = RecallCheckpoint(tmp_path / "recall")
    assert (checkpoint.name, checkpoint.certificate) == (made.name, made.certificate)
    assert checkpoint.dtype == dtype
    assert "131072 tokens" in checkpoint.promise
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "recall", dtype="auto")
    assert loaded.dtype == {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "recall")
    tokens = tuple(tokenizer("a1b2.a")["input_ids"])
    assert [checkpoint.symbols[token] for token in tokens] == ["<s>", *"a1b2.a"]
    scores = Scores(_logits(loaded, tokens))
    answers = checkpoint.expected(tokens)
    assert answers[-1] == frozenset({tokens[2]})
    assert checkpoint.said(scores) == answers
    assert checkpoint.margin(scores, answers) > 63
    log_probabilities = Scores(scores.values.log_softmax(dim=-1), are_logits=False)
    assert checkpoint.said(log_probabilities) == answers
    assert checkpoint.margin(log_probabilities, answers) > 3
    wrong = Scores(-scores.values)
    assert checkpoint.margin(wrong, answers) < -63
    assert checkpoint.facts(tokens[:4]) == {"what followed a": "1", "what followed 1": "b"}


def test_a_wrong_answer_is_a_fact_that_was_lost(tmp_path: Path) -> None:
    checkpoint = make_recall_checkpoint(tmp_path)
    tokens = tuple(Vocabulary(RECALL_ALPHABET).encode("a1b2a"))
    facts = checkpoint.facts(tokens)
    forgotten = checkpoint.confusions(tokens, frozenset({EOS}))
    assert forgotten == [{key: facts[key] for key in facts if key != "what followed a"}]
    other = checkpoint.confusions(tokens, frozenset({tokens[4]}))
    assert other == [{**facts, "what followed a": "2"}]
    assert checkpoint.confusions(tokens, frozenset({3, 4})) == []


def test_what_is_no_recall_checkpoint_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "recall"
    with pytest.raises(InputError, match="dtype must be float32 or bfloat16"):
        make_recall_checkpoint(folder, dtype="float16")
    make_recall_checkpoint(folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b" ")
    with pytest.raises(InputError, match="is of other weights"):
        RecallCheckpoint(folder)
    (folder / "certificate.json").write_text("{}")
    with pytest.raises(InputError, match=r"certificate\.json is broken"):
        RecallCheckpoint(folder)
    (folder / "certificate.json").unlink()
    with pytest.raises(InputError, match="has no certificate"):
        RecallCheckpoint(folder)


@pytest.mark.slow
def test_long_documents(model: PreTrainedModel) -> None:
    margin, number = measure_recall(model, [4_096])
    assert margin > 63
    assert number > 2_000
