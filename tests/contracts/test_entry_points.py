"""A third party adds a language, a model or a loss by an entry point, without a line here."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from statespan.errors import InputError, UnknownNameError
from statespan.registry import Registry

DISTRIBUTION = """
from statespan.conformance.protocol import Engine
from statespan.errors import UnsupportedError
from statespan.languages import Language
from statespan.models import ModelConfig
from statespan.models.lstm import LSTM
from statespan.training import READOUTS

def odd_a(*, least: int = 1) -> Language:
    "Words of a of odd length."
    return Language.from_expression(f"a{{{least}}}(aa)*")

class OtherConfig(ModelConfig, frozen=True, tag="other-lstm", kw_only=True):
    "Sizes."

class OtherLSTM(LSTM):
    "An LSTM under another name."
    Config = OtherConfig

class OtherEngine(Engine):
    "An engine that offers nothing."
    name = "other-engine"
    version = "1.0"

    def load(self, checkpoint):
        raise UnsupportedError("there is nothing here.")

class OtherLoss(READOUTS.get("symbols")):
    "A loss under another name."
"""
ENTRY_POINTS = """
[statespan.languages]
odd-a = third_party_of_statespan:odd_a

[statespan.models]
other-lstm = third_party_of_statespan:OtherLSTM

[statespan.losses]
other-loss = third_party_of_statespan:OtherLoss

[statespan.engines]
other-engine = third_party_of_statespan:OtherEngine

[statespan.colors]
red = third_party_of_statespan:odd_a
broken = third_party_of_statespan:nothing
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a distribution: a module, and a .dist-info beside it, in a folder on the path."""
    from statespan.conformance.protocol import ENGINES
    from statespan.languages import LANGUAGES
    from statespan.models import MODELS
    from statespan.training import READOUTS

    (tmp_path / "third_party_of_statespan.py").write_text(DISTRIBUTION, "utf-8")
    info = tmp_path / "third_party_of_statespan-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: third-party-of-statespan\nVersion: 1.0\n", "utf-8"
    )
    (info / "entry_points.txt").write_text(ENTRY_POINTS, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "third_party_of_statespan", raising=False)
    importlib.invalidate_caches()
    for registry in (ENGINES, LANGUAGES, MODELS, READOUTS):
        monkeypatch.setattr(registry, "_members", dict(registry._members))
        monkeypatch.setattr(registry, "_entry_points_loaded", False)


@pytest.mark.usefixtures("installed")
def test_a_language_a_model_and_a_loss_are_found() -> None:
    from statespan.languages import language
    from statespan.models import MODELS
    from statespan.training import READOUTS

    assert language("odd-a", least=3).accepts("aaaaa")
    assert not language("odd-a", least=3).accepts("a")
    assert MODELS.get("other-lstm").Config.__name__ == "OtherConfig"
    assert "other-loss" in READOUTS


@pytest.mark.usefixtures("installed")
def test_an_engine_is_found_and_what_it_lacks_is_no_pass(tmp_path: Path) -> None:
    from statespan.conformance import ENGINES, make_checkpoints, run_kit

    engine = ENGINES.get("other-engine")()
    checkpoints = make_checkpoints(tmp_path, ["flip-flop-mamba2-f32"])
    report = run_kit(engine, checkpoints, ["whole", "chunks"])
    assert [result.status for result in report.results] == ["not offered", "not offered"]


@pytest.mark.usefixtures("installed")
def test_a_third_party_language_is_named_like_one_of_the_catalogue() -> None:
    from statespan.languages import LANGUAGES, language, language_from_text

    assert language("odd-a").description == "Words of a of odd length."
    assert language_from_text("odd-a:least=3").name == "odd-a:least=3"
    assert "odd-a" in LANGUAGES.names()


@pytest.mark.usefixtures("installed")
def test_what_is_registered_here_comes_before_an_entry_point() -> None:
    registry: Registry[object] = Registry("language", "languages")
    own = object()
    registry.add("odd-a", own)
    registry.names()
    assert registry.get("odd-a") is own


@pytest.mark.usefixtures("installed")
def test_a_broken_entry_point_says_which_one() -> None:
    registry: Registry[object] = Registry("color", "colors")
    with pytest.raises((InputError, AttributeError, ImportError), match=r"nothing|broken"):
        registry.names()


def test_without_the_distribution_the_name_is_unknown() -> None:
    with pytest.raises(UnknownNameError, match="unknown language 'odd-a'"):
        Registry[object]("language", "languages").get("odd-a")
