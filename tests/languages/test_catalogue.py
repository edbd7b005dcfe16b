"""Every language of the catalogue against its definition, by brute force."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest

from statespan import END, Language, language
from statespan.languages import DFA, LANGUAGES

Word = str | tuple[str, ...]

SUITE = [
    *(f"tomita-{number}" for number in range(1, 8)),
    *(f"d-{depth}" for depth in (2, 3, 4, 12)),
    *("parity", "aa-star", "aaaa-star", "abab-star"),
    *("ab-star-d-bc-star", "012-star-02-star", "aa-star-bb-star-cc-star-dd-star-ee-star"),
    *("dyck-1", "shuffle-2", "shuffle-4", "shuffle-6", "boolean-3", "boolean-5"),
    *("anbn", "anbncn", "anbncndn"),
]
BEYOND = [
    *("flip-flop", "bounded-dyck", "bounded-palindromes", "bounded-anbn"),
    *("word-problem", "dyck-2"),
]
NOT_REGULAR = {*SUITE[18:], "dyck-2"}


@dataclass(frozen=True)
class Definition:
    """A language by its definition.

    `closings(n)` must hold, for every prefix of length n that some word extends, an ending that
    makes it a word: then a symbol is allowed exactly if one of those endings works after it.
    """

    name: str
    alphabet: tuple[str, ...]
    contains: Callable[[Word], bool]
    closings: Callable[[int], Iterable[Word]]
    parameters: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.name, *map(str, self.parameters.values())])

    def language(self) -> Language:
        return language(self.name, **self.parameters)

    def join(self, symbols: Iterable[str]) -> Word:
        return "".join(symbols) if max(map(len, self.alphabet)) == 1 else tuple(symbols)

    def strings(self, max_count: int) -> Iterator[Word]:
        """Yield all strings of length 0, 1, … to 12, as long as there are at most `max_count`."""
        yielded = 0
        for length in range(13):
            yielded += len(self.alphabet) ** length
            if yielded > max_count:
                return
            yield from map(self.join, itertools.product(self.alphabet, repeat=length))


def up_to(alphabet: Iterable[str], longest: int) -> list[tuple[str, ...]]:
    return [w for n in range(longest + 1) for w in itertools.product(alphabet, repeat=n)]


def matches(name: str, pattern: str, alphabet: str, *endings: str) -> Definition:
    compiled = re.compile(pattern)
    return Definition(
        name, tuple(alphabet), lambda w: bool(compiled.fullmatch(w)), lambda n: ("", *endings)
    )


def has_no_odd_ones_then_odd_zeros(word: Word) -> bool:
    runs = [(symbol, len(list(group))) for symbol, group in itertools.groupby(word)]
    return not any(
        first[0] == "1" and first[1] % 2 == 1 and second[1] % 2 == 1
        for first, second in itertools.pairwise(runs)
    )


def tomita(number: int, contains: Callable[[Word], bool], longest_ending: int) -> Definition:
    endings = ["".join(ending) for ending in up_to("01", longest_ending)]
    return Definition(f"tomita-{number}", ("0", "1"), contains, lambda n: endings)


def is_balanced(word: Word, opening: str, closing: str, depth: float = float("inf")) -> bool:
    changes = [1 if symbol == opening else -1 for symbol in word if symbol in {opening, closing}]
    depths = list(itertools.accumulate(changes, initial=0))
    return min(depths) >= 0 and max(depths) <= depth and depths[-1] == 0


def bounded_depth(depth: int) -> Definition:
    return Definition(
        f"d-{depth}",
        ("a", "b"),
        lambda w: is_balanced(w, "a", "b", depth),
        lambda n: ["b" * k for k in range(n + 1)],
    )


def shuffle(name: str, pairs: list[str]) -> Definition:
    def closings(length: int) -> Iterator[str]:
        for k in range(length + 1):
            closers = [pair[1] for pair in pairs]
            yield from map("".join, itertools.combinations_with_replacement(closers, k))

    return Definition(
        name,
        tuple("".join(pairs)),
        lambda w: all(is_balanced(w, *pair) for pair in pairs),
        closings,
    )


def bounded_palindromes(symbols: int, depth: int) -> Definition:
    letters = "abc"[:symbols]

    def contains(word: Word) -> bool:
        half = "".join(word).find("#")
        if half < 0:
            return len(word) == 0
        block, rest = word[: 2 * half + 1], word[2 * half + 1 :]
        is_block = 1 <= half <= depth and len(block) == 2 * half + 1
        is_closed = "#" not in block[half + 1 :] and block == block[::-1]
        return is_block and is_closed and contains(rest)

    return Definition(
        "bounded-palindromes",
        (*letters, "#"),
        contains,
        lambda n: [
            "".join((bar, *ending)) for bar in ("", "#") for ending in up_to(letters, depth)
        ],
        {"symbols": symbols, "depth": depth},
    )


def bounded_runs(depth: int) -> Definition:
    def contains(word: Word) -> bool:
        half = "".join(word).find("b")
        if half < 0:
            return len(word) == 0
        block, rest = word[: 2 * half], word[2 * half :]
        return 0 < half <= depth and block == "a" * half + "b" * half and contains(rest)

    return Definition(
        "bounded-anbn",
        ("a", "b"),
        contains,
        lambda n: ["b" * k for k in range(depth + 1)],
        {"depth": depth},
    )


def boolean(operators: str) -> Definition:
    def end_of_expression(word: Word, begin: int) -> int:
        if begin >= len(word):
            return len(word) + 1
        end = begin + 1
        for _ in range(0 if word[begin] in "01" else operators.index(word[begin]) + 1):
            end = end_of_expression(word, end)
        return end

    arity = len(operators)
    return Definition(
        f"boolean-{arity}",
        ("0", "1", *operators),
        lambda w: end_of_expression(w, 0) == len(w),
        lambda n: ["0" * k for k in range(arity * n + 2)],
    )


def equal_runs(name: str, letters: str) -> Definition:
    def closings(length: int) -> Iterator[str]:
        for sizes in itertools.product(range(length + 1), repeat=len(letters) - 1):
            yield "".join(s * size for s, size in zip(letters[1:], sizes, strict=True))

    return Definition(
        name,
        tuple(letters),
        lambda w: w == "".join(symbol * (len(w) // len(letters)) for symbol in letters),
        closings,
    )


def is_flip_flop(word: Word) -> bool:
    stored = None
    for instruction, bit in itertools.zip_longest(word[::2], word[1::2]):
        if instruction not in {"w", "r", "i"} or bit not in {"0", "1"}:
            return False
        if (stored is None and instruction != "w") or (instruction == "r" and bit != stored):
            return False
        stored = bit if instruction == "w" else stored
    return True


def bounded_dyck(brackets: int, depth: int) -> Definition:
    letters = "abcdefgh"[:brackets]
    closers = [f"{letter})" for letter in letters]

    def contains(word: Word) -> bool:
        depths = list(itertools.accumulate((1 if s[0] == "(" else -1 for s in word), initial=0))
        rest = list(word)
        while pair := next((i for i in range(len(rest) - 1) if is_pair(rest[i : i + 2])), -1) + 1:
            rest[pair - 1 : pair + 1] = []
        return not rest and max(depths) <= depth

    def is_pair(symbols: list[str]) -> bool:
        return symbols[0][0] == "(" and symbols[1] == f"{symbols[0][1:]})"

    return Definition(
        "bounded-dyck",
        (*(f"({letter}" for letter in letters), *closers),
        contains,
        lambda n: up_to(closers, min(n, depth)),
        {"brackets": brackets, "depth": depth},
    )


def is_nested(word: Word) -> bool:
    text = "".join(word)
    while "()" in text or "[]" in text:
        text = text.replace("()", "").replace("[]", "")
    return not text


def image(point: str, symbol: str) -> str:
    """Return where a permutation in cycle notation sends a point."""
    for cycle in re.findall(r"\(([^)]*)\)", symbol):
        points = cycle.split()
        if point in points:
            return points[(points.index(point) + 1) % len(points)]
    return point


def word_problem(
    group: str, generators: str, alphabet: tuple[str, ...], longest_ending: int
) -> Definition:
    def contains(word: Word) -> bool:
        for point in "12345":
            moved = point
            for symbol in word:
                moved = image(moved, symbol)
            if moved != point:
                return False
        return True

    return Definition(
        "word-problem",
        alphabet,
        contains,
        lambda n: up_to(alphabet, longest_ending),
        {"group": group, "generators": generators},
    )


PAIRS = ["()", "[]", "{}", "<>", "+-", "ab"]
FIVE_RUNS = "aa-star-bb-star-cc-star-dd-star-ee-star"
DEFINITIONS = [
    tomita(1, lambda w: "0" not in w, 0),
    tomita(2, lambda w: w == "10" * (len(w) // 2), 1),
    tomita(3, has_no_odd_ones_then_odd_zeros, 1),
    tomita(4, lambda w: "000" not in w, 0),
    tomita(5, lambda w: w.count("0") % 2 == 0 and w.count("1") % 2 == 0, 2),
    tomita(6, lambda w: (w.count("0") - w.count("1")) % 3 == 0, 2),
    tomita(7, lambda w: re.fullmatch("0*1*0*1*", w) is not None, 0),
    *map(bounded_depth, (2, 3, 4, 12)),
    Definition("parity", ("0", "1"), lambda w: w.count("1") % 2 == 0, lambda n: ["", "1"]),
    matches("aa-star", "(aa)*", "a", "a"),
    matches("aaaa-star", "(aaaa)*", "a", "a", "aa", "aaa"),
    matches("abab-star", "(abab)*", "ab", "bab", "ab", "b"),
    matches("ab-star-d-bc-star", "[ab]*d[bc]*", "abcd", "d"),
    matches("012-star-02-star", "[012]*02*", "012", "0"),
    matches(FIVE_RUNS, "aa*bb*cc*dd*ee*", "abcde", "abcde", "bcde", "cde", "de", "e"),
    shuffle("dyck-1", PAIRS[:1]),
    *(shuffle(f"shuffle-{k}", PAIRS[:k]) for k in (2, 4, 6)),
    boolean("~+>"),
    boolean("~+>*^"),
    equal_runs("anbn", "ab"),
    equal_runs("anbncn", "abc"),
    equal_runs("anbncndn", "abcd"),
    Definition("flip-flop", tuple("wri01"), is_flip_flop, lambda n: ["", "0", "1"]),
    Definition("dyck-2", tuple("()[]"), is_nested, lambda n: up_to(")]", n)),
    bounded_dyck(2, 2),
    bounded_dyck(1, 3),
    bounded_dyck(3, 1),
    bounded_palindromes(2, 3),
    bounded_palindromes(1, 2),
    bounded_runs(4),
    bounded_runs(1),
    word_problem("S_3", "all", ("()", "(2 3)", "(1 2)", "(1 2 3)", "(1 3 2)", "(1 3)"), 1),
    word_problem("S_4", "adjacent", ("(1 2)", "(2 3)", "(3 4)"), 6),
    word_problem("A_4", "adjacent", ("(1 2 3)", "(2 3 4)"), 6),
    word_problem("Z_4", "adjacent", ("(1 2 3 4)",), 3),
    word_problem("Z_2xZ_3", "adjacent", ("(1 2)", "(3 4 5)"), 3),
    word_problem(
        "Z_2xZ_3",
        "all",
        ("()", "(3 4 5)", "(3 5 4)", "(1 2)", "(1 2)(3 4 5)", "(1 2)(3 5 4)"),
        1,
    ),
]

every_definition = pytest.mark.parametrize("definition", DEFINITIONS, ids=str)


def next_symbols_by_search(definition: Definition, longest: int) -> dict[Word, frozenset[object]]:
    """Return the next symbols of every prefix up to `longest` that some word extends."""
    found: dict[Word, frozenset[object]] = {}
    live = [()] if any(map(definition.contains, definition.closings(0))) else []
    for length in range(longest + 1):
        endings = [tuple(ending) for ending in definition.closings(length + 1)]
        longer = []
        for prefix in live:
            allowed = [
                symbol
                for symbol in definition.alphabet
                if any(
                    definition.contains(definition.join((*prefix, symbol, *ending)))
                    for ending in endings
                )
            ]
            longer += [(*prefix, symbol) for symbol in allowed]
            word = definition.join(prefix)
            found[word] = frozenset((*allowed, *([END] if definition.contains(word) else [])))
        live = longer
    return found


def run(dfa: DFA, word: Word) -> bool:
    state = dfa.start
    for symbol in word:
        state = dfa.transitions[state][dfa.alphabet.index(symbol)]
    return state in dfa.accepting


def test_every_registered_language_has_a_definition_here() -> None:
    assert {definition.name for definition in DEFINITIONS} == set(LANGUAGES.names())


def test_the_catalogue_is_the_suite_of_27_and_some_families() -> None:
    assert len(SUITE) == 27
    assert sorted(LANGUAGES.names()) == sorted([*SUITE, *BEYOND])


@every_definition
def test_the_alphabet_is_the_definition_s(definition: Definition) -> None:
    assert definition.language().alphabet == definition.alphabet


@every_definition
def test_a_language_knows_its_parameters(definition: Definition) -> None:
    made = definition.language()
    assert made.parameters == {**language(definition.name).parameters, **definition.parameters}
    assert made.name.partition(":")[0] == definition.name
    assert made.description


@every_definition
def test_accepts_is_the_definition(definition: Definition) -> None:
    made = definition.language()
    for word in definition.strings(1_500):
        assert made.accepts(word) == definition.contains(word), word


@pytest.mark.exhaustive
@every_definition
def test_accepts_is_the_definition_on_every_string(definition: Definition) -> None:
    made = definition.language()
    for word in definition.strings(100_000):
        assert made.accepts(word) == definition.contains(word), word


@every_definition
def test_next_symbols_are_those_that_some_word_has_next(definition: Definition) -> None:
    made = definition.language()
    prefixes = list(definition.strings(2_000))
    searched = next_symbols_by_search(definition, len(prefixes[-1]))
    for prefix in prefixes:
        assert made.next_symbols(prefix) == searched.get(prefix, frozenset()), prefix


@every_definition
def test_next_symbol_sets_are_the_next_symbols_of_every_nonempty_prefix(
    definition: Definition,
) -> None:
    made = definition.language()
    strings = list(definition.strings(1_000))
    following = {word: made.next_symbols(word) for word in strings}
    for word in strings:
        expected = [following[word[: end + 1]] for end in range(len(word))]
        assert made.next_symbol_sets(word) == expected, word


@every_definition
def test_words_are_all_words_shortest_first(definition: Definition) -> None:
    strings = list(definition.strings(1_000))
    expected = [word for word in strings if definition.contains(word)]
    assert list(definition.language().words(len(strings[-1]))) == expected


@every_definition
def test_the_automaton_of_a_regular_language_accepts_the_same(definition: Definition) -> None:
    made = definition.language()
    assert made.is_regular == (definition.name not in NOT_REGULAR)
    if made.is_regular:
        dfa = made.dfa()
        assert dfa.alphabet == definition.alphabet
        assert all(run(dfa, w) == definition.contains(w) for w in definition.strings(20_000))


@pytest.mark.parametrize("depth", [2, 3, 4, 12])
def test_d_n_nests_exactly_n_deep(depth: int) -> None:
    made = language(f"d-{depth}")
    assert made.accepts("a" * depth + "b" * depth)
    assert not made.accepts("a" * (depth + 1) + "b" * (depth + 1))
    assert made.next_symbols("a" * depth) == {"b"}
    assert made.next_symbols("a" * (depth + 1)) == frozenset()


def test_the_first_symbol_of_a_word_problem_acts_first() -> None:
    made = language("word-problem", group="S_3")
    assert image(image("1", "(1 2)"), "(2 3)") == image("1", "(1 3 2)") == "3"
    assert made.accepts(("(1 2)", "(2 3)", "(1 2 3)"))
    assert not made.accepts(("(1 2)", "(2 3)", "(1 3 2)"))


@pytest.mark.parametrize(
    ("group", "order"), [("S_5", 120), ("A_5", 60), ("Z_60", 60), ("A_4xZ_5", 60), ("S_2xS_3", 12)]
)
def test_a_word_problem_has_one_symbol_and_one_state_an_element(group: str, order: int) -> None:
    made = language("word-problem", group=group)
    assert len(made.alphabet) == order
    assert made.dfa().num_states == order


def test_the_defaults_are_the_published_ones() -> None:
    assert language("bounded-dyck").parameters == {"brackets": 8, "depth": 10}
    assert language("bounded-dyck").alphabet[:2] == ("(a", "(b")
    assert language("bounded-dyck").alphabet[-1] == "h)"
    assert language("flip-flop").parameters == {"ignore": 0.8}
    assert language("word-problem").parameters == {"group": "S_5", "generators": "all"}


def run_python(script: str, **environment: str) -> str:
    """Return what a fresh interpreter prints."""
    finished = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return finished.stdout


ORDERS = """
from statespan.languages import LANGUAGES, Language, language, sort_next_symbols
made = [language(name) for name in LANGUAGES.names()]
made += [Language.from_expression(e) for e in ("(z|y|x)*w", "<up>(<down>|<left>)*", "~(bca)&.*d")]
for each in made:
    print(each.name, each.alphabet, sort_next_symbols(each.next_symbols(()), each.alphabet))
    print(each.dfa() if each.is_regular and len(each.alphabet) < 10 else "")
