"""A word counts only if every position is right, and padding never counts."""

from __future__ import annotations

from random import Random

import pytest
import torch
from jaxtyping import Int
from torch import Tensor

import statespan
from statespan.evaluation import (
    evaluate_bins,
    evaluate_lengths,
    evaluate_recognition,
    published_figures,
)
from statespan.evaluation.accuracy import score
from statespan.evaluation.recognition import count_accepted
from statespan.languages import LANGUAGES, Language
from statespan.models import ModelConfig, Output, SequenceModel
from statespan.models.model import ModelState
from statespan.training import PAD, LanguageData, SetReadout, Vocabulary, build_data, build_readout
from statespan.training.data import AnswerSets


class OracleModel(SequenceModel):
    """Answers as the language does, but wrongly after the prefixes in `mistakes`."""

    Config = ModelConfig

    def __init__(self, language: Language, mistakes: frozenset[str] = frozenset()) -> None:
        vocabulary = Vocabulary(language.alphabet)
        super().__init__(ModelConfig(), vocab_size=vocabulary.size, num_outputs=vocabulary.size)
        self.vocabulary = vocabulary
        self.language = language
        self.mistakes = mistakes

    def forward(
        self, tokens: Int[Tensor, "batch length"], state: ModelState | None = None
    ) -> Output:
        logits = torch.full((*tokens.shape, self.vocab_size), -1.0)
        for row, ids in enumerate(tokens.tolist()):
            word = "".join(self.language.alphabet[i - 3] for i in ids[1:] if i != PAD)
            for position in range(len(word) + 1):
                prefix = word[:position]
                answer = self.vocabulary.answers(self.language.next_symbols(prefix))
                if prefix in self.mistakes:
                    answer = [not given for given in answer]
                for token, given in zip(self.vocabulary.answer_ids, answer, strict=True):
                    logits[row, position, token] = 1.0 if given else -1.0
            logits[row, len(word) + 1 :] = 1.0
        return Output(logits, ())

    def initialize(self, generator: torch.Generator) -> None:
        raise NotImplementedError


LANGUAGE = statespan.language("d-2")
BINS = [(2, 8), (9, 16)]


@pytest.fixture(scope="module")
def data() -> LanguageData:
    return build_data(
        LANGUAGE, BINS, sampler="uniform", train_words=20, test_words=30, rng=Random(0)
    )


@pytest.fixture(scope="module")
def readout(data: LanguageData) -> SetReadout:
    return build_readout("symbols", data.vocabulary, data.answer_sets)


def test_the_oracle_is_right_everywhere(data: LanguageData, readout: SetReadout) -> None:
    for record in evaluate_bins(OracleModel(LANGUAGE), readout, data):
        assert record.correct == record.words > 0
        assert record.correct_positions == record.positions
        assert record.accuracy == 100.0


def test_one_wrong_position_costs_the_words_that_have_it_and_no_others(
    data: LanguageData, readout: SetReadout
) -> None:
    model = OracleModel(LANGUAGE, frozenset({"aab"}))
    for record, words in zip(evaluate_bins(model, readout, data), data.test_words, strict=True):
        hit = sum(str(word).startswith("aab") for word in words)
        assert 0 < hit < record.words
        assert record.correct == record.words - hit
        assert record.correct_positions == record.positions - hit
        assert record.positions == sum(len(word) + 1 for word in words)


def test_the_end_of_the_word_counts_too(readout: SetReadout) -> None:
    sets = AnswerSets(readout.vocabulary)
    examples = sets.encode(LANGUAGE, ["ab", "aabb"])
    counts = score(OracleModel(LANGUAGE, frozenset({"ab"})), readout, examples, sets.table())
    assert (counts[2, "correct"], counts[4, "correct"]) == (0, 1)


def test_the_curve_counts_words_of_each_length_that_has_some(readout: SetReadout) -> None:
    model = OracleModel(LANGUAGE, frozenset({"abab"}))
    records = evaluate_lengths(model, readout, LANGUAGE, [2, 3, 4, 6], 200, Random(0))
    assert [record.length for record in records] == [2, 4, 6]
    assert [record.words for record in records] == [1, 2, 4]
    assert [record.correct for record in records] == [1, 1, 3]


def test_the_oracle_recognizes_the_language(data: LanguageData, readout: SetReadout) -> None:
    model = OracleModel(LANGUAGE)
    for record in evaluate_recognition(model, readout, LANGUAGE, data, 40, Random(0)):
        assert record.accepted == record.members > 0
        assert record.rejected == record.negatives == 40


def test_a_model_that_allows_everything_accepts_near_misses(readout: SetReadout) -> None:
    class Generous(OracleModel):
        def forward(
            self, tokens: Int[Tensor, "batch length"], state: ModelState | None = None
        ) -> Output:
            return Output(torch.ones(*tokens.shape, self.vocab_size), ())

    assert count_accepted(Generous(LANGUAGE), readout, ["ab", "ba", "aaabbb"]) == 3
    assert count_accepted(OracleModel(LANGUAGE), readout, ["ab", "ba", "aaabbb", ""]) == 2


def test_no_near_miss_and_no_negatives_give_no_record(readout: SetReadout) -> None:
    everything = statespan.Language.from_expression("(a|b)*")
    data = build_data(
        everything, [(2, 6)], sampler="uniform", train_words=5, test_words=5, rng=Random(0)
    )
    assert (
        evaluate_recognition(OracleModel(everything), readout, everything, data, 3, Random(0)) == []
    )
    data = build_data(
        LANGUAGE, [(2, 6)], sampler="uniform", train_words=5, test_words=5, rng=Random(0)
    )
    assert evaluate_recognition(OracleModel(LANGUAGE), readout, LANGUAGE, data, 0, Random(0)) == []


def test_published_figures_are_those_of_known_languages_with_a_figure_a_bin() -> None:
    published = {name: published_figures(name) for name in LANGUAGES.names()}
    there = {name: figures for name, figures in published.items() if figures}
    assert len(there) == 27
    for name, figures in there.items():
        assert set(figures.mamba) == {"1", "2", "3"}
        for row in (figures.transformer, *figures.mamba.values()):
            assert len(row) == len(figures.bins), name
            assert all(0 <= value <= 100 for value in row)
        last = -1
        for lower, upper in figures.bins:
            assert last < lower <= upper
            last = upper


def test_published_figures_stand_only_beside_their_own_bin_and_model(
    data: LanguageData, readout: SetReadout
) -> None:
    published = published_figures("d-2")
    model = OracleModel(LANGUAGE)
    other = evaluate_bins(model, readout, data, published, architecture="mamba", layers=2)
    assert [(r.published, r.published_transformer) for r in other] == [(None, None)] * 2
    same = build_data(
        LANGUAGE,
        [(2, 100), (9_000, 9_002)],
        sampler="uniform",
        train_words=2,
        test_words=1,
        rng=Random(0),
    )
    records = evaluate_bins(model, readout, same, published, architecture="mamba", layers=2)
    assert [(r.published, r.published_transformer) for r in records] == [
        (100.0, 74.6),
        (None, None),
    ]
    records = evaluate_bins(model, readout, same, published, architecture="lstm", layers=2)
    assert [(r.published, r.published_transformer) for r in records] == [(None, 74.6), (None, None)]
