"""Generation with an extended model: its cache is the whole pass, whatever is done with it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, DynamicCache, StaticCache

from statespan.errors import ConfigError, InputError
from statespan.memory import FullAttention, ShiftedAttention, SlidingAttention
from statespan.pretrained import attention, disable, enable, watch
from statespan.pretrained.span.cache import SpanLayer
from tests.pretrained.span.span_models import (
    CAUSAL,
    EVERY,
    LENGTH,
    assert_different,
    assert_same,
    fast_model,
    logits,
    span,
    span_model,
    tokens,
)
from tests.pretrained.tiny_models import in_pieces

FAMILY = pytest.mark.parametrize("family", EVERY)
SOME = pytest.mark.parametrize("family", ["llama", "bamba", "falcon_h1", "lfm3", "kimi_linear"])
GREEDY: dict[str, Any] = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}


@FAMILY
@pytest.mark.parametrize("selection", CAUSAL)
def test_step_by_step_is_the_whole_pass(family: str, selection: str) -> None:
    model, ids = fast_model(family), tokens(length=LENGTH)
    enable(model, span(family, selection=selection))
    pieces, cache = in_pieces(model, ids, [21, *[1] * 15, 5, *[1] * 4])
    assert_same(pieces, logits(model, ids))
    assert cache.get_seq_length() == LENGTH
    assert any(isinstance(layer, SpanLayer) for layer in cache.layers)


OTHERS: dict[str, Any] = {
    "a rule that draws": span(rule="random", seed=3),
    "the last blocks": span(rule="recency"),
    "several sizes of chunks": span(chunk=(8, 16, 24), seed=1),
    "a window and first blocks": span(local=6, keep_first=1, share="kv_group"),
    "landmarks": span(summary="landmark", share="layer"),
    "bounds": span(summary="bound", selection="token"),
    "a window alone": SlidingAttention(12),
}


@pytest.mark.parametrize("config", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("family", ["llama", "zamba2/blocks"])
def test_so_it_is_for_every_kind_of_choice(family: str, config: Any) -> None:
    model, ids = fast_model(family), tokens(length=LENGTH)
    enable(model, config)
    pieces, _ = in_pieces(model, ids, [18, *[1] * 10, 6, *[1] * 11])
    assert_same(pieces, logits(model, ids))


@FAMILY
def test_rows_padded_on_the_left_generate_as_alone(family: str) -> None:
    model, ids = fast_model(family), tokens(length=30)
    mask = torch.ones_like(ids)
    mask[0, :9] = 0
    enable(model, span(family))
    together = model.generate(ids, attention_mask=mask, max_new_tokens=8, **GREEDY)
    for row, begin in ((0, 9), (1, 0)):
        alone = model.generate(ids[row : row + 1, begin:], max_new_tokens=8, **GREEDY)
        assert together[row, begin:].tolist() == alone[0].tolist()


def rescored(model: Any, sequences: Tensor, prompt: int) -> Tensor:
    """Return the sum of log-probabilities of what follows the prompt, by one pass."""
    scores = logits(model, sequences).log_softmax(-1)[:, prompt - 1 : -1]
    return scores.gather(2, sequences[:, prompt:, None]).sum((1, 2))


@FAMILY
def test_scores_of_beams_are_those_of_rescoring(family: str) -> None:
    model, ids = fast_model(family), tokens(length=30)
    enable(model, span(family))
    beams = model.generate(
        ids, num_beams=3, num_return_sequences=3, max_new_tokens=6, length_penalty=0.0,
        return_dict_in_generate=True, output_scores=True, **GREEDY,
    )  # fmt: skip
    expected = rescored(model, beams.sequences, 30)
    torch.testing.assert_close(beams.sequences_scores, expected, atol=2e-4, rtol=1e-4)


@SOME
def test_sampling_and_greedy_need_no_cache_to_agree(family: str) -> None:
    model, ids = fast_model(family), tokens(length=30)
    enable(model, span(family, selection="running"))
    for more in ({"do_sample": False}, {"do_sample": True, "top_k": 5}):
        made = []
        for use_cache in (True, False):
            with torch.random.fork_rng(devices=[]):
                torch.random.manual_seed(1)
                settings = {**GREEDY, **more, "use_cache": use_cache, "max_new_tokens": 12}
                made.append(model.generate(ids, **settings))
        assert torch.equal(*made)


@SOME
def test_a_cache_is_continued_by_another_call(family: str) -> None:
    model, ids = fast_model(family), tokens(batch=1, length=40)
    enable(model, span(family))
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(ids[:, :25], past_key_values=cache, use_cache=True)
    copied = copy.deepcopy(cache)
    expected = model.generate(ids, max_new_tokens=5, **GREEDY)
    for past in (copied, cache):
        made = model.generate(ids, past_key_values=past, max_new_tokens=5, **GREEDY)
        assert torch.equal(made, expected)


def test_a_cache_without_a_config_will_do_for_a_model_of_attention_alone() -> None:
    model, ids = span_model("llama"), tokens(length=30)
    enable(model, span())
    with torch.no_grad():
        output = model(ids, past_key_values=DynamicCache(), use_cache=True)
    assert all(isinstance(layer, SpanLayer) for layer in output.past_key_values.layers)


def test_rows_are_repeated_reordered_and_selected() -> None:
    model, ids = span_model("llama"), tokens(batch=3, length=36)
    enable(model, span(selection="running"))
    expected = logits(model, ids)
    with torch.no_grad():
        cache = model(ids[:, :30], use_cache=True).past_key_values
        cache.batch_repeat_interleave(2)
        cache.reorder_cache(torch.tensor([5, 0, 2, 3, 4, 1]))
        cache.batch_select_indices(torch.tensor([0, 2, 5]))
        output = model(ids[[2, 1, 0], 30:], past_key_values=cache)
    assert_same(output.logits, expected[[2, 1, 0], 30:])


def test_tokens_are_taken_back_and_all_forgotten() -> None:
    model, ids = span_model("llama"), tokens(length=LENGTH)
    enable(model, span(selection="running"))
    expected = logits(model, ids)
    with torch.no_grad():
        cache = model(ids[:, :40], use_cache=True).past_key_values
        cache.crop(-7)
        assert cache.get_seq_length() == 33
        rest = model(ids[:, 33:], past_key_values=cache).logits
        assert_same(rest, expected[:, 33:])
        with pytest.raises(ValueError, match="positive"):
            cache.crop(7)
        cache.reset()
        assert cache.get_seq_length() == 0
        assert_same(model(ids, past_key_values=cache).logits, expected)


def test_an_assistant_makes_no_difference() -> None:
    model, helper, ids = span_model("llama"), span_model("qwen3"), tokens(batch=1, length=30)
    enable(model, span())
    enable(helper, span(selection="token", chunk=24))
    expected = model.generate(ids, max_new_tokens=12, **GREEDY)
    assisted = model.generate(ids, assistant_model=helper, max_new_tokens=12, **GREEDY)
    assert torch.equal(assisted, expected)
    lookup = model.generate(ids, prompt_lookup_num_tokens=3, max_new_tokens=12, **GREEDY)
    assert torch.equal(lookup, expected)


@SOME
def test_old_keys_and_values_may_be_elsewhere(family: str) -> None:
    model, ids = fast_model(family), tokens(length=LENGTH)
    enable(model, span(family), offload="cpu")
    pieces, cache = in_pieces(model, ids, [20, *[1] * 20, 5])
    assert_same(pieces, logits(model, ids))
    states = [layer.state for layer in cache.layers if isinstance(layer, SpanLayer)]
    assert states
    assert all(state.memory()[torch.device("cpu")] > 0 for state in states)


# What cannot be continued.


@pytest.mark.parametrize("use_cache", [True, False])
def test_what_is_not_causal_does_not_generate(use_cache: bool) -> None:
    model, ids = span_model("llama"), tokens()
    enable(model, span(selection="chunk"))
    with pytest.raises(ConfigError, match=r'is not causal.*enable selection = "previous"'):
        model.generate(ids, max_new_tokens=2, use_cache=use_cache, **GREEDY)
    enable(model, ShiftedAttention(8, wrap=True))
    with pytest.raises(ConfigError, match="enable a causal attention"):
        model.generate(ids, max_new_tokens=2, use_cache=use_cache, **GREEDY)
    enable(model, span(selection="chunk", rule="recency"))  # which asks no query
    model.generate(ids, max_new_tokens=2, use_cache=use_cache, **GREEDY)


def test_what_is_not_causal_may_be_called_as_it_is() -> None:
    model, ids = span_model("jamba"), tokens(length=LENGTH)
    enable(model, span(selection="chunk"))
    with torch.no_grad():
        output = model(ids)
    assert torch.equal(output.logits, logits(model, ids))
    with pytest.raises(ConfigError, match="is not causal"):
        model(ids[:, :1], past_key_values=output.past_key_values)


def test_shifted_attention_is_not_decoded() -> None:
    model, ids = span_model("llama"), tokens(length=LENGTH)
    enable(model, ShiftedAttention(8))
    assert_different(model(ids).logits, logits_of_stock(model, ids))
    with pytest.raises(ConfigError, match="ShiftedAttention"):
        model.generate(ids, max_new_tokens=2, **GREEDY)


def logits_of_stock(model: Any, ids: Tensor) -> Tensor:
    with attention(model, FullAttention()):
        return logits(model, ids)


def test_caches_do_not_change_sides() -> None:
    model, ids = span_model("bamba"), tokens(length=30)
    with torch.no_grad():
        stock = model(ids, use_cache=True).past_key_values
        enable(model, span())
        with pytest.raises(InputError, match=r"filled by stock attention \(30 tokens\)"):
            model(ids[:, :1], past_key_values=stock)
        ours = model(ids, use_cache=True).past_key_values
        enable(model, span(top_k=1))
        with pytest.raises(InputError, match="this cache was filled with SpanAttention"):
            model(ids[:, :1], past_key_values=ours)
        disable(model)
        with pytest.raises(InputError, match="enable\\(model, …\\) again"):
            model(ids[:, :1], past_key_values=ours)
        enable(model, span())
        position = torch.tensor([[30]])
        output = model(ids[:, :1], past_key_values=ours, position_ids=position)
    assert output.logits.isfinite().all()


def test_a_pass_that_failed_leaves_nothing_behind() -> None:
    model, ids = span_model("llama"), tokens(length=20)
    enable(model, span())
    with torch.no_grad():
        cache = model(ids, use_cache=True).past_key_values
        handle = model.model.norm.register_forward_pre_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model(ids[:, :1], past_key_values=cache)
        handle.remove()
        disable(model)
        with pytest.raises(InputError, match="begin with a new cache"):
            model(ids[:, :1], past_key_values=cache)


@pytest.mark.parametrize("family", ["llama", "zamba2"])
def test_static_caches_are_refused(family: str) -> None:
    model, ids = span_model(family), tokens()
    enable(model, span())
    with pytest.raises(InputError, match=r"needs a DynamicCache.*leave cache_implementation out"):
        model.generate(ids, cache_implementation="static", max_new_tokens=2, **GREEDY)
    cache = StaticCache(config=model.config, max_cache_len=64)
    with pytest.raises(InputError, match="StaticCache whose layer"):
        model(ids, past_key_values=cache)


def test_layers_that_slide_do_not_stand_for_those_that_do_not() -> None:
    model, ids = span_model("llama"), tokens()
    enable(model, span())
    other = AutoConfig.for_model("mistral", num_hidden_layers=2, sliding_window=8)
    with pytest.raises(InputError, match="layer 0 is a DynamicSlidingWindowLayer"):
        model(ids, past_key_values=DynamicCache(config=other))
    one = AutoConfig.for_model("llama", num_hidden_layers=1)
    with pytest.raises(InputError, match="layer 1 is missing"):
        model(ids, past_key_values=DynamicCache(config=one))
    with pytest.raises(InputError, match="must be a cache of transformers, got tuple"):
        model(ids, past_key_values=((ids, ids),))


def word_tokenizer() -> Any:
    """Return a tokenizer of the words w3, w4, …, whose ids are their numbers."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = {"<pad>": 0, "<begin>": 1, "<end>": 2} | {f"w{n}": n for n in range(3, 32)}
    words = Tokenizer(models.WordLevel(names, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "<pad>", "eos_token": "<end>"}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, padding_side="left", **special)
    tokenizer.model_max_length = 64
    return tokenizer


