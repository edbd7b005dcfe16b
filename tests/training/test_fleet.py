"""A fleet is many lone runs at once: the same numbers, records and checkpoints, up to rounding."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import statespan
from statespan.errors import ConfigError, TrainingError
from statespan.models import ModelConfig, build_model
from statespan.models.hybrid import HybridConfig
from statespan.models.lstm import LSTMConfig
from statespan.models.mamba import MambaConfig
from statespan.models.mamba2 import Mamba2Config
from statespan.models.transformer import TransformerConfig
from statespan.records import TrainingRecord
from statespan.training import (
    LanguageData,
    TrainingConfig,
    TrainingRun,
    build_data,
    build_readout,
    checkpoint_step,
    torch_stream,
    train_fleet,
)
from statespan.training.fading import mean_log_fading
from statespan.training.fleet import split_by_length
from statespan.training.loop import build_optimizer, train_alone
from statespan.training.stacked import (
    StackedAdamW,
    StackedModels,
    clip_gradients,
    has_member_rules,
)

SMALL: dict[str, ModelConfig] = {
    "mamba": MambaConfig(d_model=8, layers=1, d_state=4),
    "mamba2": Mamba2Config(d_model=8, layers=1, d_state=4, head_dim=8),
    "transformer": TransformerConfig(d_model=8, layers=1, heads=2, d_feedforward=16),
    "rotary": TransformerConfig(d_model=8, layers=1, heads=2, d_feedforward=8, positions="rotary"),
    "learned": TransformerConfig(
        d_model=8, layers=1, heads=2, d_feedforward=8, positions="learned"
    ),
    "hybrid": HybridConfig(d_model=8, layers=2, heads=2, sizes={"d_state": 4}),
    "hybrid, span": HybridConfig(
        d_model=8,
        layers=2,
        heads=2,
        sizes={"d_state": 4},
        attention="span",
        window=4,
        block=2,
        top_k=1,
    ),
}
SHORT = {"steps": 20, "batch_size": 8, "report_every": 7, "warmup": 4}


def language_data(name: str, words: int, longest: int) -> LanguageData:
    return build_data(
        statespan.language(name),
        [(0, longest)],
        sampler="uniform",
        train_words=words,
        test_words=5,
        rng=Random(words),
    )


@pytest.fixture(scope="module")
def data() -> list[LanguageData]:
    """Languages of two symbols, one of them longer; no number of words is a multiple of a batch."""
    return [language_data("parity", 61, 7), language_data("tomita-4", 83, 16)]


class Member:
    """One run, with what it reported."""

    def __init__(
        self, model: ModelConfig, data: LanguageData, config: TrainingConfig, seed: int, path: Path
    ) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.checkpoint = path / "checkpoint.safetensors"
        self.records: list[TrainingRecord] = []
        self.losses: list[float] = []
        sets = data.answer_sets[: data.num_trained_sets]
        readout = build_readout(config.loss, data.vocabulary, sets)
        self.run = TrainingRun(
            build_model(
                model,
                vocab_size=data.vocabulary.size,
                num_outputs=readout.num_outputs,
                generator=torch_stream(seed, "initialization"),
            ),
            readout,
            data.train,
            config,
            seed=seed,
            checkpoint_path=self.checkpoint,
            on_record=self.records.append,
            on_step=self._note,
        )

    def _note(self, step: int, loss: float) -> None:
        self.losses.append(loss)


def various(
    model: ModelConfig, data: list[LanguageData], path: Path, **changes: Any
) -> list[Member]:
    """Five runs that differ in all that members may differ in.

    None learns so fast that rounding alone drives it apart: a transformer with positions does, at a
    rate of 5e-3, whether it is trained alone or not.
    """
    base = {**SHORT, **changes}
    configs = [
        TrainingConfig(**base),
        TrainingConfig(**{**base, "learning_rate": 1e-3, "schedule": "constant"}),
        TrainingConfig(**{**base, "batch_size": 5, "clip": 0.0}),
        TrainingConfig(**{**base, "steps": base["steps"] * 3 // 4, "weight_decay": 0.3}),
        TrainingConfig(**{**base, "learning_rate": 5e-4, "clip": 0.01}),
    ]
    return [
        Member(model, data[seed % len(data)], config, seed, path / str(seed))
        for seed, config in enumerate(configs)
    ]


def train_all_alone(members: list[Member]) -> None:
    for member in members:
        train_alone(member.run)


def assert_same_runs(fleet: list[Member], alone: list[Member]) -> None:
    close: Any = {"rtol": 1e-4, "atol": 1e-5}
    for one, other in zip(fleet, alone, strict=True):
        torch.testing.assert_close(torch.tensor(one.losses), torch.tensor(other.losses), **close)
        assert [(r.step, r.epoch, r.positions, r.learning_rate) for r in one.records] == [
            (r.step, r.epoch, r.positions, r.learning_rate) for r in other.records
        ]
        sums = [[r.loss_sum for r in member.records] for member in (one, other)]
        torch.testing.assert_close(torch.tensor(sums[0]), torch.tensor(sums[1]), **close)
        assert checkpoint_step(one.checkpoint) == checkpoint_step(other.checkpoint)
        assert_same_tensors(load_file(one.checkpoint), load_file(other.checkpoint))
        assert_same_tensors(one.run.model.state_dict(), other.run.model.state_dict())


def assert_same_tensors(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_a_member_of_a_fleet_is_the_lone_run(
    name: str, data: list[LanguageData], tmp_path: Path
) -> None:
    fleet = various(SMALL[name], data, tmp_path / "fleet")
    alone = various(SMALL[name], data, tmp_path / "alone")
    assert train_fleet([member.run for member in fleet]) == [None] * 5
    train_all_alone(alone)
    assert_same_runs(fleet, alone)


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_member_of_a_fleet_is_the_lone_run_over_200_steps(
    name: str, data: list[LanguageData], tmp_path: Path
) -> None:
    long = {"steps": 200, "warmup": 20, "report_every": 60}
    fleet = various(SMALL[name], data, tmp_path / "fleet", **long)
    alone = various(SMALL[name], data, tmp_path / "alone", **long)
    assert train_fleet([member.run for member in fleet]) == [None] * 5
    train_all_alone(alone)
    assert_same_runs(fleet, alone)


@pytest.mark.parametrize("call", [0, 1 << 60])
def test_how_members_are_called_together_changes_nothing(
    call: int, data: list[LanguageData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every member in a call of its own, and all in one whatever their lengths."""
    monkeypatch.setattr("statespan.training.fleet.CALL_NUMBERS", call)
    fleet = various(SMALL["transformer"], data, tmp_path / "fleet")
    alone = various(SMALL["transformer"], data, tmp_path / "alone")
    train_fleet([member.run for member in fleet])
    train_all_alone(alone)
    assert_same_runs(fleet, alone)


