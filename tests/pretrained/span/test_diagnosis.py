"""What the doctor says of a model is what `enable` and `accelerate` do to it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoConfig

from statespan.cli.app import main
from statespan.errors import InputError
from statespan.pretrained import accelerate, attention, enable
from statespan.pretrained.span import diagnose
from tests.pretrained.span.span_models import EVERY, LATENT, span, span_model
from tests.pretrained.tiny_models import FAMILIES, TOKENS


def doctor(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["statespan", "doctor", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


@pytest.mark.parametrize("family", EVERY)
def test_it_is_what_is_done(family: str, tmp_path: Path) -> None:
    model = span_model(family)
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(tmp_path)
    found = diagnose(tmp_path)
    extension = enable(model, span(family))
    assert (found.extended, found.kept) == (extension.extended, extension.kept)
    assert found.refusal is None
    assert ("attention" in found.summaries) == (family not in LATENT)
    assert "key" in found.summaries
    assert found.architecture == type(model).__name__
    mixers = [part.path for part in found.structure.mixers]
    assert [*found.accelerated, *found.unaccelerated] == mixers
    if family.partition("/")[0] in FAMILIES:
        assert accelerate(model).replaced == found.accelerated


def test_the_facts_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = span_model("lfm3")
    with attention(model, span()):
        model.train()(torch_ids(), labels=torch_ids())
        model.config.save_pretrained(tmp_path)
    code, printed, _ = doctor([str(tmp_path)], capsys, monkeypatch)
    lines = printed.splitlines()
    assert code == 0
    assert lines[:2] == ["Lfm3ForCausalLM", "attention layers: 3"]
    heads = "  model.layers.1.self_attn: 2 heads, 1 of keys and values, of width 16; "
    assert lines[2] == heads + "positions: partial rotary"
    assert "slides over 8 tokens" in lines[3]
    assert "  model.layers.0.conv.conv: depthwise" in lines
    assert "  model.layers.2.self_attn: as it is, for it slides over 8 tokens" in lines
    assert lines[-2].startswith("its config enables SpanAttention(chunk=16")
    assert lines[-1].startswith("trained for 1 steps with SpanAttention(chunk=16")
    code, printed, _ = doctor([str(tmp_path), "--json"], capsys, monkeypatch)
    facts: dict[str, Any] = json.loads(printed)
    assert facts["enable"]["extended"] == ["model.layers.1.self_attn", "model.layers.3.self_attn"]
    assert facts["setting"]["trained"] is True
    assert facts["attention"][0]["position"] == "partial rotary"


def torch_ids() -> Any:
    from tests.pretrained.tiny_models import tokens

    return tokens()


def test_a_refusal_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    AutoConfig.for_model("mamba", **{**TOKENS, "num_hidden_layers": 2}).save_pretrained(tmp_path)
    code, printed, _ = doctor([str(tmp_path)], capsys, monkeypatch)
    assert code == 0
    assert "statespan.enable: refused. MambaModel has no attention layer" in printed
    assert "statespan.accelerate: 2 mixers would be replaced" in printed


def test_windows_and_latent_attention_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    span_model("mistral", sliding_window=8).config.save_pretrained(tmp_path)
    assert diagnose(tmp_path).window == 8
    assert "may have 8 tokens at most" in doctor([str(tmp_path)], capsys, monkeypatch)[1]
    span_model("kimi_linear").config.save_pretrained(tmp_path)
    printed = doctor([str(tmp_path)], capsys, monkeypatch)[1]
    assert "of width 24 (values 20); positions: none; multi-head latent" in printed
    assert "there is no operation of ours for it" in printed


def test_what_is_no_model_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="is no folder of a causal language model"):
        diagnose(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "nonsense"}')
    code, printed, told = doctor([str(tmp_path)], capsys, monkeypatch)
    assert (code, printed) == (2, "")
    assert "is no folder of a causal language model" in told
    assert doctor([str(tmp_path / "absent")], capsys, monkeypatch)[0] == 2
