"""Lists of keys and values in text: what is asked stands in the list, and answers are counted."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from statespan.errors import InputError, LengthError
from statespan.evaluation import load_language_model
from statespan.evaluation.language_model import LanguageModel
from statespan.evaluation.lists import draw_lists, evaluate_lists
from statespan.pretrained import embedded_hybrid


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return load_language_model(embedded_hybrid())


def test_each_key_stands_in_the_list_with_its_value(model: LanguageModel) -> None:
    for document in draw_lists(model, 400, 8):
        assert 200 <= len(document.tokens) <= 400
        text = model.tokenizer.decode(document.tokens)
        first, second = text.split("\nAgain, in another order:")
        pairs = dict(re.findall(r"\n(\w+): (\w+)", first))
        asked = re.findall(r"\n(\w+): (\w+)", second)
        assert dict(asked) == pairs
        assert len(asked) == max(document.answers) + 1
    again = draw_lists(model, 400, 8)
    assert again == draw_lists(model, 400, 8)
    assert again != draw_lists(model, 400, 8, seed=1)


def test_a_value_counts_only_if_all_of_its_tokens_are_right(
    model: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = draw_lists(model, 300, 5)

    def next_tokens(live: Any, tokens: torch.Tensor, *, begin: int) -> torch.Tensor:
        del live
        given = torch.zeros(len(tokens), tokens.shape[1] - begin, dtype=torch.long)
        for row, seen in zip(given, tokens.tolist(), strict=True):
            document = next(d for d in documents if d.tokens[:60] == seen[:60])
            first = document.answers.index(1)  # the first of its tokens alone
            for place, token in enumerate(document.tokens):
                if place > begin:
                    row[place - 1 - begin] = token + (place == first)
        return given

    monkeypatch.setattr("statespan.evaluation.lists.next_tokens", next_tokens)
    record = evaluate_lists(model, 300, 5, batch_size=2)
    asked = sum(max(document.answers) + 1 for document in documents)
    assert (record.positions, record.correct_positions) == (asked, asked - 5)
    assert (record.samples, record.correct) == (5, 0)


def test_batches_give_the_same_answers(model: LanguageModel) -> None:
    alone = evaluate_lists(model, 256, 6)
    assert alone == evaluate_lists(model, 256, 6, batch_size=4)
    assert alone.accuracy > 50


def test_what_cannot_be_asked_is_told(model: LanguageModel) -> None:
    with pytest.raises(LengthError, match="length must be at least about"):
        evaluate_lists(model, 12, 1)
    with pytest.raises(InputError, match="needs a tokenizer"):
        evaluate_lists(LanguageModel(model.model), 256, 1)