@pytest.mark.parametrize("loss", ["class-mse", "class-cross-entropy"])
def test_the_other_losses_train_in_a_fleet_too(
    loss: str, data: list[LanguageData], tmp_path: Path
) -> None:
    first = data[:1]
    fleet = various(SMALL["transformer"], first, tmp_path / "fleet", loss=loss)
    alone = various(SMALL["transformer"], first, tmp_path / "alone", loss=loss)
    train_fleet([member.run for member in fleet])
    train_all_alone(alone)
    assert_same_runs(fleet, alone)


class Killed(BaseException):
    """Stands for a kill in the middle of a step."""


@pytest.mark.parametrize("killed_at", [1, 7, 12])
def test_a_fleet_that_was_killed_is_taken_up_by_a_fleet_and_by_lone_runs(
    killed_at: int, data: list[LanguageData], tmp_path: Path
) -> None:
    whole = various(SMALL["transformer"], data, tmp_path / "whole")
    train_fleet([member.run for member in whole])
    for index, place in enumerate(("fleet", "alone")):
        parts = various(SMALL["transformer"], data, tmp_path / place)
        steps = 0

        def count(step: int, loss: float) -> None:
            nonlocal steps
            steps += 1
            if steps == 5 * killed_at - 2:  # some members have made the step, others have not
                raise Killed

        for member in parts:
            member.run._on_step = count
        with pytest.raises(Killed):
            train_fleet([member.run for member in parts])
        rest = various(SMALL["transformer"], data, tmp_path / place)
        if index == 0:
            train_fleet([member.run for member in rest])
        else:
            train_all_alone(rest)
        for one, other in zip(rest, whole, strict=True):
            kept = [r for r in other.records if r.step > other.run.done - len(one.losses)]
            assert [r.positions for r in one.records] == [r.positions for r in kept]
            assert_same_tensors(load_file(one.checkpoint), load_file(other.checkpoint))


def test_a_member_that_diverges_leaves_the_others_alone(
    data: list[LanguageData], tmp_path: Path
) -> None:
    def with_a_wild_one(path: Path) -> list[Member]:
        members = various(SMALL["mamba"], data, path, steps=8, report_every=3)
        config = TrainingConfig(**{**SHORT, "learning_rate": 1e30, "warmup": 0, "report_every": 1})
        members.insert(2, Member(SMALL["mamba"], data[0], config, 9, path / "wild"))
        return members

    fleet, alone = with_a_wild_one(tmp_path / "fleet"), with_a_wild_one(tmp_path / "alone")
    errors = train_fleet([member.run for member in fleet])
    wild, lone_wild = fleet.pop(2), alone.pop(2)
    train_all_alone(alone)
    assert_same_runs(fleet, alone)
    with pytest.raises(TrainingError) as caught:
        train_alone(lone_wild.run)
    assert [error is None for error in errors] == [True, True, False, True, True, True]
    assert str(errors[2]).replace("fleet", "alone") == str(caught.value)
    assert_same_tensors(load_file(wild.checkpoint), load_file(lone_wild.checkpoint))
    assert len(wild.records) == len(lone_wild.records)


def test_a_fleet_of_none_and_of_finished_runs_does_nothing(
    data: list[LanguageData], tmp_path: Path
) -> None:
    assert train_fleet([]) == []
    config = TrainingConfig(steps=0)
    member = Member(SMALL["transformer"], data[0], config, 0, tmp_path)
    before = {name: value.clone() for name, value in member.run.model.state_dict().items()}
    assert train_fleet([member.run]) == [None]
    assert member.records == []
    assert_same_tensors(dict(member.run.model.state_dict()), before)


