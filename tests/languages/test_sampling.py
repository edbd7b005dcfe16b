"""Samplers: the stated distribution, the length window, the seed, and near misses."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from random import Random
from statistics import NormalDist

import pytest
from scipy.stats import chisquare

from statespan import END, Language, language
from statespan.errors import InputError, LengthError
from statespan.languages import LANGUAGES

Word = str | tuple[str, ...]

SMALL = {
    "bounded-dyck": {"brackets": 2, "depth": 2},
    "word-problem": {"group": "S_3", "generators": "adjacent"},
}
FIVE_RUNS = "aa-star-bb-star-cc-star-dd-star-ee-star"
PUBLISHED_BELOW_THE_LONGEST = {"ab-star-d-bc-star", "012-star-02-star", FIVE_RUNS}
WITHOUT_PUBLISHED = {"bounded-anbn", "bounded-palindromes", "word-problem"}

every_language = pytest.mark.parametrize("name", LANGUAGES.names())


def small_language(name: str) -> Language:
    return language(name, **SMALL.get(name, {}))


def join(symbols: Iterable[str], made: Language) -> Word:
    return "".join(symbols) if max(map(len, made.alphabet)) == 1 else tuple(symbols)


def words_by_search(made: Language, length: int) -> list[Word]:
    strings = (join(symbols, made) for symbols in itertools.product(made.alphabet, repeat=length))
    return [word for word in strings if made.accepts(word)]


def fit(drawn: Iterable[Word], weights: Mapping[Word, float]) -> float:
    """Return the p-value of Pearson's test that `drawn` follows `weights`; 0 off their support.

    Words that are expected fewer than 5 times share one cell.
    """
    counts = Counter(drawn)
    if not all(weights.get(word) for word in counts):
        return 0.0
    share = counts.total() / math.fsum(weights.values())
    cells = [(counts[word], share * weight) for word, weight in weights.items()]
    large = [cell for cell in cells if cell[1] >= 5]
    small = [cell for cell in cells if cell[1] < 5]
    if sum(expected for _, expected in small) > 0:
        large.append((sum(seen for seen, _ in small), sum(expected for _, expected in small)))
    observed, expected = zip(*large, strict=True)
    return float(chisquare(observed, expected).pvalue)


UNIFORM_CASES = [
    ("parity", 6),
    ("tomita-3", 7),
    ("d-3", 10),
    ("ab-star-d-bc-star", 4),
    ("dyck-1", 10),
    ("shuffle-2", 6),
    ("shuffle-4", 4),
    ("boolean-3", 4),
    ("flip-flop", 4),
    ("bounded-dyck", 6),
    ("word-problem", 6),
]


@pytest.mark.parametrize(("name", "length"), UNIFORM_CASES)
def test_the_uniform_sampler_draws_every_word_of_a_length_as_often(name: str, length: int) -> None:
    made = small_language(name)
    words = words_by_search(made, length)
    assert len(words) >= 10
    drawn = made.sample(length=length, count=40 * len(words), rng=Random(1))
    assert fit(drawn, dict.fromkeys(words, 1.0)) > 0.001


@pytest.mark.parametrize(("name", "window"), [("aa-star", (1, 7)), ("dyck-1", (1, 8))])
def test_the_uniform_sampler_draws_a_length_that_has_words_first(
    name: str, window: tuple[int, int]
) -> None:
    made = language(name)
    of_length = [words_by_search(made, n) for n in range(window[0], window[1] + 1)]
    weights = {word: 1 / len(words) for words in of_length for word in words}
    drawn = made.sample(length=window, count=1_500, rng=Random(2))
    assert fit(drawn, weights) > 0.001


def draw_by_next_symbols(made: Language, length: int, rng: Random) -> Word:
    """Draw a word by a walk on which every allowed symbol is as likely: not uniform."""
    while True:
        word: tuple[str, ...] = ()
        while len(word) < length:
            allowed = made.next_symbols(join(word, made)) - {END}
            word += (rng.choice([s for s in made.alphabet if s in allowed]),)
        if made.accepts(join(word, made)):
            return join(word, made)


@pytest.mark.parametrize(("name", "length"), [("d-3", 8), ("shuffle-2", 4), ("bounded-dyck", 6)])
def test_the_fit_rejects_a_sampler_that_is_not_uniform(name: str, length: int) -> None:
    made = small_language(name)
    words = words_by_search(made, length)
    rng = Random(3)
    drawn = [draw_by_next_symbols(made, length, rng) for _ in range(40 * len(words))]
    assert fit(drawn, dict.fromkeys(words, 1.0)) < 1e-4


def test_the_fit_rejects_words_off_the_support() -> None:
    assert fit(["a"] * 50 + ["b"] * 50 + ["c"], {"a": 1.0, "b": 1.0}) == 0


@every_language
def test_count_is_the_number_of_words_found_by_search(name: str) -> None:
    made = small_language(name)
    for length in range(10):
        if len(made.alphabet) ** length <= 1_000:
            assert made.count(length) == len(words_by_search(made, length)), length


def catalan(n: int) -> int:
    return math.comb(2 * n, n) // (n + 1)


COUNTS: dict[str, Callable[[int], int]] = {
    "tomita-1": lambda n: 1,
    "parity": lambda n: 2 ** max(n - 1, 0),
    "tomita-5": lambda n: 0 if n % 2 else 2 ** max(n - 1, 0),
    "d-2": lambda n: 0 if n % 2 else 2 ** max(n // 2 - 1, 0),
    "aa-star-bb-star-cc-star-dd-star-ee-star": lambda n: math.comb(n - 1, 4) if n else 0,
    "dyck-1": lambda n: 0 if n % 2 else catalan(n // 2),
    "shuffle-2": lambda n: 0 if n % 2 else catalan(n // 2) * catalan(n // 2 + 1),
    "anbncn": lambda n: int(n % 3 == 0),
    "flip-flop": lambda n: 0 if n % 2 else 2 * 5 ** (n // 2 - 1) if n else 1,
}


@pytest.mark.parametrize("name", COUNTS)
def test_count_is_the_closed_form_up_to_length_60(name: str) -> None:
    made = language(name)
    assert [made.count(n) for n in range(61)] == [COUNTS[name](n) for n in range(61)]


def test_count_of_the_full_sized_families_is_the_closed_form() -> None:
    s5 = language("word-problem")
    assert [s5.count(n) for n in range(8)] == [1, *(120 ** (n - 1) for n in range(1, 8))]
    shallow, deep = language("d-12"), language("bounded-dyck", brackets=8, depth=12)
    assert all(deep.count(n) == shallow.count(n) * 8 ** (n // 2) for n in range(0, 61, 3))


@pytest.mark.parametrize(
    ("name", "sampler"),
    [(name, "uniform") for name in LANGUAGES.names()]
    + [(name, "published") for name in LANGUAGES.names() if name not in WITHOUT_PUBLISHED],
)
def test_samples_are_words_of_a_length_in_the_window(name: str, sampler: str) -> None:
    made = small_language(name)
    never_as_long = sampler == "published" and name in PUBLISHED_BELOW_THE_LONGEST
    for first, last in [(5, 16), (8, 12) if never_as_long else (12, 12)]:
        drawn = made.sample(length=(first, last), count=15, rng=Random(4), sampler=sampler)
        assert len(drawn) == 15
        assert all(made.accepts(word) and first <= len(word) <= last for word in drawn)


@every_language
def test_a_language_without_a_published_sampler_says_so(name: str) -> None:
    made = small_language(name)
    if name not in WITHOUT_PUBLISHED:
        assert made.sample(length=(5, 16), count=1, rng=Random(0), sampler="published")
        return
    with pytest.raises(InputError, match=r"no published sampler: use sampler='uniform'"):
        made.sample(length=(5, 16), count=1, rng=Random(0), sampler="published")


def draw_everything(made: Language, seed: int) -> list[list[Word]]:
    window = (5, 16)
    samplers = ["uniform"] if made.published is None else ["uniform", "published"]
    drawn = [made.sample(length=window, count=4, rng=Random(seed), sampler=s) for s in samplers]
    return [*drawn, made.sample_negatives(length=window, count=4, rng=Random(seed), distance=1)]


@every_language
def test_the_same_seed_draws_the_same_words(name: str) -> None:
    first = draw_everything(small_language(name), 5)
    assert draw_everything(small_language(name), 5) == first


IN_ANOTHER_PROCESS = """
import random
from statespan.languages import LANGUAGES, language
state = random.getstate()
for name in LANGUAGES.names():
    made, window = language(name), (5, 12)
    print(name, made.sample(length=window, count=3, rng=random.Random(1)))
    if made.published:
        print(made.sample(length=window, count=3, rng=random.Random(1), sampler="published"))
    print(made.sample_negatives(length=window, count=3, rng=random.Random(1), distance=1))
