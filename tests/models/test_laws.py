"""What else every registered architecture keeps: padding, fleets, long inputs, learning."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor

import statespan
from statespan.models import MODELS, ModelConfig, build_model
from statespan.training import (
    LanguageData,
    TrainingConfig,
    TrainingRun,
    build_data,
    build_readout,
    torch_stream,
    train_fleet,
)
from statespan.training.loop import train_alone
from statespan.training.stacked import StackedModels, has_member_rules
from tests.models.small_models import CONFIGS, VOCAB, draw_tokens, make, one_layer

every_model = pytest.mark.parametrize(
    "config", [config for configs in CONFIGS.values() for config in configs], ids=repr
)


@every_model
def test_padding_on_the_right_never_counts(config: ModelConfig) -> None:
    """Whatever stands after a word, its logits are the same bit by bit, or nearly."""
    model, tokens = make(config), draw_tokens(12)
    padded = torch.cat((tokens, draw_tokens(9).flip(1)), dim=1)
    torch.testing.assert_close(
        model(padded).logits[:, :12], model(tokens).logits, rtol=1e-5, atol=1e-5
    )


@every_model
def test_rows_of_a_batch_do_not_meet(config: ModelConfig) -> None:
    model, tokens = make(config), draw_tokens(20)
    alone = torch.cat([model(row[None]).logits for row in tokens])
    torch.testing.assert_close(model(tokens).logits, alone, rtol=1e-4, atol=1e-5)


@every_model
def test_a_member_of_a_fleet_is_the_model_alone(config: ModelConfig) -> None:
    """Logits and gradients, to rounding."""
    models = [make(config, seed) for seed in range(3)]
    assert has_member_rules(models[0])
    tokens = torch.stack([draw_tokens(9).roll(seed, dims=1) for seed in range(3)])
    expected, gradients = [], []
    for model, ids in zip(models, tokens, strict=True):
        logits = model(ids).logits
        expected.append(logits.detach())
        grads = torch.autograd.grad(logits.square().sum(), list(model.parameters()))
        gradients.append(grads)
    stacked = StackedModels(models)
    parameters = stacked.parameters(range(3))
    logits = stacked.logits(parameters, tokens)
    assert_near(logits, torch.stack(expected))
    found = torch.autograd.grad(logits.square().sum(), list(parameters.values()))
    for ours, theirs in zip(found, zip(*gradients, strict=True), strict=True):
        assert_near(ours, torch.stack(theirs))


def assert_near(actual: Tensor, expected: Tensor) -> None:
    scale = expected.abs().max().clamp(min=1)
    torch.testing.assert_close(actual / scale, expected / scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS.names())
@torch.no_grad()
def test_long_inputs_stay_finite_with_the_default_sizes(name: str) -> None:
    """2,000 tokens in float32, as initialized, and one more token from the state after them."""
    config = MODELS.get(name).Config()
    if config.max_tokens is not None:
        pytest.skip(f"reads at most {config.max_tokens} tokens")
    generator = torch.Generator().manual_seed(0)
    model = build_model(config, vocab_size=VOCAB, num_outputs=VOCAB, generator=generator)
    tokens = draw_tokens(2_000, batch=1)
    logits, state = model(tokens[:, :-1])
    assert logits.isfinite().all()
    assert all(part.isfinite().all() for layer in state for part in layer)
    last = model(tokens[:, -1:], state).logits
    assert last.isfinite().all()


@every_model
def test_weights_far_too_large_leave_numbers(config: ModelConfig) -> None:
    """Gates that are exactly 0 or 1, and stabilizers far from 0, give no 0 / 0 and no 0 · ∞."""
    model = make(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(20)
    logits = model(draw_tokens(30)).logits
    assert logits.isfinite().all()
    for grad in torch.autograd.grad(logits.square().mean(), list(model.parameters())):
        assert grad.isfinite().all()


@pytest.fixture(scope="module")
def data() -> LanguageData:
    return build_data(
        statespan.language("tomita-4"),
        [(0, 9)],
        sampler="uniform",
        train_words=48,
        test_words=5,
        rng=Random(0),
    )


def run_of(
    config: ModelConfig, data: LanguageData, seed: int, losses: list[float], path: Path
) -> TrainingRun:
    training = TrainingConfig(steps=16, batch_size=16, warmup=2, report_every=100)
    readout = build_readout(training.loss, data.vocabulary, data.answer_sets)
    model = build_model(
        config,
        vocab_size=data.vocabulary.size,
        num_outputs=readout.num_outputs,
        generator=torch_stream(seed, "initialization"),
    )
    return TrainingRun(
        model,
        readout,
        data.train,
        training,
        seed=seed,
        checkpoint_path=path / f"{seed}.safetensors",
        on_record=lambda _: None,
        on_step=lambda _, loss: losses.append(loss),
    )


@every_model
def test_a_short_training_lowers_the_loss(
    config: ModelConfig, data: LanguageData, tmp_path: Path
) -> None:
    losses: list[float] = []
    train_alone(run_of(one_layer(config), data, 0, losses, tmp_path))
    assert sum(losses[-3:]) < 0.95 * sum(losses[:3])


@every_model
def test_a_fleet_trains_as_its_members_do_alone(
    config: ModelConfig, data: LanguageData, tmp_path: Path
) -> None:
    fleet: list[list[float]] = [[], []]
    alone: list[list[float]] = [[], []]
    small = one_layer(config)
    paths = [tmp_path / name for name in ("fleet", "alone")]
    for path in paths:
        path.mkdir()
    runs = [run_of(small, data, seed, losses, paths[0]) for seed, losses in enumerate(fleet)]
    assert train_fleet(runs) == [None, None]
    for seed, losses in enumerate(alone):
        train_alone(run_of(small, data, seed, losses, paths[1]))
    torch.testing.assert_close(torch.tensor(fleet), torch.tensor(alone), rtol=1e-3, atol=1e-4)
