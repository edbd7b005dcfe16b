"""Adapters put into a model: what they change, what is saved, and who can load it."""

from __future__ import annotations

import copy
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

import statespan
from statespan.adapters import adapt, hylora, share_adapters
from statespan.adapters.sharing import apart, groups
from statespan.errors import AdapterError, ConfigError, InputError
from statespan.pretrained.structure import structure
from tests.adapters.adapted_models import adapted, assert_close, disturb, logits
from tests.pretrained.tiny_models import SPAN_FAMILIES, TOKENS, tiny_model, tokens

EVERY = pytest.mark.parametrize("family", SPAN_FAMILIES)
SHARED = [family for family in SPAN_FAMILIES if family.startswith("zamba")]


def loaded_by_peft(base: Any, path: Path, **options: Any) -> Any:
    """Return the adapter in a folder around `base`, as PEFT loads it."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(is_gradient_checkpoint|ensure_weight_tying)")
        return peft.PeftModel.from_pretrained(base, path, **options)


def train(model: Any, steps: int = 2) -> None:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(tokens(), labels=tokens(), use_cache=False).loss.backward()
        optimizer.step()


@EVERY
def test_at_first_the_model_is_as_it_was(family: str) -> None:
    model = tiny_model(family)
    before = logits(model)
    wrapped = statespan.adapt(model, hylora(model))
    assert isinstance(wrapped, peft.PeftModel)
    assert torch.equal(logits(wrapped), before)


@EVERY
def test_what_is_saved_is_loaded_by_peft_alone(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    model.save_pretrained(tmp_path / "base")
    wrapped = disturb(adapt(model, hylora(model, 4, 8)))
    wrapped.save_pretrained(tmp_path / "adapter")
    with torch.random.fork_rng(devices=[]):
        base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    again = loaded_by_peft(base, tmp_path / "adapter")
    assert (logits(again) - logits(tiny_model(family))).abs().max() > 0.1
    assert_close(logits(again), logits(wrapped))


@EVERY
def test_convolutions_alone_are_loaded_by_peft_alone(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    if not structure(model).convolutions:
        return
    base, before = copy.deepcopy(model), logits(model)
    wrapped = disturb(adapt(model, hylora(model, convolutions_only=True)))
    wrapped.save_pretrained(tmp_path)
    assert not torch.equal(logits(wrapped), before)
    assert_close(logits(loaded_by_peft(base, tmp_path)), logits(wrapped))


ALONE = """
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

ids = torch.load(sys.argv[1])
for folder in sys.argv[2:]:
    base = AutoModelForCausalLM.from_pretrained(f"{folder}/base")
    model = PeftModel.from_pretrained(base, f"{folder}/adapter")
    with torch.no_grad():
        torch.save(model(ids, use_cache=False).logits, f"{folder}/logits.pt")
