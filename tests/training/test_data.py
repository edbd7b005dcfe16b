"""Words into tensors: nothing leaks from training into the test, padding is marked."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
import torch

import statespan
from statespan.errors import LengthError
from statespan.languages import Language
from statespan.training import PAD, Example, LanguageData, Vocabulary, batch_examples, build_data
from statespan.training.examples import PackedExamples, order_epoch

BINS = [(1, 12), (13, 20), (21, 26)]


def build(language: Language, bins: list[tuple[int, int]] = BINS, **options: int) -> LanguageData:
    sizes = {"train_words": 200, "test_words": 50, **options}
    return build_data(language, bins, sampler="uniform", rng=Random(0), **sizes)


def words_of(examples: list[Example]) -> set[tuple[int, ...]]:
    return {tuple(example.tokens) for example in examples}


@pytest.mark.parametrize("name", ["parity", "d-3", "tomita-4", "dyck-1", "flip-flop"])
def test_no_test_word_trains(name: str) -> None:
    data = build(statespan.language(name))
    trained = words_of(data.train)
    assert len(data.train) == 200
    for examples, (lower, upper), seen in zip(data.tests, data.bins, data.seen, strict=True):
        assert not words_of(examples) & trained
        assert len(words_of(examples)) == len(examples) > 0
        assert all(lower <= example.length <= upper for example in examples)
        assert seen == 0


def test_a_small_bin_keeps_four_fifths_of_its_words_for_training() -> None:
    data = build(statespan.language("aa-star"), [(2, 40), (41, 60)])
    assert len(data.tests[0]) == 4
    assert len(words_of(data.train)) == 16
    assert data.seen == [0, 0]


def test_a_bin_too_small_to_hold_out_is_tested_on_what_it_trains_and_says_so() -> None:
    data = build(statespan.language("anbn"), [(2, 4), (5, 9)])
    assert data.seen == [2, 0]
    assert [e.length for e in sorted(data.tests[0], key=lambda e: e.length)] == [2, 4]


def test_a_bin_without_words_is_an_error() -> None:
    with pytest.raises(LengthError, match=r"no word of aa-star has length 3\. The nearest"):
        build(statespan.language("aa-star"), [(2, 2), (3, 3)])


def test_targets_are_the_sets_of_next_symbols() -> None:
    language = statespan.language("d-2")
    data = build(language)
    for examples, words in zip(data.tests, data.test_words, strict=True):
        for example, word in zip(examples, words, strict=True):
            sets = [language.next_symbols(word[:i]) for i in range(len(word) + 1)]
            answers = data.answer_sets[example.targets].tolist()
            assert [data.vocabulary.symbols(answer) for answer in answers] == sets


def test_sets_of_the_training_words_come_first() -> None:
    data = build(statespan.language("tomita-7"))
    trained = {target for example in data.train for target in example.targets}
    assert trained == set(range(data.num_trained_sets))


def test_words_are_a_function_of_the_stream() -> None:
    language = statespan.language("parity")
    assert build(language).train == build(language).train


def test_token_ids_are_bos_eos_pad_then_the_alphabet() -> None:
    vocabulary = Vocabulary(("(a", "a)"))
    assert vocabulary.encode(("(a", "a)", "a)")) == [0, 3, 4, 4]
    assert vocabulary.size == 5
    assert vocabulary.answer_ids == [3, 4, 1]
    for answer in ([True, False, True], [False, False, False]):
        assert vocabulary.answers(vocabulary.symbols(answer)) == answer


def test_padding_is_marked_and_nothing_else() -> None:
    examples = [Example([0, 3, 4], [1, 0, 1]), Example([0], [1])]
    batch = PackedExamples(examples).batch(torch.arange(len(examples)))
    assert batch.tokens.tolist() == [[0, 3, 4], [0, PAD, PAD]]
    assert batch.mask.tolist() == [[True, True, True], [True, False, False]]
    assert batch.targets[batch.mask].tolist() == [1, 0, 1, 1]


def test_batches_hold_every_example_once() -> None:
    rng = Random(1)
    examples = [Example([0] * rng.randint(1, 60), []) for _ in range(101)]
    for example in examples:
        example.targets.extend(example.tokens)
    sizes = Counter(len(example.tokens) for example in examples)
    met: Counter[int] = Counter()
    for batch in batch_examples(examples, batch_tokens=128):
        assert batch.tokens.numel() <= 128 or len(batch.tokens) == 1
        met.update(batch.mask.sum(1).tolist())
    assert met == sizes
    order = order_epoch(examples, 8, rng)
    assert sorted(index for indices in order for index in indices) == list(range(101))
    assert all(len(indices) <= 8 for indices in order)


def test_epochs_differ_in_order_and_group_similar_lengths() -> None:
    rng = Random(2)
    examples = [Example([0] * rng.randint(1, 60), []) for _ in range(640)]
    first, second = order_epoch(examples, 16, Random(0)), order_epoch(examples, 16, Random(1))
    assert first != second
    spread = [
        max(len(examples[i].tokens) for i in batch) - min(len(examples[i].tokens) for i in batch)
        for batch in first
    ]
    assert torch.tensor(spread, dtype=torch.float).mean() < 12
