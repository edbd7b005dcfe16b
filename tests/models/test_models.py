"""The laws that every registered model keeps, and the oracles that some have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from statespan.errors import ConfigError, LengthError, UnknownNameError
from statespan.models import MODELS, ModelConfig, SequenceModel, architecture, build_model
from statespan.models.deltaproduct import DeltaProductConfig
from statespan.models.gla import GLAConfig
from statespan.models.hybrid import HybridConfig
from statespan.models.mamba import MambaConfig
from statespan.models.mamba2 import Mamba2Config
from statespan.models.mamba3 import Mamba3Config
from statespan.models.s4d import S4DConfig
from statespan.models.transformer import TransformerConfig
from tests.models.small_models import CONFIGS, VOCAB, draw_tokens, make

every_model = pytest.mark.parametrize(
    "config", [config for configs in CONFIGS.values() for config in configs], ids=repr
)


@every_model
@pytest.mark.parametrize("pieces", [[40], [1] * 40, [7, 1, 30, 2], [39, 1]])
@torch.no_grad()
def test_pieces_give_what_the_whole_gives(config: ModelConfig, pieces: list[int]) -> None:
    model = make(config)
    tokens = draw_tokens(40)
    state, outputs = None, []
    for part in tokens.split(pieces, dim=1):
        logits, state = model(part, state)
        outputs.append(logits)
    torch.testing.assert_close(
        torch.cat(outputs, dim=1), model(tokens).logits, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", ["mamba", "mamba2"])
def test_a_long_sequence_that_goes_through_in_pieces_is_whole(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokens = make(CONFIGS[name][0]), draw_tokens(150)
    whole = model(tokens).logits
    monkeypatch.setattr("statespan.models.mamba.PIECE_TOKENS", 1)
    pieces = model(tokens).logits
    torch.testing.assert_close(pieces, whole)
    parameters = list(model.parameters())
    ours = torch.autograd.grad(pieces.square().sum(), parameters)
    theirs = torch.autograd.grad(whole.square().sum(), parameters)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@every_model
@torch.no_grad()
def test_a_vector_is_read_as_the_mixture_of_tokens_that_it_is(config: ModelConfig) -> None:
    """One-hot vectors give what their ids give; pieces of other vectors what the whole gives."""
    model, tokens = make(config), draw_tokens(20)
    one_hot = torch.nn.functional.one_hot(tokens, VOCAB).float()
    torch.testing.assert_close(model(one_hot).logits, model(tokens).logits, rtol=1e-4, atol=1e-4)
    vectors = one_hot.roll(1, dims=1) - 0.3 * one_hot
    first, state = model(vectors[:, :7])
    second, _ = model(vectors[:, 7:], state)
    whole = model(vectors).logits
    torch.testing.assert_close(torch.cat((first, second), dim=1), whole, rtol=1e-4, atol=1e-4)


@every_model
def test_no_output_depends_on_a_later_token(config: ModelConfig) -> None:
    model = make(config)
    embedded: list[Tensor] = []

    def keep(module: torch.nn.Module, inputs: object, output: Tensor) -> None:
        output.retain_grad()
        embedded.append(output)

    embedding = next(m for m in model.modules() if isinstance(m, torch.nn.Embedding))
    embedding.register_forward_hook(keep)
    model(draw_tokens(12)).logits[:, 6].square().sum().backward()
    gradient = embedded[0].grad
    assert gradient is not None
    assert (gradient[:, 7:] == 0).all()
    assert (gradient[:, :7].abs().sum(-1) > 0).all()


@every_model
def test_weights_survive_a_file(config: ModelConfig, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model, other = make(config, seed=0), make(config, seed=1)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    tokens = draw_tokens(9)
    assert not torch.equal(model(tokens).logits, other(tokens).logits)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(model(tokens).logits, other(tokens).logits)


@every_model
def test_initialization_is_a_function_of_its_generator(config: ModelConfig) -> None:
    first, again, other = make(config, 5), make(config, 5), make(config, 6)
    same = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(left, right) for left, right in same)
    assert all(parameter.isfinite().all() for parameter in first.parameters())
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    assert any(not torch.equal(left, right) for left, right in pairs)


@every_model
def test_every_parameter_gets_a_gradient(config: ModelConfig) -> None:
    model = make(config)
    tokens = torch.arange(VOCAB).repeat(3)[None]
    model(tokens).logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


WITH_ORACLE = [c for cs in CONFIGS.values() for c in cs if make(c).transformers_config()]


def test_the_architectures_of_transformers_have_an_oracle() -> None:
    assert {architecture(config) for config in WITH_ORACLE} == {"mamba", "mamba2", "transformer"}


@pytest.mark.parametrize("config", WITH_ORACLE, ids=repr)
def test_transformers_opens_the_weights_and_gives_the_same_logits(
    config: ModelConfig, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers", reason="a base dependency")
    model = make(config)
    save_file(model.state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(model.transformers_config()))
    with torch.random.fork_rng():  # transformers draws weights before it loads them
        theirs, loading = transformers.AutoModelForCausalLM.from_pretrained(
            tmp_path, output_loading_info=True
        )
    assert not any(loading[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    tokens = draw_tokens(70)
    with torch.no_grad():
        expected, ours = theirs(tokens, use_cache=False).logits, model(tokens).logits
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)
    assert ours.std() > 0.01


def test_without_fading_gates_begin_at_one_and_learn_to_be_less() -> None:
    def begin(fading: Literal["spread", "none"]) -> SequenceModel:
        config = MambaConfig(d_model=8, layers=1, d_state=3, fading=fading)
        generator = torch.Generator().manual_seed(0)
        return build_model(config, vocab_size=VOCAB, num_outputs=VOCAB, generator=generator)

    model = begin("none")
    (decay,) = (value for name, value in model.named_parameters() if name.endswith("A_log"))
    assert torch.equal(torch.exp(-14 * decay.exp()), torch.ones_like(decay))
    assert not torch.equal(torch.exp(-30 * decay.exp()), torch.ones_like(decay))
    others = begin("spread").state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, others[name]) == (not name.endswith("A_log")), name
    model(draw_tokens(12)).logits.square().sum().backward()
    assert decay.grad is not None
    assert (decay.grad != 0).any()


@pytest.mark.parametrize(
    ("make_config", "message"),
    [
        (lambda: MambaConfig(layers=0), "layers must be at least 1, got 0"),
        (lambda: MambaConfig(d_conv=1), "d_conv must be at least 2, got 1"),
        (lambda: Mamba2Config(d_model=10, head_dim=32), "head_dim must divide"),
        (lambda: TransformerConfig(d_model=10, heads=4), "d_model must be an even multiple"),
        (lambda: GLAConfig(d_model=10, heads=4), "d_model must be a multiple of heads"),
        (lambda: GLAConfig(d_feedforward=-1), "d_feedforward must be at least 0, got -1"),
        (lambda: S4DConfig(d_state=3), "d_state must be even with a complex spectrum, got 3"),
        (lambda: Mamba3Config(d_state=3), "d_state must be even, for pairs that rotate, got 3"),
        (lambda: Mamba3Config(head_dim=7), "head_dim must divide expand"),
        (lambda: DeltaProductConfig(factors=0), "factors must be at least 1, got 0"),
        (lambda: HybridConfig(every=3), "every must be at most layers"),
        (lambda: HybridConfig(recurrent="lstm"), "layers are recurrent mixers.*got 'lstm'"),
        (lambda: HybridConfig(recurrent="hybrid"), "layers are recurrent mixers.*got 'hybrid'"),
        (lambda: HybridConfig(sizes={"layers": 3}), "sizes must leave layers to the hybrid"),
        (lambda: HybridConfig(sizes={"d_stat": 3}), "unknown key 'd_stat'.*model.sizes"),
        (lambda: HybridConfig(attention="span", block=7), "block must divide chunk"),
    ],
)
def test_impossible_sizes_are_refused(make_config: object, message: str) -> None:
    assert callable(make_config)
    with pytest.raises(ConfigError, match=message):
        make_config()


def test_learned_positions_end_somewhere() -> None:
    model = make(TransformerConfig(d_model=16, heads=2, positions="learned", max_length=8))
    model(draw_tokens(8))
    with pytest.raises(LengthError, match="max_length 8, got 9 tokens"):
        model(draw_tokens(9))


def test_an_unknown_model_suggests_a_near_one() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean mamba"):
        MODELS.get("mambo")
