"""A merged model is the model with its adapters, also where a weight is in several places."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

import statespan
from statespan.adapters import adapt, hylora, merge
from statespan.errors import AdapterError, InputError
from statespan.pretrained.structure import structure
from tests.adapters.adapted_models import RANK, adapted, assert_close, disturb, logits
from tests.pretrained.tiny_models import SPAN_FAMILIES, tiny_model, tokens

EVERY = pytest.mark.parametrize("family", SPAN_FAMILIES)
SHARED = [family for family in SPAN_FAMILIES if family.startswith("zamba")]


def by_peft(model: Any, **options: Any) -> Any:
    """Return `model` with adapters that PEFT put there and that act."""
    options = {"target_modules": ["q_proj"], "task_type": "CAUSAL_LM", **options}
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        config = peft.LoraConfig(r=RANK, init_lora_weights=False, **options)
        return peft.get_peft_model(model, config)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_refused(model: Any, message: str, **options: Any) -> None:
    """Merge in vain, and see that nothing has changed."""
    before, outputs = state(model), logits(model)
    with pytest.raises(AdapterError, match=message):
        merge(model, **options)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert torch.equal(logits(model), outputs)


@EVERY
@pytest.mark.parametrize("more", [False, True])
def test_merged_it_gives_the_same_logits(family: str, more: bool, tmp_path: Path) -> None:
    plain = logits(tiny_model(family))
    ssm_projections = more and bool(structure(tiny_model(family)).mixers)
    wrapped = disturb(adapted(family, ssm_projections=ssm_projections))
    expected = logits(wrapped)
    assert (expected - plain).abs().max() > 0.1
    merged = statespan.merge(wrapped)
    assert type(merged) is type(tiny_model(family))
    assert merged.state_dict().keys() == tiny_model(family).state_dict().keys()
    assert_close(logits(merged), expected)
    shared = structure(tiny_model(family))
    assert (structure(merged).shared, structure(merged).is_tied) == (shared.shared, shared.is_tied)
    merged.save_pretrained(tmp_path)  # type: ignore[operator]
    with torch.random.fork_rng(devices=[]):
        again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert_close(logits(again), expected)


@pytest.mark.parametrize("family", SHARED)
def test_peft_s_own_merge_is_off_where_a_weight_is_in_several_places(family: str) -> None:
    wrapped = disturb(adapted(family, method="lora"))
    expected = logits(wrapped)
    effect = (expected - logits(tiny_model(family))).abs().max()
    assert (logits(wrapped.merge_and_unload()) - expected).abs().max() > effect / 10


@pytest.mark.parametrize("family", [*SHARED, "lfm2", "zaya"])
def test_what_peft_loaded_is_merged_as_well(family: str, tmp_path: Path) -> None:
    wrapped = disturb(adapted(family))
    expected = logits(wrapped)
    wrapped.save_pretrained(tmp_path)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing")
        again = peft.PeftModel.from_pretrained(tiny_model(family), tmp_path)
    merged = merge(again)
    assert_close(logits(merged), expected)
    assert structure(merged).shared == structure(tiny_model(family)).shared


def test_an_untied_head_is_merged_and_said_to_be_one(tmp_path: Path) -> None:
    options = {"modules_to_save": ["embed_tokens"]}
    wrapped = by_peft(tiny_model("llama/tied"), **options)
    expected = logits(disturb(wrapped))
    with pytest.warns(UserWarning, match="no longer tied after merging"):
        merged: Any = merge(wrapped)
    assert_close(logits(merged), expected)
    merged.save_pretrained(tmp_path)
    with torch.random.fork_rng(devices=[]):
        again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert_close(logits(again), expected)


def test_bfloat16_is_merged_up_to_its_roundings() -> None:
    model = tiny_model("bamba", torch.bfloat16)
    wrapped = disturb(adapt(model, hylora(model, RANK, 2 * RANK)))
    expected = logits(wrapped)
    assert_close(logits(merge(wrapped)), expected, tolerance=0.05)


@pytest.mark.parametrize("training", [True, False])
def test_it_is_compared_in_evaluation_and_left_in_its_mode(training: bool) -> None:
    wrapped = disturb(adapted("llama", changes={"attention_dropout": 0.5})).train(training)
    merged = merge(wrapped, {"input_ids": tokens()})
    assert {module.training for module in merged.modules()} == {training}


def test_variants_of_lora_are_merged() -> None:
    wrapped = disturb(by_peft(tiny_model("bamba"), use_dora=True))
    expected = logits(wrapped)
    assert_close(logits(merge(wrapped)), expected)


def test_adapters_that_differ_around_one_weight_are_refused() -> None:
    assert_refused(by_peft(tiny_model("zamba")), "have one weight and different adapters")
    some = by_peft(tiny_model("zamba2"), target_modules=r".*layers\.1\..*q_proj")
    assert_refused(some, "have one weight and different adapters")


def test_an_adapter_that_does_not_act_is_refused() -> None:
    wrapped = by_peft(tiny_model("jamba"), target_modules=["q_proj", "dt_proj"])
    assert_refused(wrapped, "merged, the logits differ by")
    statespan.accelerate(wrapped)  # where it acts
    expected = logits(wrapped)
    assert_close(logits(merge(wrapped)), expected, tolerance=1e-4)


def test_a_grouped_convolution_s_adapter_is_refused() -> None:
    model = tiny_model("bamba")
    wrapped = by_peft(model, target_modules=["conv1d"], rank_pattern={"conv1d": 96})
    assert_refused(wrapped, "the adapters cannot be merged: ")


def test_weights_that_are_no_numbers_are_refused() -> None:
    wrapped = disturb(adapted("llama", method="lora"))
    with torch.no_grad():
        for name, weight in wrapped.named_parameters():
            if name.endswith("layers.1.self_attn.k_proj.lora_B.default.weight"):
                weight.fill_(torch.inf)
    before = state(wrapped)
    with pytest.raises(AdapterError, match="the adapters cannot be merged: NaNs detected"):
        merge(wrapped)
    after = wrapped.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_tolerance_may_be_given() -> None:
    assert_refused(disturb(adapted("bamba")), "merged, the logits differ by", tolerance=0.0)


def test_what_is_merged_already_or_packed_is_refused() -> None:
    wrapped = disturb(adapted("llama"))
    wrapped.merge_adapter()
    with pytest.raises(AdapterError, match=r"q_proj is merged already; unmerge the adapters"):
        merge(wrapped)
    packed = adapted("llama")
    packed.base_model.model.quantization_method = "bitsandbytes"
    with pytest.raises(AdapterError, match="the model is in 8 or 4 bits"):
        merge(packed)


def test_other_models_and_adapters_are_refused() -> None:
    with pytest.raises(InputError, match=r"model must be a peft.PeftModel, got LlamaForCausalLM"):
        merge(tiny_model("llama"))
    config = peft.IA3Config(target_modules=["k_proj"], feedforward_modules=[])
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        wrapped = peft.get_peft_model(tiny_model("llama"), config)
    with pytest.raises(AdapterError, match="must be of LoRA to be merged, got IA3Config"):
        merge(wrapped)


def test_a_wrong_batch_is_refused() -> None:
    with pytest.raises(InputError, match="batch must be token ids"):
        merge(adapted("llama"), torch.zeros(3))
