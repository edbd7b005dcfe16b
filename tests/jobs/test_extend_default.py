"""What ships to extend, how processes are launched, and the recipe at every size."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statespan.errors import InputError, UnknownNameError
from statespan.evaluation.attentions import make_attention
from statespan.jobs import default_extension, extend_config, launch_config
from statespan.jobs.extend_recipe import recipe
from statespan.records import to_struct
from statespan.training.fine_tuning_config import FineTuningConfig

sys.path.insert(0, str(Path(__file__).parent))
from extend_inputs import write_model


def stand_in(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("statespan.pretrained.assets.embedded_hybrid", lambda: folder)


def test_the_default_is_what_ships_at_eight_times_its_length(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from statespan.jobs import extend_default

    stand_in(monkeypatch, write_model(tmp_path / "hybrid"))
    (tmp_path / "novel.txt").write_text("text", "utf-8")
    monkeypatch.setattr(extend_default, "NOVEL", str(tmp_path / "novel.txt"))
    config = extend_config(default_extension())
    assert (config.model, config.length) == (str(tmp_path / "hybrid"), 8 * 16)
    monkeypatch.setattr(extend_default, "NOVEL", str(tmp_path / "none.txt"))
    with pytest.raises(InputError, match="ships no model"):
        default_extension()


@pytest.mark.parametrize("name", ["fsdp2", "deepspeed"])
def test_accelerate_reads_the_files_that_ship(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config: Any = load_config_from_file(str(launch_config(name)))
    assert config.distributed_type.value == {"fsdp2": "FSDP"}.get(name, "DEEPSPEED")


def test_an_unknown_file_is_told() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean fsdp2"):
        launch_config("fsdp")


@given(
    st.integers(2, 1 << 20), st.integers(100, 10**12), st.integers(1, 20_000), st.integers(1, 64)
)
def test_every_size_has_a_recipe_that_can_be_trained(
    length: int, parameters: int, width: int, processes: int
) -> None:
    for kind in ("full", "span", "sliding", "s2", "moba"):
        made = recipe(
            length, parameters=parameters, width=width, attention=kind, processes=processes
        )
        config = to_struct(made.training, FineTuningConfig)
        make_attention(kind, made.attentions[kind])
        alone = recipe(length, parameters=parameters, width=width, attention=kind)
        assert config.rows % processes == 0
        assert 0 <= config.rows - alone.training["rows"] < processes
        tokens = config.steps * alone.training["rows"] * length
        assert tokens <= max(1.5 * 524_288_000, 2 * length)
        assert 1 <= made.rank <= 32
        assert max(made.attentions["span"]["chunk"]) <= 4_096