"""


def test_orders_do_not_depend_on_the_hash_seed() -> None:
    first, second = (run_python(ORDERS, PYTHONHASHSEED=seed) for seed in ("1", "2"))
    assert first == second
    assert "('x', 'y', 'z')" not in first
    assert "('w', 'x', 'y', 'z')" in first


TIMES = """
import gc, json, time
from statespan import END, language
words = {
    "parity": lambda n: "0110" * (n // 4),
    "tomita-3": lambda n: "1100" * (n // 4),
    "dyck-1": lambda n: "(" * (n // 2) + ")" * (n // 2),
    "shuffle-6": lambda n: "(<" * (n // 4) + ")>" * (n // 4),
    "boolean-5": lambda n: "+0" * (n // 2) + "1",
    "anbncn": lambda n: "a" * (n // 3) + "b" * (n // 3) + "c" * (n // 3),
    "flip-flop": lambda n: "w1i0r1r1" * (n // 8),
    "bounded-dyck": lambda n: ("(a", "(b", "b)", "a)") * (n // 4),
    "word-problem": lambda n: ("(1 2)", "(1 2)", "()", "()") * (n // 4),
    "ab-star-d-bc-star": lambda n: "a" * n,
}
ratios = {}
gc.disable()
for name, make in words.items():
    made = language(name)
    best = {}
    for size, repeats in ((100_000, 5), (1_000_000, 2)):
        word = make(size)
        for _ in range(repeats):
            begin = time.process_time()
            sets = made.next_symbol_sets(word)
            taken = time.process_time() - begin
            best[size] = min(taken, best.get(size, taken))
        assert len(sets) == len(word) and made.accepts(word) == (END in sets[-1]) and sets[-1]
    ratios[name] = best[1_000_000] / best[100_000]
print(json.dumps(ratios))
"""


@pytest.mark.slow
def test_next_symbol_sets_of_a_million_symbols_take_linear_time() -> None:
    ratios = json.loads(run_python(TIMES))
    assert max(ratios.values()) < 20, ratios
