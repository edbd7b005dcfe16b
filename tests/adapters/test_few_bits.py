"""Adapters on a model in few bits: what stays whole, and what is asked of bitsandbytes."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from statespan.adapters import adapt, audit, hylora, merge, quantization
from statespan.errors import AdapterError, ConfigError, MissingExtraError
from statespan.pretrained.structure import structure
from tests.adapters.adapted_models import RANK
from tests.pretrained.tiny_models import SPAN_FAMILIES, tiny_model, tokens

MODULE = "statespan.adapters.few_bits.find_spec"


def test_without_bitsandbytes_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, lambda name: None)
    with pytest.raises(MissingExtraError, match=r"'bitsandbytes'.*statespan\[quantized\]"):
        quantization(tiny_model("bamba"))


@pytest.mark.parametrize("bits", [2, 16, "4", None])
def test_bits_are_4_or_8(bits: Any) -> None:
    with pytest.raises(ConfigError, match="bits must be 4 or 8, got"):
        quantization(tiny_model("bamba"), bits=bits)


@pytest.mark.parametrize("family", SPAN_FAMILIES)
def test_what_would_be_misread_stays_whole(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODULE, lambda name: name)
    model = tiny_model(family)
    found = structure(model)
    whole = set(quantization(model, bits=8).llm_int8_skip_modules)
    read = {path for mixer in found.mixers for path in mixer.bypassed}
    assert whole == read | {found.head} | {path for paths in found.shared for path in paths}


def test_a_model_in_few_bits_is_made_ready() -> None:
    model = tiny_model("bamba", torch.bfloat16)
    model.quantization_method = "bitsandbytes"
    wrapped = adapt(model, hylora(model, RANK, 2 * RANK))
    assert {weight.dtype for weight in wrapped.parameters()} == {torch.float32}


LARGE: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_n_heads": 16},
    "jamba": {"mamba_dt_rank": 16, "num_key_value_heads": 2},
    "zamba2": {"n_mamba_heads": 16},
    "llama": {},
}


@pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed"
)
@pytest.mark.filterwarnings("ignore")  # of bitsandbytes' own
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("family", LARGE)
def test_it_trains_in_few_bits(family: str, bits: int, tmp_path: Path) -> None:
    model = tiny_model(family, hidden_size=128, intermediate_size=256, **LARGE[family])
    model.save_pretrained(tmp_path)
    settings = quantization(model, bits=bits, dtype=torch.float32)
    with torch.random.fork_rng(devices=[]):
        packed = AutoModelForCausalLM.from_pretrained(
            tmp_path, quantization_config=settings, dtype=torch.float32
        )
    kinds = {type(module).__name__ for module in packed.modules() if isinstance(module, nn.Linear)}
    assert kinds & {"Linear4bit", "Linear8bitLt"}
    wrapped = adapt(packed, hylora(packed, RANK, 2 * RANK))
    result = audit(wrapped, tokens(), method="hylora")
    assert result.parameters == sum(weight.numel() for weight in model.parameters())
    weights = [weight for weight in wrapped.parameters() if weight.requires_grad]
    optimizer, losses = torch.optim.AdamW(weights, lr=1e-2), []
    for _ in range(3):
        optimizer.zero_grad()
        loss = wrapped.train()(tokens(), labels=tokens(), use_cache=False).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[1] < losses[0]
    with pytest.raises(AdapterError, match="the model is in 8 or 4 bits"):
        merge(wrapped)
