"""What each method trains of a model, as a config that PEFT alone can use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import nn

import statespan
from statespan.adapters import METHODS, hylora
from statespan.errors import ConfigError, InputError, UnknownNameError
from statespan.pretrained.structure import structure
from tests.adapters.adapted_models import adapted
from tests.pretrained.tiny_models import PURE, SPAN_FAMILIES, tiny_model

EVERY = pytest.mark.parametrize("family", SPAN_FAMILIES)


def of_kind(model: nn.Module, kind: type[nn.Module]) -> set[str]:
    return {name for name, module in model.named_modules() if isinstance(module, kind)}


def saved(config: Any) -> set[str]:
    return set(config.modules_to_save or ())


@EVERY
def test_hylora_trains_attention_tables_norms_and_convolutions(family: str) -> None:
    model = tiny_model(family)
    config, found = statespan.hylora(model), structure(model)
    assert type(config) is peft.LoraConfig
    assert (config.r, config.lora_alpha, config.lora_dropout, config.bias) == (32, 64, 0.0, "none")
    assert config.task_type == "CAUSAL_LM"
    assert set(config.target_modules) == {p for item in found.attentions for p in item.projections}
    tables = of_kind(model, nn.Embedding) | ({found.head} if found.is_tied else set())
    assert saved(config) == of_kind(model, nn.Conv1d) | set(found.norms) | tables
    assert config.ensure_weight_tying == found.is_tied


@EVERY
def test_the_other_methods_train_less(family: str) -> None:
    model = tiny_model(family)
    whole, plus, lora = (hylora(model, method=name) for name in ("hylora", "lora+", "lora"))
    assert whole.target_modules == plus.target_modules == lora.target_modules
    assert saved(whole) - saved(plus) == of_kind(model, nn.Conv1d)
    assert lora.modules_to_save is None
    assert not lora.ensure_weight_tying


@EVERY
def test_tables_may_be_left_out(family: str) -> None:
    model = tiny_model(family)
    whole, without = hylora(model), hylora(model, embeddings=False)
    found = structure(model)
    tables = {*found.embeddings, found.head} if found.is_tied else set(found.embeddings)
    assert saved(whole) - saved(without) == tables
    assert not without.ensure_weight_tying


@EVERY
def test_mixers_may_get_adapters_where_these_are_called(family: str) -> None:
    model = tiny_model(family)
    mixers = structure(model).mixers
    if not mixers:
        with pytest.raises(InputError, match="has no state-space or delta-rule layer to adapt"):
            hylora(model, ssm_projections=True)
        return
    config = hylora(model, ssm_projections=True)
    added = set(config.target_modules) - set(hylora(model).target_modules)
    assert added == {name for mixer in mixers for name in mixer.projections}
    assert not added & {name for mixer in mixers for name in mixer.bypassed}


@pytest.mark.parametrize("family", [*SPAN_FAMILIES, *sorted(PURE)])
def test_convolutions_may_be_all_that_trains(family: str) -> None:
    model = tiny_model(family)
    convolutions = of_kind(model, nn.Conv1d)
    if not convolutions:
        with pytest.raises(InputError, match="has no convolution over time to train"):
            hylora(model, convolutions_only=True)
        return
    config = hylora(model, convolutions_only=True)
    assert saved(config) == convolutions
    wrapped = adapted(family, convolutions_only=True)
    trained = {name for name, weight in wrapped.named_parameters() if weight.requires_grad}
    places = {
        name.removeprefix("base_model.model.").partition(".modules_to_save")[0] for name in trained
    }
    assert places == convolutions


@EVERY
def test_the_config_is_the_same_from_its_file(family: str, tmp_path: Path) -> None:
    config = hylora(tiny_model(family))
    config.save_pretrained(tmp_path)
    again = peft.LoraConfig.from_pretrained(tmp_path)
    assert again.target_modules == config.target_modules
    assert again.modules_to_save == config.modules_to_save
    assert again.ensure_weight_tying == config.ensure_weight_tying


def test_a_model_on_no_device_gives_the_same_config() -> None:
    from transformers import AutoModelForCausalLM

    model = tiny_model("zamba2")
    with torch.device("meta"):
        twin = AutoModelForCausalLM.from_config(model.config)
    assert hylora(twin).to_dict() == hylora(model).to_dict()


@pytest.mark.parametrize("rank", [0, -1, 1.5, True, "8"])
def test_a_rank_is_a_whole_number_from_1_on(rank: Any) -> None:
    with pytest.raises(ConfigError, match=r"rank must be a whole number from 1 on, got"):
        hylora(tiny_model("llama"), rank)


@pytest.mark.parametrize("alpha", [0, -2.0, float("nan"), float("inf"), True, "8"])
def test_alpha_is_a_number_above_0(alpha: Any) -> None:
    with pytest.raises(ConfigError, match=r"alpha must be a number above 0, got"):
        hylora(tiny_model("llama"), 8, alpha)


def test_an_unknown_method_is_told_the_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown method 'hylra'. Did you mean hylora"):
        hylora(tiny_model("llama"), method="hylra")  # type: ignore[arg-type]
    assert sorted(METHODS) == ["hylora", "lora", "lora+"]


@pytest.mark.parametrize("family", sorted(PURE))
def test_a_model_without_attention_is_refused(family: str) -> None:
    for method in METHODS:
        with pytest.raises(InputError, match="has no attention that goes through"):
            hylora(tiny_model(family), method=method)


def test_a_model_with_adapters_is_refused() -> None:
    with pytest.raises(InputError, match="model must be without adapters, got one with"):
        hylora(adapted("llama"))


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(InputError, match=r"model must be a torch.nn.Module, got str"):
        hylora("bamba")  # type: ignore[arg-type]


def test_a_name_that_would_catch_another_layer_is_refused() -> None:
    model = tiny_model("lfm2").model
    assert saved(hylora(model)) >= {"embed_tokens"}
    model.extra = nn.ModuleDict({"embed_tokens": nn.Identity()})
    with pytest.raises(InputError, match=r"PEFT would train extra\.embed_tokens, too"):
        hylora(model)


def test_attention_without_linear_maps_is_refused() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config(n_layer=1))
    with pytest.raises(InputError, match="the attention of GPT2LMHeadModel has no linear maps"):
        hylora(model)