def text_of(ids: Tensor) -> str:
    return " ".join(f"w{n}" for n in ids.tolist())


def test_a_pipeline_uses_it() -> None:
    from transformers import pipeline

    model, ids = span_model("llama"), tokens(length=40)
    enable(model, span(top_k=1))
    writer = pipeline("text-generation", model=model, tokenizer=word_tokenizer(), device="cpu")
    settings = {"max_new_tokens": 6, "return_full_text": False, **GREEDY}
    with torch.random.fork_rng(devices=[]):
        made = writer([text_of(row) for row in ids], batch_size=2, **settings)
    expected = model.generate(ids, max_new_tokens=6, **GREEDY)[:, 40:]
    told = [[int(word[1:]) for word in one[0]["generated_text"].split()] for one in made]
    assert told == expected.tolist()
    disable(model)
    assert model.generate(ids, max_new_tokens=6, **GREEDY)[:, 40:].tolist() != told


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_harness_uses_it() -> None:
    harness: Any = pytest.importorskip("lm_eval.models.huggingface", reason="lm_eval is an extra")
    from lm_eval.api.instance import Instance

    model, ids = span_model("llama"), tokens(length=40)
    config = span(top_k=1)
    enable(model, config)
    judge = harness.HFLM(pretrained=model, tokenizer=word_tokenizer(), batch_size=2, max_length=64)
    texts = [(text_of(row[:33]), " " + text_of(row[33:])) for row in ids]
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in texts]
    with torch.random.fork_rng(devices=[]):
        scored = [score for score, _ in judge.loglikelihood(requests, disable_tqdm=True)]
    expected = logits(model, ids).log_softmax(-1)[:, 32:-1]
    expected = expected.gather(2, ids[:, 33:, None]).sum((1, 2))
    torch.testing.assert_close(torch.tensor(scored), expected, atol=1e-3, rtol=1e-4)
    until = {"until": ["w1"], "max_gen_toks": 5, "do_sample": False}
    asked = [Instance("generate_until", {}, (text, until), 0) for text, _ in texts]
    with torch.random.fork_rng(devices=[]), watch(model) as seen:
        judge.generate_until(asked, disable_tqdm=True)
    assert seen
