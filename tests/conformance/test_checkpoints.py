"""Checkpoints of the kit: right answers by the language's machine, refused without a proof."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from statespan.compiler import compile as compile_exactly
from statespan.conformance import CompiledCheckpoint, Scores, make_checkpoints
from statespan.conformance.export import export_checkpoints
from statespan.conformance.hybrids import hybrid_of
from statespan.conformance.losses import logits_after_loss
from statespan.conformance.recipes import RECIPES, compiled_recipe, write_checkpoint
from statespan.errors import InputError
from statespan.training import BOS, EOS, PAD

SMALL = ["tomita-7-mamba2-f32", "flip-flop-bamba-f32", "dyck-1-mamba-f32"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


def opened(folder: Path, name: str) -> CompiledCheckpoint:
    (checkpoint,) = make_checkpoints(folder, [name])
    assert isinstance(checkpoint, CompiledCheckpoint)
    return checkpoint


@torch.inference_mode()
def logits_of(checkpoint: CompiledCheckpoint, tokens: tuple[int, ...]) -> Scores:
    return Scores(checkpoint.compiled.model(torch.tensor([tokens])).logits[0].float())


@pytest.mark.parametrize("name", SMALL)
def test_the_model_says_what_is_expected(folder: Path, name: str) -> None:
    checkpoint = opened(folder, name)
    for length in (1, 2, 30, 90):
        tokens = checkpoint.draw(length, rng=Random(length))
        answers = checkpoint.expected(tokens)
        scores = logits_of(checkpoint, tokens)
        assert len(tokens) == length
        assert tokens[0] == BOS
        assert None not in answers
        assert checkpoint.said(scores) == answers
        assert checkpoint.margin(scores, answers) == 64


def test_a_row_without_bos_goes_on_from_the_blank_state(folder: Path) -> None:
    checkpoint = opened(folder, "tomita-7-mamba2-f32")
    assert checkpoint.starts_blank
    for seed in range(8):
        bare = checkpoint.draw(20, rng=Random(seed))[1:]
        assert checkpoint.said(logits_of(checkpoint, bare)) == checkpoint.expected(bare)
    other = opened(folder, "flip-flop-bamba-f32")
    assert not other.starts_blank
    assert other.expected((3, BOS, 3))[:1] == [None]


def test_nothing_is_promised_past_a_count_or_a_broken_prefix(folder: Path) -> None:
    checkpoint = opened(folder, "dyck-1-mamba-f32")
    deep = checkpoint.expected((BOS, *[3] * 41))
    assert deep[40] == frozenset({3, 4})
    assert deep[41] is None
    assert checkpoint.expected((BOS, 4, BOS, 3))[1:] == [None] * 3
    assert checkpoint.expected((BOS, 3, PAD, 3))[2] is None
    assert "no count exceeds 40" in checkpoint.promise


def test_probabilities_say_the_same_as_logits(folder: Path) -> None:
    checkpoint = opened(folder, "tomita-7-mamba2-f32")
    dead = (BOS, 4, 3, 4, 3, 4, 3, 4, 3)
    scores = logits_of(checkpoint, dead)
    shares = Scores(scores.values.log_softmax(-1), are_logits=False)
    assert checkpoint.said(shares) == checkpoint.said(scores) == checkpoint.expected(dead)
    assert checkpoint.expected(dead)[-1] == frozenset()


def test_facts_say_what_is_held_and_which_one_is_mistaken(folder: Path) -> None:
    checkpoint = opened(folder, "tomita-7-mamba2-f32")
    tokens = (BOS, 4, 3)
    facts = checkpoint.facts(tokens)
    assert facts["c1 (it remembers whether 10 has been read)"] == "10 has been read"
    mistaken = checkpoint.confusions(tokens, frozenset({EOS, 3, 4}))
    assert all(sum(other[fact] != facts[fact] for fact in facts) == 1 for other in mistaken)
    assert checkpoint.facts((4, 3)) == facts


def test_a_lost_state_is_not_a_lost_window(folder: Path) -> None:
    checkpoint = opened(folder, "tomita-7-mamba2-f32")
    model, tokens = checkpoint.compiled.model, (BOS, 4, 3, 4)
    whole = logits_after_loss(model, tokens, 99, "state")
    assert torch.equal(whole, logits_of(checkpoint, tokens).values)
    state = logits_after_loss(model, tokens, 3, "recurrent state")
    window = logits_after_loss(model, tokens, 3, "last inputs of the convolution")
    assert not torch.equal(state[3], whole[3])
    assert not torch.equal(state, window)


def test_a_hybrid_computes_attention_that_adds_nothing(folder: Path) -> None:
    model = opened(folder, "flip-flop-bamba-f32").compiled.model
    kinds = model.config.layer_types
    attention = model.model.layers[kinds.index("full_attention")].self_attn
    assert attention.q_proj.weight.any()
    assert not attention.o_proj.weight.any()
    with pytest.raises(InputError, match="made of a mamba2 model, got one of mamba"):
        hybrid_of(compile_exactly("tomita-1", "mamba"), "bamba")
    with pytest.raises(InputError, match="family must be bamba"):
        hybrid_of(compile_exactly("tomita-1", "mamba2"), "jamba")


def copied(folder: Path, to: Path) -> Path:
    make_checkpoints(folder, ["tomita-7-mamba2-f32"])
    return Path(shutil.copytree(folder / "tomita-7-mamba2-f32", to / "copy"))


def test_a_checkpoint_without_a_certificate_is_refused(folder: Path, tmp_path: Path) -> None:
    path = copied(folder, tmp_path)
    (path / "certificate.json").unlink()
    with pytest.raises(InputError, match="has no certificate, so nobody knows"):
        CompiledCheckpoint(path)
    (path / "certificate.json").write_text("{")
    with pytest.raises(InputError, match="is broken"):
        CompiledCheckpoint(path)


def test_other_weights_and_open_certificates_are_refused(folder: Path, tmp_path: Path) -> None:
    path = copied(folder, tmp_path)
    table: dict[str, Any] = json.loads((path / "certificate.json").read_bytes())
    (path / "certificate.json").write_text(json.dumps({**table, "proves": False}))
    with pytest.raises(InputError, match="proves nothing"):
        CompiledCheckpoint(path)
    (path / "certificate.json").write_text(json.dumps(table))
    weights = load_file(path / "model.safetensors")
    weights["lm_head.weight"] *= 2
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="is of other weights"):
        CompiledCheckpoint(path)


def test_a_model_that_cannot_be_proved_is_not_written(tmp_path: Path) -> None:
    compiled = compile_exactly("tomita-1", "mamba2")
    tensors = {name: tensor.clone() for name, tensor in compiled.tensors.items()}
    tensors["lm_head.weight"] *= -1
    from dataclasses import replace

    with pytest.raises(InputError, match="has no proof that it is right"):
        write_checkpoint(replace(compiled, tensors=tensors), tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def test_what_is_made_is_found_again(folder: Path) -> None:
    first = opened(folder, "tomita-7-mamba2-f32").folder / "model.safetensors"
    before = first.stat().st_mtime_ns
    opened(folder, "tomita-7-mamba2-f32")
    assert first.stat().st_mtime_ns == before
    (folder / "tomita-7-mamba2-f32" / "versions.json").write_text('{"torch": "0"}')
    opened(folder, "tomita-7-mamba2-f32")
    assert first.stat().st_mtime_ns > before


def test_the_set_has_what_it_should() -> None:
    names = RECIPES.names()
    assert len(names) == len(set(names))
    for part in ("flip-flop", "d-12", "dyck-1", "bounded-dyck", "s5", "bf16", "bamba"):
        assert any(part in name for name in names)
    assert compiled_recipe("d-2", "mamba", "bfloat16").name == "d-2-mamba-bf16"


def test_an_export_holds_answers_that_its_weights_give(tmp_path: Path) -> None:
    manifest = export_checkpoints(tmp_path / "set", ["tomita-7-mamba2-f32"])
    entry = manifest["checkpoints"][0]
    assert entry["symbols"] == ["<s>", "</s>", "<pad>", "0", "1"]
    rows = (tmp_path / "set" / entry["answers"]).read_text().splitlines()
    checkpoint = CompiledCheckpoint(tmp_path / "set" / entry["folder"])
    for line in rows[:6]:
        row = msgspec.json.decode(line)
        said = checkpoint.said(logits_of(checkpoint, tuple(row["tokens"])))
        assert [sorted(answer) for answer in said] == row["may_follow"]
    assert export_checkpoints(tmp_path / "set", ["tomita-7-mamba2-f32"]) == manifest
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("")
    with pytest.raises(InputError, match="is not empty"):
        export_checkpoints(tmp_path / "full", ["tomita-7-mamba2-f32"])
