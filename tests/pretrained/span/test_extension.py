"""What `enable` does to a model, how it is undone, and what a checkpoint says of it."""

from __future__ import annotations

import copy
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import statespan
from statespan.errors import ConfigError, InputError
from statespan.memory import (
    RECALL,
    FullAttention,
    SlidingAttention,
    SpanAttention,
    mixture_of_blocks,
)
from statespan.pretrained import AttentionSetting, attention, attention_setting, disable, enable
from tests.pretrained.span.span_models import (
    EVERY,
    LENGTH,
    assert_different,
    assert_same,
    logits,
    span,
    span_model,
    tokens,
)


def attributes(model: Any) -> dict[str, dict[str, Any]]:
    return {
        name: {key: copy.copy(value) for key, value in vars(module).items()}
        for name, module in model.named_modules()
    }


@pytest.mark.parametrize("family", EVERY)
def test_undone_it_is_as_if_it_had_never_been(family: str, tmp_path: Path) -> None:
    model, ids = span_model(family), tokens(length=LENGTH)
    expected, before = logits(model, ids), attributes(model)
    said, implementation = model.config.to_json_string(), model.config._attn_implementation
    enable(model, span(family))
    assert_different(logits(model, ids), expected)
    enable(model, span(family, top_k=1))
    disable(model)
    assert torch.equal(logits(model, ids), expected)
    assert model.config.to_json_string() == said
    assert model.config._attn_implementation == implementation
    assert attributes(model) == before
    disable(model)


def test_blocks_may_be_nested_and_fail() -> None:
    model, ids = span_model("bamba"), tokens(length=LENGTH)
    stock = logits(model, ids)
    with attention(model, span()) as outer:
        once = logits(model, ids)
        with attention(model, span(top_k=0)):
            none = logits(model, ids)
            with pytest.raises(ZeroDivisionError), attention(model, FullAttention()):
                assert torch.equal(logits(model, ids), stock) / 0
            assert torch.equal(logits(model, ids), none)
        assert torch.equal(logits(model, ids), once)
        assert attention_setting(model).config == outer.config == span()
    assert torch.equal(logits(model, ids), stock)
    assert attention_setting(model) == AttentionSetting()
    assert_different(once, stock)
    assert_different(none, once)


def test_what_was_done_is_told_and_can_be_undone() -> None:
    model, ids = span_model("lfm3"), tokens(length=LENGTH)
    stock = logits(model, ids)
    with enable(model, span()) as extension:
        assert extension.model is model
        assert extension.extended == ("model.layers.1.self_attn", "model.layers.3.self_attn")
        assert extension.kept == {"model.layers.2.self_attn": "it slides over 8 tokens"}
        first, _, last = str(extension).splitlines()
        assert first.startswith("model.layers.1.self_attn: SpanAttention(chunk=16, block=8")
        assert last == "model.layers.2.self_attn: as it was, for it slides over 8 tokens"
    assert torch.equal(logits(model, ids), stock)
    full = enable(model, FullAttention())
    assert full.extended == ()
    assert full.kept["model.layers.1.self_attn"] == "full attention is what it has"
    assert torch.equal(logits(model, ids), stock)


def test_enabling_again_replaces_what_was_enabled() -> None:
    model, ids = span_model("bamba"), tokens(length=LENGTH)
    stock = logits(model, ids)
    with attention(model, span(top_k=1)):
        fresh = logits(model, ids)
    for config in (span(top_k=0), span(summary="key"), span(top_k=1)):
        enable(model, config)
    assert attention_setting(model).config == span(top_k=1)
    assert torch.equal(logits(model, ids), fresh)
    disable(model)
    assert torch.equal(logits(model, ids), stock)


def test_an_attention_that_was_chosen_before_comes_back() -> None:
    model = span_model("llama")
    model.set_attn_implementation("eager")
    with attention(model, span()):
        assert model.config._attn_implementation == "statespan"
    assert model.config._attn_implementation == "eager"


def test_each_model_has_its_own() -> None:
    first, second, third = (span_model("llama") for _ in range(3))
    ids = tokens(length=LENGTH)
    stock = logits(third, ids)
    expected = []
    for config in (span(), span(top_k=0)):
        with attention(first, config):
            expected.append(logits(first, ids))
    enable(first, span())
    enable(second, span(top_k=0))
    with ThreadPoolExecutor(3) as threads:
        models = [first, second, third] * 8
        for outputs, want in zip(
            threads.map(lambda model: logits(model, ids), models),
            [*expected, stock] * 8,
            strict=True,
        ):
            assert torch.equal(outputs, want)


def test_models_that_share_a_config_are_not_confused() -> None:
    first = span_model("llama")
    with torch.random.fork_rng(devices=[]):
        second = type(first)(first.config)
    second.load_state_dict(first.state_dict())
    second.eval()
    ids = tokens(length=LENGTH)
    stock = logits(second, ids)
    enable(first, span())
    assert torch.equal(logits(second, ids), stock)
    disable(first)
    assert torch.equal(logits(first, ids), stock)