assert random.getstate() == state, "the global generator was used"
"""


def test_samples_do_not_depend_on_the_hash_seed_nor_use_the_global_generator() -> None:
    printed = []
    for seed in ("1", "2"):
        environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": seed}
        finished = subprocess.run(
            [sys.executable, "-c", IN_ANOTHER_PROCESS],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert finished.returncode == 0, finished.stderr
        printed.append(finished.stdout)
    assert printed[0] == printed[1]


@pytest.mark.parametrize("name", ["parity", "shuffle-2", "bounded-dyck", "flip-flop"])
def test_another_seed_draws_other_words(name: str) -> None:
    made = small_language(name)
    assert draw_everything(made, 6) != draw_everything(made, 7)


def test_an_earlier_count_does_not_change_what_a_seed_draws() -> None:
    used = language("d-4")
    used.count(40)
    list(used.words(6))
    fresh = language("d-4")
    drawn = [made.sample(length=(3, 20), count=20, rng=Random(8)) for made in (used, fresh)]
    assert drawn[0] == drawn[1]


Weighted = Iterator[tuple[Word, float]]
"""A process, as words (some may come twice, or fall outside the language) and their chances."""


def tossed_coins(shortest: int, longest: int) -> Weighted:
    middle = (shortest + longest) // 2
    for length in range(longest + 1):
        for word in map("".join, itertools.product("01", repeat=length)):
            yield word, (middle / (2 * (1 + middle))) ** length


def coins_made_even(shortest: int, longest: int) -> Weighted:
    for word, chance in tossed_coins(shortest, longest):
        yield word + "1" * (word.count("1") % 2), chance


def repeated(block: str, copies: Callable[[int], int]) -> Callable[[int, int], Weighted]:
    def process(shortest: int, longest: int) -> Weighted:
        for drawn in range(shortest, longest + 1):
            yield block * copies(drawn), 1.0

    return process


def tossed_blocks(shortest: int, longest: int) -> Weighted:
    for length in range(shortest, longest + 1):
        chances = Counter({("", 0): 1.0})
        for _ in range(200):
            following: Counter[tuple[str, int]] = Counter()
            for (word, last_ones), chance in chances.items():
                rest = length - len(word)
                for size in range(rest + 1):
                    following[word + "1" * size, size % 2] += chance / 2 / (rest + 1)
                sizes = range(0, rest + 1, 2 if last_ones else 1)
                for size in sizes:
                    following[word + "0" * size, last_ones] += chance / 2 / len(sizes)
            chances = following
        for (word, _), chance in chances.items():
            yield word, chance


def coins_without_a_third_zero(shortest: int, longest: int) -> Weighted:
    for length in range(shortest, longest + 1):
        for word in map("".join, itertools.product("01", repeat=length)):
            free = sum(word[max(0, i - 2) : i] != "00" for i in range(length))
            yield word, 0.5**free


def four_blocks(shortest: int, longest: int) -> Weighted:
    for sizes in itertools.product(range(longest + 1), repeat=4):
        left = [longest - sum(sizes[:i]) for i in range(4)]
        if sum(sizes) <= longest:
            chance = math.prod(1 / (rest + 1) for rest in left)
            yield "".join(bit * size for bit, size in zip("0101", sizes, strict=True)), chance


def flanked(before: str, middle: str, after: str) -> Callable[[int, int], Weighted]:
    def process(shortest: int, longest: int) -> Weighted:
        for num_before in range(longest - 1):
            for num_after in range(longest - num_before - 1):
                chance = 1 / (longest - 1) / (longest - num_before - 1)
                chance /= len(before) ** num_before * len(after) ** num_after
                for left in itertools.product(before, repeat=num_before):
                    for right in itertools.product(after, repeat=num_after):
                        yield "".join((*left, middle, *right)), chance

    return process


def five_runs(shortest: int, longest: int) -> Weighted:
    def extend(word: str, letters: str, total: int, chance: float) -> Weighted:
        if not letters:
            yield word, chance
            return
        for count in range(1, total + 1) if total else [0]:
            run = letters[0] * (shortest // 5 + count)
            yield from extend(word + run, letters[1:], total - count, chance / max(total, 1))

    return extend("", "abcde", longest - shortest + 1, 1.0)


def nested_brackets(pairs: list[str]) -> Callable[[int, int], Weighted]:
    """S → (_i S )_i with ½ in all, S S with ¼, ε with ¼, by the inside probabilities."""
    empty = 2 - math.sqrt(3)

    @cache
    def inside(word: str) -> float:
        if not word:
            return empty
        pair = 0.5 / len(pairs) * inside(word[1:-1]) if word[0] + word[-1] in pairs else 0.0
        splits = sum(inside(word[:i]) * inside(word[i:]) for i in range(1, len(word)))
        return (pair + splits / 4) / (1 - empty / 2)

    def process(shortest: int, longest: int) -> Weighted:
        for length in range(0, longest + 1, 2):
            for word in map("".join, itertools.product("".join(pairs), repeat=length)):
                yield word, inside(word)

    return process


def equal_runs(letters: str) -> Callable[[int, int], Weighted]:
    def process(shortest: int, longest: int) -> Weighted:
        for n in range(longest + 1):
            yield "".join(letter * n for letter in letters), 1.0

    return process


def truncated_normal(mean: float, deviation: float) -> dict[int, float]:
    """Return the chances of the whole parts of a normal draw; all that is below 1 counts as 0."""
    below = [NormalDist(mean, deviation).cdf(k) for k in range(int(mean + 9 * deviation) + 2)]
    shares = {k: high - low for k, (low, high) in enumerate(itertools.pairwise([0.0, *below[1:]]))}
    return {k: share for k, share in shares.items() if share > 1e-9}


@cache
def nested_at_most(depth: int, target: int, longest: int) -> Mapping[str, float]:
    """D_n: while shorter than the target, append a, a word of D_{n-1} of about ¾ of it, and b.

    What grows past `longest` is dropped.
    """
    done: Counter[str] = Counter()
    growing = Counter({"": 1.0})
    while growing:
        following: Counter[str] = Counter()
        for word, chance in growing.items():
            if depth == 0 or len(word) >= target:
                done[word] += chance
                continue
            for inner_target, share in truncated_normal(0.75 * target, 0.075 * target).items():
                for inner, inner_chance in nested_at_most(depth - 1, inner_target, longest).items():
                    if len(word) + len(inner) + 2 <= longest:
                        following[f"{word}a{inner}b"] += chance * share * inner_chance
        growing = following
    return done


def nested_pairs(depth: int) -> Callable[[int, int], Weighted]:
    def process(shortest: int, longest: int) -> Weighted:
        for target, share in truncated_normal(0.75 * longest, 0.075 * longest).items():
            for word, chance in nested_at_most(depth, target, longest).items():
                yield word, share * chance

    return process


def prefix_expressions(operators: str, operator_chance: float) -> Callable[[int, int], Weighted]:
    def process(shortest: int, longest: int) -> Weighted:
        for length in range(1, longest + 1):
            for word in map("".join, itertools.product("01" + operators, repeat=length)):
                num_operators = sum(symbol in operators for symbol in word)
                operand = (1 - operator_chance) / 2
                operator = operator_chance / len(operators)
                yield word, operator**num_operators * operand ** (length - num_operators)

    return process


def instructed_bits(shortest: int, longest: int) -> Weighted:
    for instructions in itertools.product("wri", repeat=longest // 2 - 2):
        for bits in itertools.product("01", repeat=longest // 2):
            chance = math.prod(0.8 if instruction == "i" else 0.1 for instruction in instructions)
            written = ("w", *instructions, "r")
            word = "".join(itertools.chain(*zip(written, bits, strict=True)))
            yield word, chance * 2.0 ** (instructions.count("r") + 1)


def bracket_walks(shortest: int, longest: int) -> Weighted:
    """Two types of brackets, at most 2 deep; ½ to end when empty, once long enough."""

    def walk(word: tuple[str, ...], stack: str, chance: float) -> Weighted:
        may_end = not stack and len(word) >= shortest
        if may_end:
            yield word, chance / 2
        if len(word) == longest:
            return
        opening = 0.0 if len(stack) == 2 else 0.5 if stack or may_end else 1.0
        for letter in "ab" if opening else "":
            yield from walk((*word, f"({letter}"), stack + letter, chance * opening / 2)
        if stack:
            closing = (*word, f"{stack[-1]})")
            yield from walk(closing, stack[:-1], chance * (1 - opening))

    return walk((), "", 1.0)


PROCESSES: list[tuple[str, tuple[int, int], Callable[[int, int], Weighted]]] = [
    ("tomita-1", (3, 8), repeated("1", lambda drawn: drawn)),
    ("tomita-2", (0, 6), repeated("10", lambda drawn: (drawn + 1) // 2)),
    ("tomita-3", (2, 4), tossed_blocks),
    ("tomita-4", (3, 5), coins_without_a_third_zero),
    ("tomita-5", (0, 6), tossed_coins),
    ("tomita-6", (0, 5), tossed_coins),
    ("tomita-7", (0, 5), four_blocks),
    *((f"d-{depth}", (2, 10), nested_pairs(depth)) for depth in (2, 3, 4, 12)),
    ("parity", (0, 6), coins_made_even),
    ("aa-star", (2, 9), repeated("aa", lambda drawn: drawn // 2)),
    ("aaaa-star", (4, 13), repeated("aaaa", lambda drawn: drawn // 4)),
    ("abab-star", (4, 13), repeated("abab", lambda drawn: drawn // 4)),
    ("ab-star-d-bc-star", (2, 6), flanked("ab", "d", "bc")),
    ("012-star-02-star", (2, 6), flanked("012", "0", "2")),
    (FIVE_RUNS, (3, 11), five_runs),
    (FIVE_RUNS, (10, 16), five_runs),
    ("dyck-1", (2, 8), nested_brackets(["()"])),
    ("shuffle-2", (2, 6), nested_brackets(["()", "[]"])),
    ("dyck-2", (2, 6), nested_brackets(["()", "[]"])),
    ("boolean-3", (1, 4), prefix_expressions("~+>", 0.5)),
    ("boolean-5", (1, 4), prefix_expressions("~+>*^", 0.3)),
    ("anbn", (2, 13), equal_runs("ab")),
    ("anbncn", (4, 18), equal_runs("abc")),
    ("anbncndn", (0, 20), equal_runs("abcd")),
    ("flip-flop", (8, 8), instructed_bits),
    ("bounded-dyck", (2, 6), bracket_walks),
]


@pytest.mark.parametrize(("name", "window", "process"), PROCESSES)
def test_the_published_sampler_is_the_described_process(
    name: str, window: tuple[int, int], process: Callable[[int, int], Weighted]
) -> None:
    made = small_language(name)
    weights: Counter[Word] = Counter()
    for word, chance in process(*window):
        if window[0] <= len(word) <= window[1] and made.accepts(word):
            weights[word] += chance
    drawn = made.sample(length=window, count=800, rng=Random(9), sampler="published")
    assert fit(drawn, weights) > 0.001


def test_every_published_sampler_is_compared_with_its_process() -> None:
    by_statistics = {"shuffle-4", "shuffle-6"}
    compared = {name for name, _, _ in PROCESSES} | by_statistics | WITHOUT_PUBLISHED
    assert compared == set(LANGUAGES.names())


@pytest.mark.parametrize("ignore", [0.1, 0.8, 0.98])
def test_flip_flops_ignore_the_stated_share(ignore: float) -> None:
    made = language("flip-flop", ignore=ignore)
    drawn = made.sample(length=512, count=40, rng=Random(10), sampler="published")
    assert all(len(word) == 512 and word[0] == "w" and word[-2] == "r" for word in drawn)
    between = "".join(word[2:-2:2] for word in drawn)
    error = math.sqrt(ignore * (1 - ignore) / len(between))
    assert between.count("i") / len(between) == pytest.approx(ignore, abs=4 * error)
    writes = between.count("w") / (between.count("w") + between.count("r"))
    assert writes == pytest.approx(0.5, abs=0.1)


def depths(word: Word, opening: Iterable[str]) -> list[int]:
    opens = set(opening)
    return list(itertools.accumulate(1 if symbol in opens else -1 for symbol in word))


@pytest.mark.parametrize("sampler", ["uniform", "published"])
def test_bounded_dyck_words_reach_their_depth_and_no_deeper(sampler: str) -> None:
    made = language("bounded-dyck", brackets=3, depth=4)
    drawn = made.sample(length=(60, 100), count=30, rng=Random(11), sampler=sampler)
    assert max(max(depths(word, made.alphabet[:3])) for word in drawn) == 4
    assert set(itertools.chain(*drawn)) == set(made.alphabet)


@pytest.mark.parametrize(("name", "num_types"), [("shuffle-4", 4), ("shuffle-6", 6)])
def test_published_words_of_a_shuffle_never_cross(name: str, num_types: int) -> None:
    made = language(name)
    drawn = made.sample(length=(6, 50), count=60, rng=Random(13), sampler="published")
    for word in drawn:
        rest = word
        for _ in range(len(word) // 2):
            for opening, closing in zip(made.alphabet[::2], made.alphabet[1::2], strict=True):
                rest = rest.replace(opening + closing, "")
        assert not rest
    assert set("".join(drawn)) == set(made.alphabet)
    assert len(made.alphabet) == 2 * num_types


def edit_distance(left: Word, right: Word) -> int:
    row = list(range(len(right) + 1))
    for i, first in enumerate(left):
        previous, row[0] = row[0], i + 1
        for j, second in enumerate(right):
            change = previous + (first != second)
            previous = row[j + 1]
            row[j + 1] = min(change, row[j] + 1, row[j + 1] + 1)
    return row[-1]


@pytest.mark.parametrize(
    ("left", "right", "distance"), [("", "ab", 2), ("kitten", "sitting", 3), ("ab", "ba", 2)]
)
def test_the_edit_distance_counts_edits(left: str, right: str, distance: int) -> None:
    assert edit_distance(left, right) == edit_distance(right, left) == distance


@cache
def words_up_to(name: str, longest: int) -> list[Word]:
    return list(small_language(name).words(longest))


@every_language
@pytest.mark.parametrize("distance", [1, 2, None])
def test_negatives_are_no_words_but_a_few_edits_away_from_one(
    name: str, distance: int | None
) -> None:
    made = small_language(name)
    if name == "aa-star" and distance == 2:
        with pytest.raises(LengthError, match=r"2 edits was found"):
            made.sample_negatives(length=(2, 9), count=1, rng=Random(0), distance=2)
        return
    first, last = (4, 5) if name in {FIVE_RUNS, "tomita-7"} else (2, 3)
    words = words_up_to(name, last + 2)
    drawn = made.sample_negatives(length=(first, last), count=10, rng=Random(14), distance=distance)
    assert len(drawn) == 10
    for negative in drawn:
        assert not made.accepts(negative)
        assert first <= len(negative) <= last
        assert min(edit_distance(negative, word) for word in words) <= (distance or 2)


def test_negatives_come_from_inserting_deleting_and_replacing() -> None:
    made = Language.from_expression("aaaa", alphabet="ab")
    drawn = made.sample_negatives(length=(0, 9), count=60, rng=Random(15), distance=1)
    assert {len(word) for word in drawn} == {3, 4, 5}
    far = made.sample_negatives(length=(0, 9), count=60, rng=Random(15), distance=2)
    assert {2, 6} < {len(word) for word in far}


def test_a_language_of_all_words_has_no_negatives() -> None:
    with pytest.raises(LengthError, match=r"no near miss .* length from 3 to 4"):
        Language.from_expression("(a|b)*").sample_negatives(length=(3, 4), count=1, rng=Random(0))
