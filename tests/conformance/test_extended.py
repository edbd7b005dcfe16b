"""Recall through the scenarios, with its own attention and with each choice of blocks.

Where the mask, the positions after a chunk or the document of a block is wrong, that is seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor

from statespan.conformance.checkpoint import Checkpoint
from statespan.conformance.engines.extended import ExtendedEngine
from statespan.conformance.engines.transformers import TransformersEngine, TransformersRunner
from statespan.conformance.protocol import Runner
from statespan.conformance.recall_recipes import SPANS
from statespan.conformance.recipes import make_checkpoints
from statespan.conformance.scenarios.scenario import SCENARIOS
from statespan.conformance.trial import run_trial
from statespan.errors import UnsupportedError

SHORT = ("left-padding", "packed", "random-chunks", "beam-reorder")
REST = (
    "whole", "unequal", "right-padding", "right-padding-unmasked", "token-by-token",
    "left-padded-prefill", "right-padded-prefill", "prefix-reuse", "rollback", "threads", "greedy",
    "sampled",
)  # fmt: skip
NAMES = ["recall-llama-f32", *(f"recall-span-{name}-f32" for name in SPANS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


def _load(folder: Path, name: str) -> tuple[Checkpoint, TransformersRunner]:
    (checkpoint,) = make_checkpoints(folder, [name])
    engine = ExtendedEngine() if "span" in name else TransformersEngine()
    runner = engine.load(checkpoint)
    assert isinstance(runner, TransformersRunner)
    return checkpoint, runner


def _faults(checkpoint: Checkpoint, runner: Runner, scenario: str) -> Iterator[str]:
    """Yield the trials in which something is wrong; every answer that is promised counts."""
    for label, trial in SCENARIOS.get(scenario).trials(checkpoint, Random(0)):
        for reading in run_trial(runner, trial):
            right = checkpoint.expected(reading.history)
            if reading.scores is not None:
                said = checkpoint.said(reading.scores)
                pairs = zip(said, right[-len(said) :], strict=True)
                wrong = any(a is not None and given != a for given, a in pairs)
            else:
                first = len(reading.history) - len(reading.written)
                pairs_written = zip(reading.written, right[first - 1 :], strict=False)
                wrong = any(a is not None and token not in a for token, a in pairs_written)
            if wrong:
                yield label
                break


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "scenarios", [SHORT, pytest.param(REST, marks=pytest.mark.slow)], ids=["short", "rest"]
)
def test_every_scenario_is_right(folder: Path, name: str, scenarios: tuple[str, ...]) -> None:
    checkpoint, runner = _load(folder, name)
    for scenario in scenarios:
        assert SCENARIOS.get(scenario).needs <= runner.abilities
        assert SCENARIOS.get(scenario).fits(checkpoint)
        assert list(_faults(checkpoint, runner, scenario)) == [], scenario


def test_an_attention_that_an_engine_does_not_know_is_not_offered(folder: Path) -> None:
    plain, span = make_checkpoints(folder, ["recall-llama-f32", "recall-span-all-f32"])
    with pytest.raises(UnsupportedError, match=r"asks for an attention of statespan\.memory"):
        TransformersEngine().load(span)
    with pytest.raises(UnsupportedError, match="says nothing of another attention"):
        ExtendedEngine().load(plain)


FAULTY = ["recall-llama-f32", "recall-span-all-f32", "recall-span-token-bound-f32"]


@pytest.mark.parametrize("name", FAULTY)
def test_a_forgotten_mask_is_found(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, runner = _load(folder, name)
    monkeypatch.setattr(runner, "_padding", lambda mask, padding: {})
    assert list(_faults(checkpoint, runner, "left-padding"))
    assert list(_faults(checkpoint, runner, "right-padding")) == []


@pytest.mark.parametrize("name", FAULTY)
@pytest.mark.parametrize("shift", ["begins anew", "one too far"])
def test_a_wrong_position_after_a_chunk_is_found(
    folder: Path, name: str, shift: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, runner = _load(folder, name)
    forward = runner.forward

    def shifted(ids: Tensor, **arguments: Any) -> Any:
        positions = arguments.get("position_ids")
        if positions is not None:
            first = positions[:, :1].clone()
            begin = first * 0 if shift == "begins anew" else first + (first > 0).long()
            arguments["position_ids"] = positions - first + begin
        return forward(ids, **arguments)

    monkeypatch.setattr(runner, "forward", shifted)
    assert list(_faults(checkpoint, runner, "random-chunks"))
    assert list(_faults(checkpoint, runner, "whole")) == []


@pytest.mark.parametrize("name", FAULTY[1:])
def test_a_block_of_another_document_is_found(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The documents are of whole chunks, so only blocks that are retrieved are of another."""
    room = import_module("statespan.memory.span_attention")
    checkpoint, runner = _load(folder, name)
    documents = [checkpoint.draw(64, rng=Random(seed)) for seed in range(3)]

    def wrong(documents: Sequence[tuple[int, ...]]) -> list[int]:
        scores = runner.score_packed(documents)
        answers = [checkpoint.expected(document) for document in documents]
        return [
            number
            for number, (given, right) in enumerate(zip(scores, answers, strict=True))
            if checkpoint.margin(given, right) < 0
        ]

    assert wrong(documents) == []
    monkeypatch.setattr(room, "is_one_document", lambda documents: True)
    assert wrong(documents) == [1, 2]
    assert list(_faults(checkpoint, runner, "packed"))


def test_documents_that_stock_attention_mixes_are_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, runner = _load(folder, "recall-llama-f32")
    monkeypatch.setattr(
        runner, "_packing", lambda lengths: {"position_ids": torch.arange(sum(lengths))[None]}
    )
    assert list(_faults(checkpoint, runner, "packed"))


@pytest.mark.parametrize("name", FAULTY)
def test_rows_that_change_places_with_their_caches_left_are_found(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from statespan.conformance.engines.transformers import TransformersSession

    checkpoint, runner = _load(folder, name)
    monkeypatch.setattr(TransformersSession, "reorder", lambda session, rows: None)
    assert list(_faults(checkpoint, runner, "beam-reorder"))