def test_an_attention_that_is_set_afterwards_is_told() -> None:
    model = span_model("llama")
    enable(model, span())
    model.set_attn_implementation("sdpa")
    with pytest.raises(InputError, match=r"was set to 'sdpa' since statespan.enable"):
        model(tokens())
    enable(model, span())
    model(tokens())


def test_copies_are_extended_by_themselves() -> None:
    model, ids = span_model("zamba2"), tokens(length=LENGTH)
    stock = logits(model, ids)
    enable(model, span())
    expected = logits(model, ids)
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    for twin in (copy.deepcopy(model), torch.load(buffer, weights_only=False)):
        assert torch.equal(logits(twin, ids), expected)
        enable(twin, span(top_k=0))
        assert torch.equal(logits(model, ids), expected)
        disable(twin)
        assert torch.equal(logits(twin, ids), stock)
        assert torch.equal(logits(model, ids), expected)


# What a checkpoint says.


def loaded(folder: Path) -> Any:
    with torch.random.fork_rng(devices=[]):
        return AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize("family", EVERY)
def test_a_checkpoint_keeps_what_was_enabled(family: str, tmp_path: Path) -> None:
    model, ids = span_model(family), tokens(length=LENGTH)
    config = span(family, chunk=(16, 32), selection="running", local=3)
    enable(model, config)
    expected = logits(model, ids)
    model.save_pretrained(tmp_path)
    reloaded = loaded(tmp_path)
    assert attention_setting(reloaded) == AttentionSetting(config)
    assert reloaded.config._attn_implementation == "sdpa"
    before = reloaded.config.to_json_string()
    extension = enable(reloaded)
    assert extension.config == config
    assert_same(logits(reloaded, ids), expected)
    disable(reloaded)
    assert reloaded.config.to_json_string() == before
    disable(model)
    model.save_pretrained(tmp_path)
    assert "statespan" not in json.loads((tmp_path / "config.json").read_text())


def test_a_checkpoint_says_that_it_was_trained_so(tmp_path: Path) -> None:
    model, ids = span_model("bamba"), tokens()
    config = span(chunk=(8, 16, 24))
    with attention(model, config):
        for _ in range(3):
            model.train()(ids, labels=ids).loss.backward()
    assert attention_setting(model) == AttentionSetting(None, config, 3)
    model.save_pretrained(tmp_path)
    assert "trained" in json.loads((tmp_path / "config.json").read_text())["statespan"]
    reloaded = loaded(tmp_path)
    assert attention_setting(reloaded).trained
    assert enable(reloaded.train()).config == config
    expected = model.train()
    enable(expected, config, step=3)
    outputs = [one(ids).logits.detach() for one in (expected, reloaded)]  # the fourth step of both
    assert_same(*outputs)
    assert attention_setting(reloaded).steps == 4


@pytest.mark.parametrize("config", [SlidingAttention(8, sinks=2), mixture_of_blocks(8, 3)])
def test_other_kinds_of_attention_are_kept_too(config: Any, tmp_path: Path) -> None:
    model, ids = span_model("llama"), tokens(length=LENGTH)
    enable(model, config)
    expected = logits(model, ids)
    model.save_pretrained(tmp_path)
    reloaded = loaded(tmp_path)
    assert enable(reloaded).config == config
    assert_same(logits(reloaded, ids), expected)


def test_a_setting_that_means_nothing_is_told() -> None:
    model = span_model("llama")
    model.config.statespan = {"attention": {"kind": "SpanAttentoin"}}
    with pytest.raises(ConfigError, match="Did you mean SpanAttention"):
        enable(model)
    model.config.statespan = {"attention": {"kind": "SlidingAttention", "width": 3}}
    with pytest.raises(ConfigError, match="sets no SlidingAttention"):
        enable(model)
    model.config.statespan = {"attention": {"kind": "SpanAttention", "chunks": 3}}
    with pytest.raises(ConfigError, match="has no field 'chunks'"):
        attention_setting(model)


def test_without_a_config_it_recalls_and_can_be_decoded() -> None:
    model, ids = span_model("bamba"), tokens(length=8)
    assert enable(model).config == RECALL
    assert RECALL.causal
    assert model.generate(ids, max_new_tokens=2, do_sample=False).shape == (len(ids), 10)


@pytest.mark.parametrize("config", ["sdpa", "flash_attention_2", {"chunk": 16}, 3])
def test_what_is_no_attention_is_refused_and_nothing_is_lost(config: Any) -> None:
    model = span_model("llama")
    enable(model, SpanAttention(chunk=16, block=8))
    with pytest.raises(ConfigError, match="config must be one of FullAttention, Shifted"):
        enable(model, config)
    assert attention_setting(model).config == SpanAttention(chunk=16, block=8)


def test_it_is_offered_at_the_top() -> None:
    model = span_model("llama")
    statespan.enable(model, statespan.SpanAttention(chunk=16, block=8))
    statespan.disable(model)
    with statespan.attention(model, statespan.SpanAttention(chunk=16, block=8, top_k=0)):
        setting = statespan.attention_setting(model)
    assert isinstance(setting.config, SpanAttention)
    assert setting.config.rule == "none"
