"""Models, inputs and calls that are refused, with what to do instead; odd ones that work."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM
from transformers.masking_utils import create_causal_mask

from statespan.errors import ConfigError, InputError
from statespan.memory import ShiftedAttention, SpanAttention
from statespan.pretrained import attention_setting, disable, enable
from statespan.pretrained.span.passes import HERE, Pass
from tests.pretrained.span.span_models import (
    LENGTH,
    assert_same,
    logits,
    positions,
    span,
    span_model,
    tokens,
)
from tests.pretrained.tiny_models import TOKENS, tiny_model

SMALL = {
    "vocab_size": 32, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": 0,
}  # fmt: skip


def made(family: str, kind: Any = AutoModelForCausalLM, **settings: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        return kind.from_config(AutoConfig.for_model(family, **settings)).eval()


REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "no attention": ("mamba", {**TOKENS, "state_size": 4}, "MambaModel has no attention layer"),
    "a cache of its own": (
        "minimax",
        {**SMALL, "layer_types": ["linear_attention", "full_attention"], "num_local_experts": 2},
        "takes no cache but its own, MiniMaxCache.*span_attention in code of your own",
    ),
    "a recurrence beside what slides": (
        "recurrent_gemma",
        {**SMALL, "num_hidden_layers": 3, "lru_width": 32, "head_dim": 16},
        "all attention of RecurrentGemmaModel slides, and a recurrence.*use the model as it is",
    ),
    "an indexer": (
        "qwen4_exp_text",
        {
            **SMALL,
            "layer_types": ["full_attention"] * 2,
            "indexer_n_heads": 2,
            "indexer_kv_heads": 1,
            "indexer_head_dim": 16,
            "head_dim": 16,
            "indexer_budget": 8,
            "indexer_compress_ratio": 4,
        },
        "not keys and values alone",
    ),
}


@pytest.mark.parametrize(("family", "settings", "message"), REFUSED.values(), ids=REFUSED)
def test_models_that_cannot_be_extended(
    family: str, settings: dict[str, Any], message: str
) -> None:
    model = made(family, **settings)
    before = model.config.to_json_string(), model.config._attn_implementation
    with pytest.raises(InputError, match=message):
        enable(model, span())
    assert (model.config.to_json_string(), model.config._attn_implementation) == before


def test_models_that_attend_both_ways_are_refused() -> None:
    with pytest.raises(InputError, match="BertModel attends in both directions"):
        enable(made("bert", AutoModel, **SMALL), span())


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(InputError, match=r"must be a torch.nn.Module, got str"):
        enable("llama", span())  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"model of transformers, got ReLU; .*span_attention"):
        enable(nn.ReLU(), span())
    with pytest.raises(InputError, match=r"must be a torch.nn.Module, got NoneType"):
        disable(None)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"must be a torch.nn.Module, got int"):
        attention_setting(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ["kimi_linear", "bailing_hybrid"])
@pytest.mark.parametrize("summary", ["attention", "value", "landmark"])
def test_latent_attention_takes_no_summary_of_values(family: str, summary: str) -> None:
    model, ids = span_model(family), tokens(length=LENGTH)
    with pytest.raises(InputError, match="use summary='key'"):
        enable(model, span(summary=summary))
    enable(model, span(summary=summary, rule="recency"))  # which compares nothing
    assert logits(model, ids).isfinite().all()


def test_a_model_that_slides_throughout_is_extended_up_to_its_window() -> None:
    model, ids = span_model("mistral", sliding_window=24), tokens(length=LENGTH)
    with pytest.raises(
        ConfigError, match=r"slides over 24 tokens, so chunk must be at most 24, got 32"
    ):
        enable(model, span(chunk=(16, 32)))
    extension = enable(model, span(rule="all"))
    assert not extension.kept
    whole = span_model("mistral")
    assert_same(logits(model, ids), logits(whole, ids))
    enable(model, span())
    enable(whole, span())
    assert_same(logits(model, ids), logits(whole, ids))
    settings = {"max_new_tokens": 8, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    assert torch.equal(model.generate(ids, **settings), whole.generate(ids, **settings))


# Calls.


def test_masks_of_ones_own_are_refused() -> None:
    model, ids = span_model("llama"), tokens(length=8)
    enable(model, span())
    mask = torch.ones(2, 1, 8, 8, dtype=torch.bool).tril()
    with pytest.raises(
        InputError, match=r"attention_mask must be \(batch, length\).*\[2, 1, 8, 8\]"
    ):
        model(ids, attention_mask=mask)
    with pytest.raises(InputError, match=r"got a dict: .*statespan.disable"):
        model(ids, attention_mask={"full_attention": mask})
    with pytest.raises(InputError, match="is_causal must be left True"):
        model(ids, is_causal=False)
    with pytest.raises(InputError, match="output_attentions must be False"):
        model(ids, output_attentions=True)
    with pytest.raises(ValueError, match="input_ids"):  # the model's own words
        model()


def overlay(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return query == key + 1


@pytest.mark.parametrize(
    "more",
    [
        {"or_mask_function": overlay},
        {"and_mask_function": overlay},
        {"block_sequence_ids": torch.tensor([[-1, -1, 0, 0, 0, -1]])},
    ],
)
def test_masks_that_are_overlaid_are_refused(more: dict[str, Any]) -> None:
    model = span_model("llama")
    enable(model, span())
    given = {"config": model.config, "inputs_embeds": torch.zeros(1, 6, 4), "attention_mask": None}
    given |= {"past_key_values": None, "position_ids": torch.tensor([[0, 1, 2, 0, 1, 2]])}
    HERE.enter(Pass(span()), ())
    try:
        assert isinstance(create_causal_mask(**given), Pass)
        with pytest.raises(InputError, match="overlays its causal mask with another"):
            create_causal_mask(**given, **more)
    finally:
        HERE.leave()
    assert not isinstance(create_causal_mask(**given), Pass)


def test_scores_that_are_capped_and_sinks_are_refused() -> None:
    gemma = made("gemma2", **SMALL, head_dim=16, sliding_window=8)
    extension = enable(gemma, span())
    assert extension.kept
    with pytest.raises(InputError, match="Gemma2Attention caps its scores"):
        gemma(tokens())
    oss = made("gpt_oss", **SMALL, head_dim=16, sliding_window=8, num_local_experts=2)
    enable(oss, span())
    with pytest.raises(InputError, match=r"GptOssAttention lets tokens attend to a sink"):
        oss(tokens())


# Odd input.


@pytest.mark.parametrize("family", ["llama", "lfm3", "falcon_h1", "kimi_linear", "zaya"])
def test_empty_batches_and_rows_of_padding(family: str) -> None:
    model, ids = span_model(family), tokens(batch=3, length=LENGTH)
    enable(model, span(family))
    mask = torch.ones_like(ids)
    mask[1] = 0
    outputs = logits(model, ids, attention_mask=mask, position_ids=positions(mask))
    assert outputs.isfinite().all()
    assert_same(outputs[::2], logits(model, ids[::2]))
    # Stock models fail on no rows, in words that say nothing.
    with pytest.raises(InputError, match=r"must hold a token, got the shape \[0, 45\]"):
        model(ids[:0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "bamba", "olmo_hybrid"])
def test_half_precision_on_a_cpu(family: str, dtype: torch.dtype) -> None:
    model, ids = tiny_model(family, dtype), tokens(length=LENGTH)
    expected = logits(model, ids)
    enable(model, span(family, rule="all"))
    outputs = logits(model, ids)
    assert outputs.dtype is dtype
    spread = expected.float().std()
    assert (outputs - expected).float().abs().max() < 60 * torch.finfo(dtype).eps * spread
    enable(model, span(family))
    assert model.generate(ids, max_new_tokens=3, do_sample=False, pad_token_id=0).shape[0] == 2


def test_fewer_past_blocks_than_are_asked_for() -> None:
    model, ids = span_model("llama"), tokens(length=LENGTH)
    enable(model, span(top_k=100))
    many = logits(model, ids)
    enable(model, span(rule="all"))
    assert_same(logits(model, ids), many)
    enable(model, span(chunk=8, top_k=3))
    assert logits(model, ids[:, :3]).isfinite().all()


def test_bad_configurations_are_refused_before_the_model_is_touched() -> None:
    model = span_model("llama")
    for changes, message in (
        ({"block": 5}, "block must divide chunk"),
        ({"top_k": -1}, "top_k must be a whole number, at least 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            enable(model, span(**changes))
    assert attention_setting(model).config is None
    assert SpanAttention(top_k=0).rule == "none"
    assert ShiftedAttention(8).causal
