"""What ships with the package is there, opens, and is what it is said to be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from statespan.errors import StorageError
from statespan.evaluation import generate_answers, load_language_model
from statespan.evaluation.ruler import count_found, ruler_samples
from statespan.pretrained import assets, embedded_hybrid, embedded_novels
from statespan.training.documents import read_prose

MOST_BYTES = 20_000_000


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_assets_are_small() -> None:
    assert size_of(embedded_novels().parent) < MOST_BYTES


def test_the_novel_is_prose_to_train_and_measure_on() -> None:
    prose = read_prose(embedded_novels())
    assert prose.characters > 1_000_000
    assert "Call me Ishmael." in prose.novels[0]
    assert len(prose.words) > 3_000


@pytest.fixture(scope="module")
def hybrid() -> Path:
    if not (assets.ASSETS / "hybrid").is_dir():
        pytest.skip("the hybrid is not in this copy of the sources")
    return embedded_hybrid()


def test_an_asset_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "ASSETS", tmp_path)
    with pytest.raises(StorageError, match="has no hybrid, which belongs in"):
        embedded_hybrid()


def test_the_hybrid_reads_english(hybrid: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(hybrid, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(hybrid)
    text = read_prose(embedded_novels()).novels[0][300_000:301_500]
    ids = tokenizer(text, return_tensors="pt").input_ids[:, :512]
    with torch.no_grad():
        loss = model(ids, labels=ids).loss
    assert float(loss) < 4.2


@pytest.mark.parametrize("task", ["niah_single_1", "niah_single_2"])
def test_the_hybrid_finds_a_needle_within_its_context(hybrid: Path, task: str) -> None:
    """In noise and in prose, at the whole length that it was trained on."""
    model = load_language_model(hybrid)
    samples = ruler_samples(task, model.tokenizer, 512, 6)
    answers = zip(samples, generate_answers(model, samples, batch_size=6), strict=True)
    assert sum(count_found(answer, sample.answers) for sample, answer in answers) >= 5


def test_the_hybrid_loses_a_needle_beyond_it(hybrid: Path) -> None:
    model = load_language_model(hybrid)
    samples = ruler_samples("niah_single_2", model.tokenizer, 1024, 4)
    answers = zip(samples, generate_answers(model, samples, batch_size=4), strict=True)
    assert sum(count_found(answer, sample.answers) for sample, answer in answers) <= 1
