"""Tasks of symbols beside their definitions: every answer by a reference that knows no task."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable
from random import Random

import pytest
from scipy.stats import chisquare

from statespan.errors import InputError, LengthError, UnknownNameError
from statespan.languages import language
from statespan.tasks import TASKS, Sample, SymbolTask, task, task_from_text
from statespan.training import Vocabulary
from statespan.training.data import AnswerSets, build_task_data

SPECIFICATIONS = [
    *("mqar", "mqar:pairs=1,keys=1,values=2", "mqar:pairs=7,keys=9,values=3,power=1"),
    *("copying", "copying:symbols=3", "selective-copying", "selective-copying:symbols=2,count=9"),
    *(f"word-problem:group={group}" for group in ("Z_60", "A_4xZ_5", "A_5", "S_5", "S_3")),
    "word-problem:group=S_5,generators=adjacent",
    *("automata", "automata:states=7,symbols=3,edges=2,longest=3"),
    *("bounded-grammar", "bounded-grammar:symbols=3,depth=2", "bounded-grammar:grammar=runs"),
]
every_task = pytest.mark.parametrize("text", SPECIFICATIONS)


def made(text: str) -> SymbolTask:
    found = task_from_text(text)
    assert isinstance(found, SymbolTask)
    return found


def draw(text: str, count: int = 60, seed: int = 0) -> list[Sample]:
    item = made(text)
    bounds = (item.bins[0][0], item.bins[0][1] + 20)
    return item.sample(length=bounds, count=count, rng=Random(seed))


def only(answer: frozenset[str] | None) -> str | None:
    """Return the answer, where at most one is right."""
    if answer is None:
        return None
    (found,) = answer
    return found


def test_every_registered_task_is_checked_here() -> None:
    symbols = {name for name in TASKS.names() if isinstance(task(name), SymbolTask)}
    assert {text.partition(":")[0] for text in SPECIFICATIONS} == symbols


@every_task
def test_samples_have_the_lengths_and_the_symbols_that_they_may(text: str) -> None:
    item = made(text)
    for sample in draw(text):
        assert item.has_length(len(sample.inputs))
        assert len(sample.answers) == len(sample.inputs)
        assert set(sample.inputs) <= set(item.alphabet)
        asked = [answer for answer in sample.answers if answer is not None]
        assert asked
        assert all(answer and answer <= set(item.answers) for answer in asked)


@every_task
def test_the_same_seed_draws_the_same_samples_and_another_others(text: str) -> None:
    assert draw(text, 8, seed=3) == draw(text, 8, seed=3)
    assert draw(text, 8, seed=3) != draw(text, 8, seed=4)


@every_task
def test_all_lengths_of_a_bin_are_as_likely(text: str) -> None:
    item = made(text)
    lengths = [n for n in range(*item.bins[0]) if item.has_length(n)][:6]
    window = (lengths[0], lengths[-1])
    drawn = Counter(len(s.inputs) for s in item.sample(length=window, count=600, rng=Random(1)))
    assert chisquare([drawn[n] for n in lengths]).pvalue > 0.001


def recalled(sample: Sample) -> list[str | None]:
    """A dictionary is filled by the first half of the pairs, and asked by the keys behind them."""
    values: dict[str, str] = {}
    answers: list[str | None] = []
    for symbol, before in zip(sample.inputs, (None, *sample.inputs), strict=False):
        if symbol.startswith("v"):
            assert before is not None
            values[before] = symbol
        answers.append(values.get(symbol))
    return answers


def copied(sample: Sample) -> list[str | None]:
    middle = sample.inputs.index("|")
    assert sample.inputs[middle + 1 :] == sample.inputs[: middle - 1]
    return [None] * middle + list(sample.inputs[:middle])


def selected(sample: Sample) -> list[str | None]:
    waiting = [symbol for symbol in sample.inputs if symbol not in {".", "?"}]
    return [waiting.pop(0) if symbol == "?" else None for symbol in sample.inputs]


def permuted(name: str) -> dict[str, str]:
    """Return where each point goes, by a reading of cycles of its own."""
    images = {}
    for cycle in name.strip("()").split(")(") if name != "()" else []:
        points = cycle.split()
        images.update(zip(points, points[1:] + points[:1], strict=True))
    return images


def multiplied(sample: Sample) -> list[str | None]:
    """Carry every point through all elements so far, and name what comes out by comparison."""
    points = list(map(str, range(1, 61)))
    places = {point: point for point in points}
    for symbol, answer in zip(sample.inputs, sample.answers, strict=True):
        images = permuted(symbol)
        places = {point: images.get(place, place) for point, place in places.items()}
        right = permuted(only(answer) or "")
        assert all(places[point] == right.get(point, point) for point in points)
    return [only(answer) for answer in sample.answers]


def stacked(sample: Sample) -> list[str | None]:
    """Rewrite what was read by the rule that a letter and what closes it vanish."""
    answers: list[str | None] = []
    for end in range(1, len(sample.inputs) + 1):
        word = "".join(sample.inputs[:end])
        if "#" in sample.inputs:
            open_block = next(rest for rest in suffixes(word) if not begins_with_palindrome(rest))
            half, _, back = open_block.partition("#")
            answers.append(half[: len(half) - len(back)] or "-")
        else:
            while "ab" in word:
                word = word.replace("ab", "")
            answers.append(word or "-")
    return answers


def suffixes(word: str) -> list[str]:
    """Return what is left of `word` when whole blocks are taken off its beginning."""
    found = [word]
    while begins_with_palindrome(word):
        word = word[2 * word.index("#") + 1 :]
        found.append(word)
    return found


def begins_with_palindrome(word: str) -> bool:
    half = word.find("#")
    block = word[: 2 * half + 1]
    return half > 0 and len(block) == 2 * half + 1 and block == block[::-1]


REFERENCES: dict[str, Callable[[Sample], list[str | None]]] = {
    "mqar": recalled,
    "copying": copied,
    "selective-copying": selected,
    "word-problem": multiplied,
    "bounded-grammar": stacked,
}


@pytest.mark.parametrize("text", [t for t in SPECIFICATIONS if not t.startswith("automata")])
def test_every_answer_is_that_of_the_reference(text: str) -> None:
    reference = REFERENCES[text.partition(":")[0]]
    for sample in draw(text):
        assert [only(answer) for answer in sample.answers] == reference(sample)


@pytest.mark.parametrize("text", [t for t in SPECIFICATIONS if t.startswith("automata")])
def test_answers_of_an_automaton_are_known_from_what_was_read(text: str) -> None:
    """What earlier strings went on with is right; it is asked where there are some, and only there.

    And what is right is the same wherever the same prefix stands: one state is behind it.
    """
    for sample in draw(text):
        word: tuple[str, ...] = ()
        went_on: dict[tuple[str, ...], set[str]] = defaultdict(set)
        right: dict[tuple[str, ...], frozenset[str]] = {}
        steps = itertools.zip_longest(sample.inputs, sample.answers, sample.inputs[1:])
        for symbol, answer, following in steps:
            if symbol != "|":
                went_on[word].add(symbol)
            word = () if symbol == "|" else (*word, symbol)
            if answer is not None:
                assert went_on[word]
                assert went_on[word] <= answer
                assert right.setdefault(word, answer) == answer
                assert following is None or following in answer
            elif following not in {None, "|"}:
                assert not went_on[word]


def test_automata_have_as_many_states_and_edges_as_asked() -> None:
    """After few strings of many states and one edge each, one symbol is right everywhere."""
    for sample in draw("automata:states=5,symbols=4,edges=1"):
        assert {len(answer) for answer in sample.answers if answer is not None} == {1}
    sizes = Counter(
        len(answer) for sample in draw("automata:edges=3") for answer in sample.answers if answer
    )
    assert set(sizes) == {1, 2, 3}


def test_every_key_is_asked_once_and_near_ones_more_often() -> None:
    places: Counter[int] = Counter()
    for sample in made("mqar").sample(length=40, count=400, rng=Random(2)):
        shown = sample.inputs[:8:2]
        asked = [symbol for symbol in sample.inputs[8:] if symbol != "."]
        assert sorted(asked) == sorted(shown)
        places.update(place for place, symbol in enumerate(sample.inputs[8:]) if symbol != ".")
    assert sum(places[place] for place in range(8)) > 3 * sum(places[p] for p in range(24, 32))
    flat = made("mqar:power=1").sample(length=40, count=400, rng=Random(2))
    spread = Counter(i for s in flat for i, symbol in enumerate(s.inputs[8:]) if symbol != ".")
    assert chisquare([spread[place] for place in range(32)]).pvalue > 0.001


def test_each_element_is_as_likely_as_a_letter_and_as_a_product() -> None:
    samples = made("word-problem:group=S_3").sample(length=20, count=200, rng=Random(3))
    for column in ([s.inputs for s in samples], [tuple(map(only, s.answers)) for s in samples]):
        counts = Counter(itertools.chain.from_iterable(column))
        assert len(counts) == 6
        assert chisquare(list(counts.values())).pvalue > 0.001


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("bounded-grammar:symbols=2,depth=3", "bounded-palindromes"),
        ("bounded-grammar:grammar=runs,depth=4", "bounded-anbn"),
    ],
)
def test_words_of_a_bounded_grammar_are_those_of_its_language(text: str, name: str) -> None:
    words = ["".join(sample.inputs) for sample in draw(text)]
    assert all(map(language(name).accepts, words))
    assert len(set(words)) > 30


@pytest.mark.parametrize("generators", ["all", "adjacent"])
def test_a_product_is_the_identity_where_the_language_says_so(generators: str) -> None:
    item = language("word-problem", group="A_4", generators=generators)
    for sample in draw(f"word-problem:group=A_4,generators={generators}", 20):
        accepted = [item.accepts(sample.inputs[: n + 1]) for n in range(len(sample.inputs))]
        assert accepted == [answer == {"()"} for answer in sample.answers]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mqar:pairs=0", "pairs must be at least 1, got 0"),
        ("mqar:pairs=9,keys=8", "keys must be at least pairs, got keys=8 and pairs=9"),
        ("mqar:values=1", "values must be at least 2, got 1"),
        ("mqar:pair=3", "mqar has no parameter 'pair'. Did you mean pairs?"),
        ("mqar:pairs=few", "pairs of mqar must be a whole number, got 'few'"),
        ("mqar:pairs", "a parameter is key=value, got 'pairs'"),
        ("copying:symbols=1", "symbols must be at least 2, got 1"),
        ("selective-copying:count=0", "count must be at least 1, got 0"),
        ("word-problem:group=Q_8", "group must be Z_n, S_n"),
        ("word-problem:generators=some", "generators must be 'all' or 'adjacent', got 'some'"),
        ("automata:symbols=3,edges=4", "got symbols=3 and edges=4"),
        ("automata:states=0", "states must be at least 1, got 0"),
        ("bounded-grammar:grammar=dyck", "unknown grammar 'dyck'"),
        ("bounded-grammar:symbols=9,depth=9", "at most 1,000 stacks"),
        ("bounded-grammar:depth=0", "depth at least 1, got symbols=2, depth=0"),
    ],
)
def test_what_does_not_fit_is_told(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        task_from_text(text)


def test_near_names_and_near_lengths_are_told() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown task 'mqra'. Did you mean mqar"):
        task_from_text("mqra")
    with pytest.raises(LengthError, match=r"copying has length 7. The nearest .* is 6"):
        task("copying").sample(length=7, count=1, rng=Random(0))
    with pytest.raises(LengthError, match=r"no sample of mqar:pairs=5 has length 1 to 9"):
        task("mqar", pairs=5).sample(length=(1, 9), count=1, rng=Random(0))


def test_a_task_names_what_is_not_the_default() -> None:
    item = task("mqar", pairs=8, keys=16)
    assert (item.name, item.parameters["pairs"]) == ("mqar:pairs=8", 8)
    assert task_from_text(item.name).parameters == item.parameters


def test_examples_count_what_is_asked_and_nothing_else() -> None:
    item = made("copying:symbols=3")
    sets = AnswerSets(vocabulary := Vocabulary(item.alphabet, choices=item.answers))
    sample = Sample(("s2", "s1", "|", "s2"), (None, None, frozenset({"s2"}), frozenset({"s1"})))
    (example,) = sets.encode_samples([sample])
    assert example.tokens == vocabulary.encode(sample.inputs) == [0, 4, 3, 6, 4]
    assert example.counted == [False, False, False, True, True]
    rows = sets.table()[list(example.targets)[3:]]
    assert rows.tolist() == [[False, True, False], [True, False, False]]


def test_what_tests_does_not_train() -> None:
    item = made("mqar:pairs=1,keys=2,values=2")
    data = build_task_data(item, [(3, 4), (5, 6)], train_words=100, test_words=20, rng=Random(0))
    assert len(data.train) == 100
    assert data.seen == [0, 0]
    trained = {tuple(example.tokens) for example in data.train}
    assert not trained & {tuple(example.tokens) for example in data.tests[0]}
    assert data.num_trained_sets == len(data.answer_sets) == 2
