"""A hybrid from random weights: drawn from one generator, and packed as if alone."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch.nn.functional import softplus
from transformers import AutoModelForCausalLM

from statespan.errors import ConfigError, StorageError
from statespan.pretrained import accelerate
from statespan.pretrained.hybrid import HybridConfig, build_hybrid, round_weights, save_hybrid
from statespan.records import to_struct
from statespan.training.documents import EncodedDocument, pack_rows
from statespan.training.pretraining import target_logits

SMALL = HybridConfig(
    layers=3, attention_layers=[1], d_model=16, d_feedforward=24, heads=2, key_value_heads=1,
    mixer_head_dim=8, d_state=4,
)  # fmt: skip


def build(config: HybridConfig = SMALL, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    return build_hybrid(
        config, vocab_size=40, context=64, end_id=1, pad_id=0, generator=generator
    ).eval()


def test_weights_depend_on_the_generator_alone() -> None:
    before = torch.random.get_rng_state()
    first, same, other = build(), build(), build(seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    for (name, one), two in zip(
        first.state_dict().items(), same.state_dict().values(), strict=True
    ):
        assert torch.equal(one, two), name
    assert not torch.equal(first.lm_head.weight, other.lm_head.weight)


def test_blocks_are_what_the_config_says() -> None:
    model = build()
    kinds = ["mamba" if hasattr(layer, "mamba") else "attention" for layer in model.model.layers]
    assert kinds == ["mamba", "attention", "mamba"]
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.rope_parameters["partial_rotary_factor"] == 0.5


def test_decay_and_step_start_where_those_of_mamba_2_do() -> None:
    mixer = build(HybridConfig(d_model=256, mixer_head_dim=4)).model.layers[0].mamba
    delta, decay = softplus(mixer.dt_bias).detach(), mixer.A_log.exp().detach()
    for value, (low, high) in ((delta, (1e-3, 1e-1)), (decay, (1.0, 16.0))):
        assert low * 0.999 <= float(value.min()) < float(value.max()) <= high * 1.001
    assert float((delta < 1e-2).float().mean()) == pytest.approx(0.5, abs=0.15)


def test_queries_begin_as_the_keys_of_their_head() -> None:
    attention = build(HybridConfig(heads=4, key_value_heads=2)).model.layers[5].self_attn
    queries = attention.q_proj.weight.unflatten(0, (4, -1))
    keys = attention.k_proj.weight.unflatten(0, (2, -1))
    assert torch.equal(queries, keys[[0, 0, 1, 1]])


def document(length: int, rng: Random) -> EncodedDocument:
    return EncodedDocument([rng.randrange(2, 40) for _ in range(length)], [0] * length)


def test_documents_in_one_row_are_read_as_if_alone() -> None:
    """Side by side, in a row with padding at its end, and in one without."""
    model, rng = build(), Random(0)
    accelerate(model)
    rows = [[document(9, rng), document(20, rng), document(3, rng)], [document(40, rng)]]
    packed = target_logits(model, pack_rows(rows, 40, 1.0))
    alone = [
        target_logits(model, pack_rows([[one]], len(one.tokens), 1.0))
        for row in rows
        for one in row
    ]
    torch.testing.assert_close(packed, torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_what_is_saved_is_the_rounded_model(tmp_path: Path) -> None:
    model = build()
    round_weights(model)
    save_hybrid(model, tmp_path / "model", files=[("note.txt", b"as it is")])
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    ids = torch.arange(2, 30)[None]
    with torch.no_grad():
        torch.testing.assert_close(opened(ids).logits, model(ids).logits)
    assert opened.config.eos_token_id == 1
    assert (tmp_path / "model" / "note.txt").read_bytes() == b"as it is"


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("a file")
    with pytest.raises(StorageError, match="cannot create"):
        save_hybrid(build(), tmp_path / "model")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"layers": 2, "attention_layers": [0, 2]}, "attention_layers must be below"),
        ({"layers": 2, "attention_layers": [0, 1]}, "must leave a block for Mamba-2"),
        ({"d_model": 24, "heads": 4}, "model.heads must divide a quarter of model.d_model"),
        ({"d_model": 10, "heads": 2}, "model.heads must divide"),
        ({"mixer_head_dim": 3}, "model.mixer_head_dim must divide twice model.d_model"),
        ({"heads": 4, "key_value_heads": 3}, "model.key_value_heads must divide model.heads"),
    ],
)
def test_sizes_that_do_not_fit_are_told(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        to_struct(sizes, HybridConfig, where="model")
