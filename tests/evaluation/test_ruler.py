"""RULER's samples: answers are there, lengths are kept, the same seed gives the same."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from statespan.errors import InputError, LengthError, StorageError, UnknownNameError
from statespan.evaluation.ruler import (
    RULER_TASKS,
    Haystack,
    RulerSample,
    WordList,
    count_found,
    default_haystack,
    essay_haystack,
    ruler_samples,
    string_match_all,
    word_list,
)
from statespan.evaluation.ruler.fitting import at_most, largest
from statespan.evaluation.ruler.frequent_words import word_counts
from statespan.evaluation.ruler.needles import NOISE
from tests.evaluation.small_models import bytes_tokenizer, words_tokenizer

TASKS = RULER_TASKS.names()
NEEDLES = [task for task in TASKS if task.startswith("niah")]
WORDS = WordList("three", ("ash", "oak"), ("old", "tall"), ("grow",))
NEEDLE = re.compile(r"One of the special magic (\w+) for (.+?) is: (\S+?)\.")
HIDDEN = {
    "niah_single_1": 1,
    "niah_single_2": 1,
    "niah_single_3": 1,
    "niah_multikey_1": 4,
    "niah_multivalue": 4,
    "niah_multiquery": 4,
}
GROUPS = {
    "NIAH-S": ["niah_single_1", "niah_single_2", "niah_single_3"],
    "NIAH-M": ["niah_multikey_1", "niah_multikey_2", "niah_multikey_3"],
    "NIAH-M-QV": ["niah_multivalue", "niah_multiquery"],
    "VT": ["vt"],
    "CF-WE": ["cwe", "fwe"],
}


def draw(task: str, length: int = 1024, count: int = 3, **options: Any) -> list[RulerSample]:
    return ruler_samples(task, bytes_tokenizer(), length, count, **options)


def context(sample: RulerSample) -> str:
    return sample.question.rpartition("\n")[0]


def test_the_tasks_are_the_eleven_of_the_paper_in_its_groups() -> None:
    grouped: dict[str, list[str]] = {}
    for name in TASKS:
        grouped.setdefault(RULER_TASKS.get(name).group, []).append(name)
    assert grouped == GROUPS


@pytest.mark.parametrize("length", [256, 300, 512, 2048, 5000])
@pytest.mark.parametrize("task", TASKS)
def test_a_sample_keeps_its_length_and_fills_it(task: str, length: int) -> None:
    for sample in ruler_samples(task, words_tokenizer, length, 3):
        assert sample.prompt_tokens == len(sample.prompt.split())
        assert sample.prompt == sample.question + sample.prefix
        used = sample.prompt_tokens + sample.max_new_tokens
        assert used <= length
        assert used > 0.8 * length or task == "fwe"
        assert sample.max_new_tokens >= len(sample.completion.split())


@pytest.mark.parametrize("task", TASKS)
def test_a_haystack_of_the_next_size_has_no_room(task: str) -> None:
    """The first sample is as large as may be: one unit more is too long."""
    made, setting = RULER_TASKS.get(task), None
    from statespan.evaluation.ruler.task import Setting

    def count(text: str) -> int:
        return len(bytes_tokenizer()(text)["input_ids"])

    sample = draw(task, 2048, 1)[0]
    setting = Setting(2048, count, word_list(), default_haystack())
    form = made.forms(setting)[0]
    assert sample.original
    stream = f"0/{task}/2048/0"
    assert made.draft(sample.units, form, setting, Random(stream)).prompt == sample.prompt
    longer = made.draft(sample.units + 1, form, setting, Random(stream))
    assert count(longer.prompt) + sample.max_new_tokens > 2048


@pytest.mark.parametrize("task", TASKS)
def test_the_completion_is_the_right_answer_and_the_question_alone_is_not(task: str) -> None:
    for sample in draw(task):
        assert count_found(sample.completion, sample.answers) == len(sample.answers)
        assert len(set(sample.answers)) == len(sample.answers)
        asked = sample.question.rpartition("\n")[2]
        if task != "cwe":  # whose words may be those of the question, as in the original
            assert count_found(asked + sample.prefix, sample.answers) == 0
        assert all(answer in context(sample) for answer in sample.answers)


@pytest.mark.parametrize("task", TASKS)
def test_samples_depend_on_seed_length_and_index_alone(task: str) -> None:
    three, five = draw(task, count=3), draw(task, count=5)
    assert five[:3] == three
    assert draw(task, seed=1)[0] != three[0]
    assert len({sample.prompt for sample in five}) == 5


@pytest.mark.parametrize("task", NEEDLES)
def test_each_needle_that_is_asked_stands_once_and_answers_as_it_says(task: str) -> None:
    for sample in draw(task, 2048, 4):
        found = NEEDLE.findall(context(sample))
        if task in HIDDEN:
            assert len(found) == HIDDEN[task]
        else:
            assert len(found) == sample.units + 1
        keys = {key for _, key, value in found if value in sample.answers}
        assert sorted(v for _, key, v in found if key in keys) == sorted(sample.answers)
        asked = sample.question.rpartition("\n")[2]
        assert all(key in asked and key in sample.prefix for key in keys)
        places = [context(sample).index(answer) for answer in sample.answers]
        order = sorted(range(len(places)), key=places.__getitem__)
        assert order == sorted(range(len(places)), key=sample.depths.__getitem__)
        assert all(0 <= depth <= 1 for depth in sample.depths)


def test_no_distractor_has_the_key_that_is_asked() -> None:
    """Also where there are but four keys."""
    for sample in draw("niah_multikey_2", 512, 4, words=WORDS):
        found = NEEDLE.findall(context(sample))
        (asked,) = {key for _, key, value in found if value in sample.answers}
        assert sum(key == asked for _, key, _ in found) == 1


def test_needles_stand_at_all_depths() -> None:
    for task in ("niah_single_1", "niah_single_2", "niah_multikey_2"):
        depths = [sample.depths[0] for sample in draw(task, 512, 100)]
        quarters = Counter(min(3, int(4 * depth)) for depth in depths)
        assert min(quarters.values()) > 8, task


@pytest.mark.parametrize(
    ("task", "value"),
    [("niah_single_2", r"\d{7}"), ("niah_single_3", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")],
)
def test_values_are_of_the_kind_that_the_task_says(task: str, value: str) -> None:
    for sample in draw(task):
        assert re.fullmatch(value, sample.answers[0])


def test_a_chain_of_variables_holds_in_its_order_and_its_names_are_the_answer() -> None:
    for sample in draw("vt", 2048, 5):
        main = sample.question.rpartition("Memorize and track")[2]
        assert sample.question.count("Memorize and track") == 2
        lines = re.findall(r"^VAR (\w{5}) = (?:VAR (\w{5}) |(\d{5}))$", main, re.MULTILINE)
        assert [name for name, _, _ in lines] == sample.answers
        assert [old for _, old, _ in lines[1:]] == sample.answers[:-1]
        assert lines[0][2] in sample.prefix
        assert main.count(NOISE) == sample.units


def test_a_worked_example_of_variables_is_solved() -> None:
    sample = draw("vt", 2048, 1)[0]
    example = sample.question.rpartition("Memorize and track")[0]
    names = re.findall(r"^VAR (\w{3}) =", example, re.MULTILINE)
    assert len(names) == 5
    assert example.endswith(f"they are:  {' '.join(names)}\n\n")


def test_the_ten_common_words_come_as_often_as_the_original_says() -> None:
    for length, often, rarely in ((2048, 6, 1), (8192, 30, 3)):
        sample = ruler_samples("cwe", words_tokenizer, length, 1)[0]
        main = sample.question.rpartition("Below is a numbered list")[2].rpartition("\n")[0]
        counts = Counter(re.findall(r"\d+\. (\S+)", main))
        assert {counts.pop(word) for word in sample.answers} == {often}
        assert set(counts.values()) == {rarely}
        assert len(counts) == sample.units - 10
        assert sample.question.count("Below is a numbered list") == 2


def test_words_beyond_the_list_are_joined_and_still_distinct() -> None:
    own = word_list("own list")
    drawn = own.draw_words(3000, Random(0))
    assert len(set(drawn)) == 3000
    assert sum("-" in word for word in drawn) == 3000 - len(own.words)


def test_the_three_frequent_words_are_the_most_frequent_ones_but_dots() -> None:
    for length in (512, 2048):
        for sample in draw("fwe", length):
            text = sample.question.split("coded words. ")[1].partition("\n")[0]
            ranked = Counter(text.split()).most_common(5)
            assert ranked[0][0] == "..."
            assert [word for word, _ in ranked[1:4]] == sample.answers
            assert ranked[3][1] > ranked[4][1]


@given(units=st.integers(30, 5000), vocabulary=st.integers(5, 200))
def test_counts_of_frequent_words_have_a_unique_answer(units: int, vocabulary: int) -> None:
    counts = word_counts(units, vocabulary)
    assert counts == sorted(counts, reverse=True)
    assert counts[3] > counts[4]
    assert sum(counts) <= units


def test_prose_is_used_as_it_stands_and_repeated_where_it_ends() -> None:
    hay = Haystack.from_text("small", "One two three. Four five! Six? seven eight.")
    assert hay.sentences == ("One two three.", "Four five!", "Six? seven eight.")
    assert hay.first(4) == ["One two three.", "Four"]
    assert hay.first(10) == [*hay.sentences, "One two"]
    assert (
        " ".join(default_haystack().first(100)).split()
        == " ".join(default_haystack().sentences).split()[:100]
    )


def test_the_result_says_which_haystack_and_whose_words(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("The second essay is short. It ends here.", "utf-8")
    (tmp_path / "a.md").write_text("The first essay. It is shorter.", "utf-8")
    hay = essay_haystack(tmp_path)
    assert hay.first(3) == ["The first essay."]
    sample = draw("niah_single_2", 512, 1, haystack=hay, words=word_list("own list"))[0]
    assert "The second essay is short." in sample.question
    assert (sample.haystack, sample.words) == (f"essays: {tmp_path.name}", "own list")
    assert draw("niah_single_2", 512, 1)[0].haystack.startswith("Persuasion")
    assert draw("niah_single_1", 512, 1)[0].haystack == "noise"
    assert draw("vt", 1024, 1)[0].words == ""


def test_words_are_those_of_wonderwords_only_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import statespan.evaluation.ruler.words as module

    module.word_list.cache_clear()
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert module.word_list().source == "own list"
    module.word_list.cache_clear()


def test_wonderwords_are_as_many_as_the_original_has() -> None:
    pytest.importorskip("wonderwords", reason="the extra ruler is not installed")
    words = word_list("wonderwords")
    assert len(words.nouns) > 6000
    assert words.draw_key(Random(1)).count("-") >= 1


def test_samples_in_a_cache_are_found_again_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = draw("niah_single_1", 512, 3, cache=tmp_path / "samples")
    (file,) = (tmp_path / "samples").iterdir()
    task = type(RULER_TASKS.get("niah_single_1"))
    monkeypatch.setattr(task, "draft", lambda *_: pytest.fail("drawn again"))
    assert draw("niah_single_1", 512, 3, cache=tmp_path / "samples") == first
    for other in ({"seed": 1}, {"words": WORDS}, {"count": 4}):
        with pytest.raises(pytest.fail.Exception, match="drawn again"):
            draw("niah_single_1", 512, **{"count": 3, "cache": tmp_path / "samples", **other})
    with pytest.raises(pytest.fail.Exception, match="drawn again"):
        ruler_samples("niah_single_1", words_tokenizer, 512, 3, cache=tmp_path / "samples")
    file.write_text('{"task": 3}\n', "utf-8")
    with pytest.raises(StorageError, match="holds no samples of RULER"):
        draw("niah_single_1", 512, 3, cache=tmp_path / "samples")


def test_long_samples_are_made_fast() -> None:
    began = time.process_time()
    ruler_samples("niah_single_2", words_tokenizer, 65_536, 4)
    assert time.process_time() - began < 3


def test_bad_input_is_told_what_is_needed() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean niah_single_1"):
        draw("niah_single1")
    with pytest.raises(LengthError, match="at least 256 tokens for RULER, got 255"):
        draw("vt", 255)
    with pytest.raises(LengthError, match=r"cwe needs \d+ tokens at least .* got a length of 300"):
        ruler_samples("cwe", lambda text: {"input_ids": list(text)}, 300, 1)
    with pytest.raises(InputError, match="needs text, got no word"):
        Haystack.from_text("empty", " \n ")


@given(
    predictions=st.lists(st.sampled_from(["ab 12", "AB", "", "12\x01", "c"]), min_size=1),
)
def test_the_score_is_the_mean_share_of_answers_found(predictions: list[str]) -> None:
    answers = [["Ab", "12"]] * len(predictions)
    by_hand = sum(("ab" in p.lower()) / 2 + ("12" in p) / 2 for p in predictions)
    assert string_match_all(predictions, answers) == pytest.approx(100 * by_hand / len(predictions))


@pytest.mark.parametrize(("given_", "asked"), [([], []), (["a"], [["a"], ["b"]]), (["a"], [[]])])
def test_a_score_needs_an_answer_for_each_prediction(
    given_: list[str], asked: list[list[str]]
) -> None:
    with pytest.raises(InputError, match="needs a list of answers for each prediction"):
        string_match_all(given_, asked)


@given(
    slope=st.integers(1, 50),
    limit=st.integers(0, 20_000),
    least=st.integers(0, 30),
    guess=st.integers(0, 3000),
)
def test_the_largest_size_that_fits_is_found(
    slope: int, limit: int, least: int, guess: int
) -> None:
    measured: list[int] = []

    def measure(size: int) -> int:
        measured.append(size)
        return slope * size

    best = limit // slope if limit // slope >= least else None
    assert largest(measure, limit, least=least, guess=guess) == best
    assert len(measured) < 40
    start = guess + least
    found = at_most(measure, limit, least=least, start=start)
    assert (found is None) == (best is None)
    if found is not None:
        assert least <= found <= start
        assert slope * found <= limit
        assert found == start or (best is not None and found >= 2 * best - start)
