"""Positions are stretched in the model and in its config alike."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from statespan.errors import ConfigError
from statespan.pretrained.context_length import (
    context_length,
    default_scaling,
    stretch_positions,
)

sys.path.insert(0, str(Path(__file__).parent))
from tiny_models import tiny_model, tokens


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(tokens(1, 40)).logits


@pytest.mark.parametrize("family", ["llama", "bamba", "qwen3_next"])
@pytest.mark.parametrize("scaling", ["linear", "yarn"])
def test_what_is_made_of_the_saved_config_computes_the_same(family: str, scaling: Any) -> None:
    from transformers import AutoModelForCausalLM

    model = tiny_model(family, max_position_embeddings=16)
    before = logits(model)
    assert stretch_positions(model, 40, scaling) == 3.0
    assert context_length(model) == 40
    with torch.random.fork_rng():
        again = AutoModelForCausalLM.from_config(model.config).eval()
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(logits(again), logits(model))
    assert (logits(model) - before).abs().max() > 1e-4


def test_hybrids_are_not_stretched_by_default_and_attention_is() -> None:
    kinds = {name: default_scaling(tiny_model(name)) for name in ("llama", "bamba", "jamba")}
    assert kinds == {"llama": "linear", "bamba": "none", "jamba": "none"}
    model = tiny_model("bamba")
    before = logits(model)
    assert stretch_positions(model, 128, "none") is None
    assert torch.equal(logits(model), before)


def test_what_cannot_be_stretched_is_told() -> None:
    with pytest.raises(ConfigError, match='take rope = "none"'):
        stretch_positions(tiny_model("jamba"), 128, "linear")
    model = tiny_model("llama")
    stretch_positions(model, 128, "linear")
    with pytest.raises(ConfigError, match=r"stretched already \(linear\)"):
        stretch_positions(model, 256, "linear")