def test_models_that_cannot_run_as_one_are_refused(
    data: list[LanguageData], tmp_path: Path
) -> None:
    config = TrainingConfig(**SHORT)
    counting = [
        Member(LSTMConfig(d_model=8), data[0], config, seed, tmp_path / str(seed))
        for seed in (0, 1)
    ]
    for member in counting:  # what a model writes down as it runs, no copy of it can share
        member.run.model.register_buffer("calls", torch.zeros(1))
    assert not has_member_rules(counting[0].run.model)
    with pytest.raises(ConfigError, match=r"torch.func.vmap can run, lstm is none"):
        train_fleet([member.run for member in counting])
    narrow = Member(SMALL["transformer"], data[0], config, 0, tmp_path / "narrow")
    wide = Member(SMALL["rotary"], data[0], config, 0, tmp_path / "wide")
    with pytest.raises(ConfigError, match="must have one config"):
        train_fleet([narrow.run, wide.run])


@pytest.mark.parametrize("name", SMALL)
def test_these_models_run_as_one(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    model = build_model(SMALL[name], vocab_size=5, num_outputs=5, generator=generator)
    assert has_member_rules(model)


def test_the_stacked_optimizer_is_torch_s_own_for_each_member() -> None:
    """Members step at different times, and each has its own rate, decay and clipping."""
    generator = torch.Generator().manual_seed(0)
    config = MambaConfig(d_model=4, layers=1, d_state=2)
    models = [
        build_model(config, vocab_size=5, num_outputs=5, generator=generator) for _ in range(6)
    ]
    configs = [TrainingConfig(weight_decay=decay) for decay in (0.0, 0.1, 0.5)]
    alone = models[3:]
    for model, other in zip(models, alone, strict=False):
        other.load_state_dict(model.state_dict())
    members = list(zip(models[:3], map(build_optimizer, models[:3], configs), strict=True))
    optimizers = [build_optimizer(*pair) for pair in zip(alone, configs, strict=True)]
    stacked = StackedModels(models[:3])
    optimizer = StackedAdamW(stacked, members)
    limits = torch.tensor([0.0, 1.0, 0.1])
    for step in range(12):
        rows = [row for row in range(3) if (step + row) % 3 or row == 0]
        rates = torch.rand(len(rows), generator=generator, dtype=torch.float64)
        gradients = torch.randn(len(rows), stacked.values.shape[1], generator=generator)
        for row, rate, gradient in zip(rows, rates.tolist(), gradients, strict=True):
            parts = stacked.split(gradient)
            for name, parameter in alone[row].named_parameters():
                parameter.grad = parts[name].clone()
            if limits[row]:
                torch.nn.utils.clip_grad_norm_(alone[row].parameters(), float(limits[row]))
            for group in optimizers[row].param_groups:
                group["lr"] = rate
            optimizers[row].step()
        optimizer.step(rows, clip_gradients(gradients, limits[rows]), rates)
    for (model, _), other in zip(members, alone, strict=True):
        assert_same_tensors(dict(model.state_dict()), dict(other.state_dict()))


@given(sizes=st.lists(st.integers(1, 60), min_size=1, max_size=6), overhead=st.integers(0, 80))
def test_groups_cost_the_least(sizes: list[int], overhead: int) -> None:
    groups = split_by_length(sizes, overhead)
    assert sorted(row for group in groups for row in group) == list(range(len(sizes)))
    assert all(group == sorted(group) for group in groups)

    def cost(split: list[list[int]]) -> int:
        return sum(overhead + len(g) * max(sizes[row] for row in g) for g in split)

    for labels in product(range(3), repeat=len(sizes)):
        split = [[row for row, own in enumerate(labels) if own == label] for label in range(3)]
        assert cost(groups) <= cost([group for group in split if group])


def test_members_have_a_penalty_on_fading_of_their_own(
    data: list[LanguageData], tmp_path: Path
) -> None:
    def members(place: str) -> list[Member]:
        return [
            Member(
                SMALL["mamba"],
                data[0],
                TrainingConfig(**SHORT, fading_penalty=penalty),
                0,
                tmp_path / place / str(penalty),
            )
            for penalty in (0.0, 10.0)
        ]

    fleet, alone = members("fleet"), members("alone")
    assert train_fleet([member.run for member in fleet]) == [None, None]
    train_all_alone(alone)
    assert_same_runs(fleet, alone)
    free, drawn = (mean_log_fading(member.run.model.named_parameters()).item() for member in fleet)
    assert drawn < free - 0.01
    assert fleet[0].losses[0] == fleet[1].losses[0], "the losses that are told are without it"
    with pytest.raises(ConfigError, match="fading_penalty needs a model with parameters A_log"):
        Member(
            LSTMConfig(d_model=8),
            data[0],
            TrainingConfig(**SHORT, fading_penalty=1.0),
            0,
            tmp_path / "lstm",
        )
