"""Folders that weights can start from, and those that are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save_file

from statespan.errors import ConfigError, StorageError
from statespan.models import ModelConfig, SequenceModel, build_model
from statespan.models.diagonal import DiagonalConfig
from statespan.models.lstm import LSTMConfig
from statespan.models.mamba import MambaConfig
from statespan.models.mamba2 import Mamba2Config
from statespan.training.initial_weights import (
    load_initial_weights,
    read_architecture,
    read_initial_weights,
)

ALPHABET = ["a", "b"]
MAMBA = MambaConfig(d_model=8, layers=1, d_state=3, d_conv=2, dt_rank=2)
MAMBA2 = Mamba2Config(d_model=8, layers=1, d_state=3, head_dim=4, expand=1)


def make(config: ModelConfig) -> SequenceModel:
    return build_model(
        config, vocab_size=5, num_outputs=5, generator=torch.Generator().manual_seed(0)
    )


def write(folder: Path, config: ModelConfig, dtype: torch.dtype = torch.float32) -> SequenceModel:
    """Write a checkpoint as the compiler does, and return the model in it."""
    model = make(config).to(dtype)
    folder.mkdir(exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors", metadata={"format": "pt"})
    table = model.transformers_config()
    content = {**(table or {}), "statespan": {"alphabet": ALPHABET}}
    (folder / "config.json").write_text(json.dumps(content))
    return model


def change(path: Path, **values: Any) -> None:
    table = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in table.items() if value is not None}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("config", [MAMBA, MAMBA2], ids=repr)
def test_a_checkpoint_of_transformers_becomes_a_model_of_ours(
    config: ModelConfig, dtype: torch.dtype, tmp_path: Path
) -> None:
    written = write(tmp_path / "there", config, dtype)
    initial = read_initial_weights(tmp_path / "there")
    assert (initial.model, initial.alphabet) == (config, ("a", "b"))
    (tmp_path / "copy.safetensors").write_bytes(initial.content)
    model = make(initial.model)
    load_initial_weights(tmp_path / "copy.safetensors", model)
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, written.state_dict()[name].float())


def test_transformers_leaves_defaults_out(tmp_path: Path) -> None:
    config = MambaConfig(d_model=32, layers=1, d_state=16, d_conv=4, expand=2)
    write(tmp_path, config)
    change(tmp_path / "config.json", expand=None, state_size=None, conv_kernel=None)
    change(tmp_path / "config.json", time_step_rank="auto")
    assert read_initial_weights(tmp_path).model == MambaConfig(d_model=32, layers=1, dt_rank=2)


def test_the_alphabet_can_stand_in_a_file_beside(tmp_path: Path) -> None:
    write(tmp_path, MAMBA)
    change(tmp_path / "config.json", statespan=None)
    (tmp_path / "statespan.json").write_text(json.dumps({"alphabet": ALPHABET}))
    assert read_initial_weights(tmp_path).alphabet == ("a", "b")


def write_readout(folder: Path, **changes: Any) -> None:
    model = {"name": "lstm", "layers": 1, "d_model": 8}
    meaning = {"alphabet": ALPHABET, "loss": "symbols", "answer_sets": [], "model": model}
    (folder / "readout.json").write_text(json.dumps({**meaning, **changes}))


def test_the_model_of_a_probe_says_what_it_is(tmp_path: Path) -> None:
    config = LSTMConfig(layers=1, d_model=8)
    write(tmp_path, config)
    write_readout(tmp_path)
    initial = read_initial_weights(tmp_path)
    assert (initial.model, initial.alphabet) == (config, ("a", "b"))
    assert load(initial.content).keys() == make(config).state_dict().keys()


def test_a_compiled_model_of_ours_says_what_it_is(tmp_path: Path) -> None:
    config = DiagonalConfig(layers=1, d_model=8, d_state=3, d_hidden=4)
    write(tmp_path, config)
    sizes = {"name": "diagonal", "layers": 1, "d_model": 8, "d_state": 3, "d_hidden": 4}
    (tmp_path / "config.json").write_text(json.dumps({**sizes, "statespan": {}}))
    (tmp_path / "statespan.json").write_text(json.dumps({"alphabet": ALPHABET}))
    initial = read_initial_weights(tmp_path)
    assert (initial.model, initial.alphabet) == (config, ("a", "b"))
    change(tmp_path / "config.json", name=None)
    with pytest.raises(ConfigError, match="must have the name of a model, got None"):
        read_architecture(tmp_path)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"initialize_from must be a folder .* got .*nowhere"):
        read_architecture(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"neither readout.json nor config.json"):
        read_architecture(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model_type": "gpt2"}, "must be of mamba or mamba2, got model_type 'gpt2'"),
        ({"use_bias": True}, "use_bias must be False here, got True"),
        ({"layer_norm_epsilon": 1e-6}, "layer_norm_epsilon must be 1e-05 here, got 1e-06"),
        ({"state_size": "many"}, "d_state: Expected `int`"),
        ({"state_size": 4}, r"A_log must be \(16, 4\), got \(16, 3\)"),
        ({"num_hidden_layers": 2}, r"layers.1.mixer.A_log must be \(16, 3\), got nothing"),
        ({"statespan": {"alphabet": ["a"]}}, r"embeddings.weight must be \(4, 8\), got \(5, 8\)"),
        ({"statespan": None}, "does not say which symbols"),
        ({"statespan": {"alphabet": [1, 2]}}, "does not say which symbols"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    values: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write(tmp_path, MAMBA)
    change(tmp_path / "config.json", **values)
    with pytest.raises(ConfigError, match=message):
        read_initial_weights(tmp_path)


def test_groups_of_mamba2_that_we_do_not_have_are_refused(tmp_path: Path) -> None:
    write(tmp_path, MAMBA2)
    change(tmp_path / "config.json", n_groups=None)
    with pytest.raises(ConfigError, match="n_groups must be 1 here, got 8"):
        read_initial_weights(tmp_path)


@pytest.mark.parametrize(("text", "message"), [("[1]", "must hold an object"), ("{", "is no JSON")])
def test_a_config_that_is_none_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_architecture(tmp_path)


def test_classes_of_sets_are_no_tokens(tmp_path: Path) -> None:
    write(tmp_path, LSTMConfig(layers=1, d_model=8))
    write_readout(tmp_path, loss="class-mse")
    with pytest.raises(ConfigError, match=r"outputs .* are sets of next symbols .* class-mse"):
        read_initial_weights(tmp_path)


def test_weights_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    model = write(tmp_path, MAMBA)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(StorageError, match="is no safetensors file"):
        read_initial_weights(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"holds no model.safetensors"):
        read_initial_weights(tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    tensors = write(tmp_path, MAMBA).state_dict()
    tensors["lm_head.weight"][0, 0] = torch.nan
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"lm_head.weight is not finite"):
        read_initial_weights(tmp_path)


def test_a_copy_of_another_model_is_refused(tmp_path: Path) -> None:
    write(tmp_path, MAMBA)
    with pytest.raises(StorageError, match=r"the initial weights .* cannot be used"):
        load_initial_weights(tmp_path / "model.safetensors", make(MAMBA2))
