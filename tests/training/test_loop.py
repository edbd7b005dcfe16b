"""Training is a function of its config, and can be taken up at any checkpoint."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch
from safetensors.torch import load_file, save_file

import statespan
from statespan.errors import StorageError, TrainingError
from statespan.models import SequenceModel, build_model
from statespan.models.lstm import LSTMConfig
from statespan.models.mamba import MambaConfig
from statespan.records import TrainingRecord
from statespan.training import (
    LanguageData,
    TrainingConfig,
    build_data,
    build_readout,
    checkpoint_step,
    python_stream,
    torch_stream,
    train,
)
from statespan.training.loop import build_optimizer, learning_rate

CONFIG = TrainingConfig(steps=24, batch_size=8, report_every=5, warmup=4)


@pytest.fixture(scope="module")
def data() -> LanguageData:
    return build_data(
        statespan.language("parity"),
        [(1, 10)],
        sampler="uniform",
        train_words=60,
        test_words=5,
        rng=Random(0),
    )


def run(
    data: LanguageData, path: Path, config: TrainingConfig = CONFIG, seed: int = 0
) -> tuple[SequenceModel, list[TrainingRecord]]:
    readout = build_readout(config.loss, data.vocabulary, data.answer_sets)
    model = build_model(
        MambaConfig(d_model=8, layers=1),
        vocab_size=data.vocabulary.size,
        num_outputs=readout.num_outputs,
        generator=torch_stream(seed, "initialization"),
    )
    records: list[TrainingRecord] = []
    train(
        model,
        readout,
        data.train,
        config,
        seed=seed,
        checkpoint_path=path / "checkpoint.safetensors",
        on_record=records.append,
    )
    return model, records


class Killed(BaseException):
    """Stands for a kill in the middle of a step."""


def test_the_same_config_gives_the_same_numbers(data: LanguageData, tmp_path: Path) -> None:
    results = []
    for index, seed in enumerate((3, 3, 4)):
        (tmp_path / str(index)).mkdir()
        model, records = run(data, tmp_path / str(index), seed=seed)
        results.append(([r.loss_sum for r in records], model.state_dict()))
    assert results[0][0] == results[1][0] != results[2][0]
    for name, value in results[0][1].items():
        assert torch.equal(value, results[1][1][name])


@pytest.mark.parametrize("killed_at", [1, 5, 6, 14, 23])
def test_a_run_that_was_killed_goes_on_to_the_same_numbers(
    data: LanguageData, tmp_path: Path, killed_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole, records = run(data, tmp_path / "whole")

    from statespan.training import loop

    real, calls = loop._step, 0

    def step_or_die(*arguments: object) -> tuple[float, int]:
        nonlocal calls
        calls += 1
        if calls == killed_at:
            raise Killed
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "_step", step_or_die)
    with pytest.raises(Killed):
        run(data, tmp_path / "parts")
    monkeypatch.undo()
    done = checkpoint_step(tmp_path / "parts" / "checkpoint.safetensors")
    assert done == (killed_at - 1) // 5 * 5
    parts, rest = run(data, tmp_path / "parts")
    assert [r.loss_sum for r in rest] == [r.loss_sum for r in records if r.step > done]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(
    data: LanguageData, tmp_path: Path
) -> None:
    config = TrainingConfig(steps=50, learning_rate=1e30, warmup=0, report_every=1, clip=0.0)
    with pytest.raises(TrainingError, match=r"learning_rate") as caught:
        run(data, tmp_path, config)
    assert "checkpoint" in str(caught.value)
    tensors = load_file(tmp_path / "checkpoint.safetensors")
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_records_count_every_position_once(data: LanguageData, tmp_path: Path) -> None:
    _, records = run(data, tmp_path, TrainingConfig(steps=8, batch_size=8, report_every=3))
    assert [record.step for record in records] == [3, 6, 8]
    assert sum(r.positions for r in records) == sum(len(e.tokens) for e in data.train)


def test_a_checkpoint_of_another_model_is_refused(data: LanguageData, tmp_path: Path) -> None:
    save_file({"model.x": torch.ones(1)}, tmp_path / "checkpoint.safetensors", {"step": "3"})
    with pytest.raises(StorageError, match="is of another model"):
        run(data, tmp_path)


def test_a_file_that_is_no_checkpoint_is_refused(data: LanguageData, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"no checkpoint")
    with pytest.raises(StorageError, match="cannot read the checkpoint"):
        run(data, tmp_path)


def test_schedules_have_their_shape() -> None:
    cosine = TrainingConfig(steps=110, warmup=10, learning_rate=1.0)
    assert learning_rate(cosine, 1) == pytest.approx(0.1)
    assert learning_rate(cosine, 10) == pytest.approx(1.0)
    assert learning_rate(cosine, 60) == pytest.approx(0.5)
    assert learning_rate(cosine, 110) == pytest.approx(0.0)
    constant = TrainingConfig(steps=110, warmup=0, learning_rate=1.0, schedule="constant")
    assert {learning_rate(constant, step) for step in (1, 50, 110)} == {1.0}


def test_only_matrices_decay() -> None:
    generator = torch.Generator().manual_seed(0)
    for config in (MambaConfig(d_model=8), LSTMConfig(d_model=8)):
        model = build_model(config, vocab_size=5, num_outputs=5, generator=generator)
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        decays, keeps = build_optimizer(model, TrainingConfig()).param_groups
        assert all(names[id(p)].endswith("A_log") or p.ndim == 1 for p in keeps["params"])
        assert all(p.ndim > 1 for p in decays["params"])
        assert len(decays["params"]) + len(keeps["params"]) == len(names)


def test_streams_are_separate_and_reproducible() -> None:
    names = ("data", "initialization", "order/0", "order/1")
    drawn = [python_stream(0, name).random() for name in names]
    assert len(set(drawn)) == len(names)
    assert drawn == [python_stream(0, name).random() for name in names]
    assert python_stream(1, "data").random() not in drawn
    first, second = (torch.rand(1, generator=torch_stream(0, "x")) for _ in range(2))
    assert torch.equal(first, second)