assert "statespan" not in sys.modules
"""


@pytest.mark.slow
def test_a_process_without_this_package_loads_what_is_saved(tmp_path: Path) -> None:
    torch.save(tokens(), tmp_path / "ids.pt")
    expected: dict[str, Tensor] = {}
    for family in SPAN_FAMILIES:
        folder = tmp_path / family.replace("/", "-")
        model = tiny_model(family)
        model.save_pretrained(folder / "base")
        wrapped = adapt(model, hylora(model, 4, 8, ssm_projections=bool(structure(model).mixers)))
        disturb(wrapped).save_pretrained(folder / "adapter")
        expected[str(folder)] = logits(wrapped)
    command = [sys.executable, "-c", ALONE, str(tmp_path / "ids.pt"), *expected]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    for folder, logits_here in expected.items():
        there = torch.load(f"{folder}/logits.pt", weights_only=True)
        assert_close(there, logits_here)


@pytest.mark.parametrize("family", SHARED)
def test_one_weight_has_one_adapter(family: str, tmp_path: Path) -> None:
    wrapped = adapted(family)
    base = copy.deepcopy(tiny_model(family))
    shared = [paths for paths in groups(wrapped) if len(paths) > 1]
    assert len(shared) > 4
    count = sum(weight.numel() for weight in wrapped.parameters() if weight.requires_grad)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = tiny_model(family)
        plain: Any = peft.get_peft_model(model, hylora(model, 4, 8))
    assert count < sum(weight.numel() for weight in plain.parameters() if weight.requires_grad)
    train(wrapped)
    assert not apart(wrapped)
    wrapped.save_pretrained(tmp_path)
    assert_close(logits(loaded_by_peft(base, tmp_path)), logits(wrapped))
    train(plain)
    assert apart(plain)
    with pytest.raises(AdapterError, match="must be equal, for the weight is one; got different"):
        share_adapters(plain)


@pytest.mark.parametrize("family", ["zamba", "zamba2/blocks", "lfm2"])
def test_what_was_loaded_can_be_trained_on_as_one(family: str, tmp_path: Path) -> None:
    base = tiny_model(family)
    wrapped = disturb(adapted(family))
    wrapped.save_pretrained(tmp_path)
    again = loaded_by_peft(base, tmp_path, is_trainable=True)
    share_adapters(again)
    for model in (wrapped, again):
        train(model)
    assert not apart(again)
    assert_close(logits(again), logits(wrapped), tolerance=1e-4)


TIED: list[tuple[str, dict[str, Any]]] = [
    *((family, {}) for family in ("zamba", "zamba2", "lfm2", "lfm3", "zaya", "llama/tied")),
    ("bamba", {"tie_word_embeddings": True}),
    ("zaya", {"lm_head_bias": True}),  # a bias that PEFT would lose
]


def assert_tied_after_training(model: Any, path: Path) -> None:
    base, before = copy.deepcopy(model), logits(model)
    wrapped = adapt(model, hylora(model, 4, 8))
    assert torch.equal(logits(wrapped), before)
    train(wrapped)
    table, head = model.get_input_embeddings(), model.get_output_embeddings()
    assert table.weight is head.weight
    assert not torch.equal(table.weight, table.original_module.weight)
    wrapped.save_pretrained(path)
    assert_close(logits(loaded_by_peft(base, path)), logits(wrapped))


@pytest.mark.parametrize(("family", "changes"), TIED)
def test_a_tied_head_stays_tied(family: str, changes: dict[str, Any], tmp_path: Path) -> None:
    model = tiny_model(family, **changes)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name == "lm_head.bias":
                weight.add_(1)
    assert_tied_after_training(model, tmp_path)


def test_a_table_whose_name_peft_does_not_know_stays_tied(tmp_path: Path) -> None:
    changes = {"num_attention_heads": 2, "intermediate_size": 48, "num_hidden_layers": 2}
    config = AutoConfig.for_model("gpt_neox", **TOKENS, **changes, tie_word_embeddings=True)
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForCausalLM.from_config(config).eval()
    assert structure(model).embeddings == ("gpt_neox.embed_in",)
    assert_tied_after_training(model, tmp_path)


@pytest.mark.parametrize("family", ["bamba", "jamba", "zamba2", "qwen3_next"])
def test_accelerated_models_are_adapted_like_others(family: str) -> None:
    wrapped, fast = adapted(family), tiny_model(family)
    statespan.accelerate(fast)
    adapted_fast = adapt(fast, hylora(fast, 4, 8))
    for model in (wrapped, adapted_fast):
        train(disturb(model))
    assert_close(logits(adapted_fast), logits(wrapped), tolerance=1e-3)


def first_factors(model: nn.Module) -> list[Tensor]:
    return [weight for name, weight in model.named_parameters() if "lora_A" in name]


def test_first_weights_are_drawn_from_the_generator() -> None:
    model = tiny_model("llama")
    config = hylora(model)
    once, twice, other = (
        first_factors(adapt(tiny_model("llama"), config, generator=generator))
        for generator in (
            torch.Generator().manual_seed(1),
            torch.Generator().manual_seed(1),
            torch.Generator().manual_seed(2),
        )
    )
    same = first_factors(adapt(tiny_model("llama"), config))
    assert all(torch.equal(a, b) for a, b in zip(once, twice, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(once, other, strict=True))
    assert all(
        torch.equal(a, b) for a, b in zip(same, first_factors(adapt(model, config)), strict=True)
    )


def test_the_config_is_left_as_it_was() -> None:
    model = tiny_model("lfm2")
    config = hylora(model)
    before = copy.deepcopy(config.to_dict())
    adapt(model, config)
    assert config.to_dict() == before


def test_a_config_of_another_model_is_refused() -> None:
    model = tiny_model("bamba")
    with pytest.raises(ConfigError, match=r"config names .*, which no module of BambaForCausalLM"):
        adapt(model, hylora(tiny_model("zamba2")))
    silent = peft.LoraConfig(target_modules=["q_proj"], modules_to_save=["A_log"])
    with pytest.raises(ConfigError, match="config names A_log, which no module"):
        adapt(model, silent)
    assert torch.equal(logits(model), logits(tiny_model("bamba")))


def test_one_s_own_config_of_lora_will_do() -> None:
    model = tiny_model("bamba")
    wrapped = adapt(
        model, peft.LoraConfig(target_modules="all-linear", exclude_modules=["lm_head"])
    )
    assert sum("lora_A" in name for name, _ in wrapped.named_parameters()) > 10


def test_other_configs_and_models_are_refused() -> None:
    model = tiny_model("llama")
    with pytest.raises(ConfigError, match=r"config must be a peft.LoraConfig, got dict"):
        adapt(model, {})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"config must be a peft.LoraConfig, got IA3Config"):
        adapt(model, peft.IA3Config())  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"model must be a torch.nn.Module, got str"):
        adapt("llama", hylora(model))  # type: ignore[arg-type]
    wrapped = adapted("llama")
    with pytest.raises(InputError, match="model must be without adapters"):
        adapt(wrapped, hylora(model))
