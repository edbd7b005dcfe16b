"""What is said of a component is true: sentences are read anew and tried on all short words."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from random import Random

import pytest

from statespan.compiler.cascade import (
    Cascade,
    Component,
    Readout,
    ReadoutTerm,
    Term,
    check_cascade,
)
from statespan.compiler.decomposition import decompose
from statespan.compiler.explain import explain, rule_lines
from statespan.compiler.features import describe
from statespan.compiler.layer_program import layer_program
from statespan.compiler.meanings import ValueMeaning, component_meanings
from statespan.compiler.phrases import Names, name_symbols
from statespan.compiler.targets.mamba import mamba_weights
from statespan.compiler.targets.mamba2 import mamba2_weights
from statespan.compiler.weights import Plan
from statespan.compiler.word_facts import Fact
from statespan.errors import InputError
from statespan.languages import DFA, END, NextSymbols, language
from statespan.languages.automaton import minimize
from statespan.languages.symbols import End


def term(letters: str | set[int], value: int | None, **conditions: int) -> Term:
    """Return a term over 0, 1 and the restart, written "2": c0=1 asks for that value."""
    asked = tuple((int(name[1:]), frozenset({v})) for name, v in conditions.items())
    return Term(frozenset(map(int, letters)), asked, value)


def no_three_zeros() -> tuple[Cascade, DFA]:
    """Two bits: whether the last symbol was 0, whether the one before was; and a trap."""
    last = Component(2, 0, (term("0", 1), term("12", 0)))
    before = Component(2, 0, (term("01", 1, c0=1), term("01", 0, c0=0), term("2", 0)))
    trap = Component(2, 0, (term("0", 1, c0=1, c1=1), term("2", 0)))
    labels: tuple[NextSymbols, ...] = (
        frozenset({"0", "1", END}),
        frozenset({"1", END}),
        frozenset(),
    )
    terms = (
        ReadoutTerm(((2, frozenset({1})),), 2),
        ReadoutTerm(((0, frozenset({1})), (1, frozenset({1})), (2, frozenset({0}))), 1),
    )
    cascade = Cascade(("0", "1"), (last, before, trap), Readout(labels, 0, terms))
    return cascade, language("tomita-4").dfa()


def odd_zeros() -> tuple[Cascade, DFA]:
    """A bit that 0 flips."""
    labels: tuple[NextSymbols, ...] = (frozenset({"0", "1"}), frozenset({"0", "1", END}))
    flipped = Component(2, 0, (term("0", None), term("2", 0)))
    readout = Readout(labels, 0, (ReadoutTerm(((0, frozenset({1})),), 1),))
    dfa = DFA(("0", "1"), 0, frozenset({1}), ((1, 0), (0, 1)))
    return Cascade(("0", "1"), (flipped,), readout), dfa


def test_the_cascades_by_hand_are_right() -> None:
    check_cascade(*no_three_zeros())
    check_cascade(*odd_zeros())


def test_no_three_zeros_in_words() -> None:
    last, before, trap = component_meanings(*no_three_zeros())
    assert last.sentence == "whether the last symbol was 0"
    assert last.values[0].sentence == "nothing has been read yet, or the last symbol was 1"
    assert before.values[1].sentence == "the symbol before the last was 0"
    assert trap.values[1] == ValueMeaning(
        "000 has been read (the word can no longer be completed)", "always", frozenset({3})
    )


def test_a_flipped_bit_counts() -> None:
    (parity,) = component_meanings(*odd_zeros())
    assert parity.values[1].sentence.startswith("0 has been read an odd number of times")


def test_too_many_values_are_said_to_be_too_many() -> None:
    _, _, trap = component_meanings(*no_three_zeros(), limit=6)
    assert "more than 6 values" in trap.sentence
    assert {value.extent for value in trap.values} == {"unknown"}


# ------------------------------------------------------------------ sentences read anew


def read_class(text: str, alphabet: str) -> set[str]:
    if text in {"a symbol", "symbol"}:
        return set(alphabet)
    for start in ("a symbol other than ", "symbol other than "):
        if text.startswith(start):
            return set(alphabet) - read_class(text.removeprefix(start), alphabet)
    return set(re.split(", | or ", text))


def ends(patterns: str, word: str, alphabet: str) -> list[int]:
    """Return the places of the word at which one of the patterns ends."""
    if "…" in patterns:
        parts = patterns.removesuffix(" (others may stand between)").split("…")
        regex = "[^\n]*".join(f"[{''.join(read_class(p, alphabet))}]" for p in parts)
        return [i for i in range(len(word) + 1) if re.search(regex, word[:i])][:1]
    if "symbol" in patterns and not re.search(" or [^ ]{2,}$", patterns):
        listed = ["[" + "".join(read_class(patterns, alphabet)) + "]"]
    else:
        listed = re.split(", (?![^{]*})| or ", patterns)
        listed = [re.sub(r"\{not ([^}]*)\}", r"[^\1]", text) for text in listed]
        listed = [text.replace("{", "[").replace("}", "]") for text in listed]
    return [
        i for i in range(1, len(word) + 1) if any(re.search(f"(?:{p})$", word[:i]) for p in listed)
    ]


def last(places: list[int]) -> int:
    return max(places, default=0)


def heights(word: str, up: set[str], down: set[str]) -> list[int]:
    steps = [(symbol in up) - (symbol in down) for symbol in word]
    return [0, *itertools.accumulate(steps)]


def swings(word: str, up: set[str], down: set[str], size: int) -> list[int]:
    """Return where the stretches end that gain `size`, and in which none loses as much."""
    level = heights(word, up, down)
    return [
        end
        for end in range(len(level))
        for begin in range(end)
        if level[end] - level[begin] == size
        and not any(
            level[b] - level[a] <= -size for a in range(begin, end) for b in range(a, end + 1)
        )
    ]


def counted(word: str, symbols: set[str], since: set[str]) -> int:
    return (
        sum(symbol in symbols for symbol in re.split(f"[{''.join(since)}]", word)[-1])
        if since
        else sum(symbol in symbols for symbol in word)
    )


Reader = Callable[[str, str, re.Match[str]], bool]


def times(word: str, alphabet: str, found: re.Match[str]) -> bool:
    ending = read_class(found["ends"], alphabet) if found["ends"] else set()
    number = counted(word, read_class(found["class"], alphabet), ending)
    said = found["times"].removesuffix(" times").removesuffix(" time")
    if said == "not even once":
        return number == 0
    if said.startswith("fewer than "):
        return number < int(said.removeprefix("fewer than "))
    bounds = said.removeprefix("exactly ").replace("once", "1")
    return any(
        number >= int(part.removeprefix("at least ")) if "at least" in part else number == int(part)
        for part in re.split(", | or ", bounds)
    )


def parity(word: str, alphabet: str, found: re.Match[str]) -> bool:
    ending = read_class(found["ends"], alphabet) if found["ends"] else set()
    number = counted(word, read_class(found["class"], alphabet), ending)
    return number % 2 == (found["parity"] == "odd")


def remainder(word: str, alphabet: str, found: re.Match[str]) -> bool:
    ending = read_class(found["ends"], alphabet) if found["ends"] else set()
    number = counted(word, read_class(found["class"], alphabet), ending)
    return number % int(found["modulus"]) in map(int, re.split(", | or ", found["number"]))


def walk(word: str, alphabet: str, found: re.Match[str]) -> tuple[set[str], set[str]]:
    return read_class(found["up"], alphabet), read_class(found["down"], alphabet)


def difference(word: str, alphabet: str, found: re.Match[str]) -> bool:
    height, said = heights(word, *walk(word, alphabet, found))[-1], found["number"]
    if said.startswith("at least "):
        return height >= int(said.removeprefix("at least "))
    if said.startswith("at most "):
        return height <= int(said.removeprefix("at most "))
    return height in map(int, re.split(", | or ", said))


def swung(word: str, alphabet: str, found: re.Match[str]) -> bool:
    up, down = walk(word, alphabet, found)
    size = int(found["size"])
    return last(swings(word, up, down, size)) > last(swings(word, down, up, size))


def high_since(word: str, alphabet: str, found: re.Match[str]) -> bool:
    level = heights(word, *walk(word, alphabet, found))
    high, low = ([i for i, h in enumerate(level) if h == int(found[n])] for n in ("high", "low"))
    return bool(high) and last(high) > last(low)


def affixed(word: str, alphabet: str, found: re.Match[str]) -> bool:
    begins, said = found["verb"].startswith("begin"), found["patterns"]
    patterns, *whole = re.split(" or is | and is not ", said)
    same = word in [w.replace("ε", "") for w in re.split(", | or ", whole[0])] if whole else False
    if not begins:
        return len(word) in ends(patterns, word, alphabet) or same
    listed = [
        p.replace("{", "[").replace("}", "]") for p in re.split(", (?![^{]*})| or ", patterns)
    ]
    if "symbol" in patterns:
        listed = ["[" + "".join(read_class(patterns, alphabet)) + "]"]
    return any(re.match(p, word) for p in listed) or same


SINCE = "(?: since the start or the last (?P<ends>.*))?"
SHORT = "(?P<short>fewer than . symbols have been read, or )?"
TIMES = "(?:at least|fewer than|exactly|[0-9]).*?times?|at least once|not even once"
WALK = "(?P<up>.*) minus (?P<down>.*?)"
READERS: list[tuple[str, Reader]] = [
    ("nothing has been read yet", lambda w, a, m: not w),
    ("something has been read", lambda w, a, m: bool(w)),
    (
        "nothing has been read yet, or the last symbol was (?P<class>.*)",
        lambda w, a, m: not w or w[-1] in read_class(m["class"], a),
    ),
    (
        "the last symbol was (?P<class>.*)",
        lambda w, a, m: bool(w) and w[-1] in read_class(m["class"], a),
    ),
    (
        f"{SHORT}the symbol before the last was (?P<c>.*)",
        lambda w, a, m: w[-2] in read_class(m["c"], a) if len(w) > 1 else bool(m["short"]),
    ),
    (
        f"{SHORT}the third last symbol was (?P<c>.*)",
        lambda w, a, m: w[-3] in read_class(m["c"], a) if len(w) > 2 else bool(m["short"]),
    ),
    (
        f"the number of (?P<class>.*?) read{SINCE} is (?P<number>.*) modulo (?P<modulus>.*)",
        remainder,
    ),
    (f"{WALK} has swung up by (?P<size>.*), and not down by .* since", swung),
    (
        f"{WALK} has not swung up by (?P<size>.*) since the start or its last swing down",
        lambda w, a, m: not swung(w, a, m),
    ),
    (f"{WALK} has been (?P<high>.*), and not (?P<low>.*) since", high_since),
    (
        f"{WALK} has not been (?P<high>.*) since the start or since it was last (?P<low>.*)",
        lambda w, a, m: not high_since(w, a, m),
    ),
    (f"{WALK} is (?P<number>.*)", difference),
    (f"(?P<class>.*) has been read an (?P<parity>even|odd) number of times{SINCE}", parity),
    (
        f"(?P<class>.*?) has been read (?P<times>{TIMES}){SINCE}",
        times,
    ),
    (
        "(?P<set>.*) has been read, and no (?P<reset>.*) since",
        lambda w, a, m: last(ends(m["set"], w, a)) > last(ends(m["reset"], w, a)),
    ),
    (
        "no (?P<reset>.*) has been read since the start or the last (?P<set>.*)",
        lambda w, a, m: last(ends(m["set"], w, a)) >= last(ends(m["reset"], w, a)),
    ),
    ("no (?P<set>.*) has been read", lambda w, a, m: not ends(m["set"], w, a)),
    ("(?P<set>.*) has been read", lambda w, a, m: bool(ends(m["set"], w, a))),
    (
        "the word does not (?P<verb>end in|begin with) (?P<patterns>.*)",
        lambda w, a, m: not affixed(w, a, m),
    ),
    ("the word (?P<verb>ends in|begins with) (?P<patterns>.*)", affixed),
    ("never", lambda w, a, m: False),
    ("always", lambda w, a, m: True),
]


def reader(sentence: str, dfa: DFA) -> Callable[[str, int], bool]:
    """Return what the sentence says of a word and the state that it leads to."""
    special: dict[str, Callable[[int], bool]] = {
        "the word can no longer be completed": lambda q: not live(dfa, q),
        "the word can still be completed": lambda q: live(dfa, q),
        "what has been read is a word": lambda q: q in dfa.accepting,
        "what has been read is no word": lambda q: q not in dfa.accepting,
    }
    if sentence in special:
        return lambda _, state: special[sentence](state)
    if sentence.startswith("the automaton is in state "):
        states = {int(n) for n in re.findall(r"\d+(?=,| or| \(|$)", sentence)}
        return lambda _, state: state in states
    for name in special:
        sentence = sentence.removesuffix(f" ({name})")
    for pattern, read in READERS:
        found = re.fullmatch(pattern, sentence)
        if found:
            return lambda word, _: read(word, "".join(dfa.alphabet), found)
    raise AssertionError(sentence)


def live(dfa: DFA, state: int) -> bool:
    seen, queue = {state}, [state]
    while queue:
        fresh = set(dfa.transitions[queue.pop()]) - seen
        seen |= fresh
        queue += fresh
    return bool(seen & dfa.accepting)


def short_words(dfa: DFA, most: int) -> Iterator[tuple[str, int]]:
    """Yield words with the states that they lead to."""
    level = [("", dfa.start)]
    total = 0
    while total + len(level) <= most:
        yield from level
        total += len(level)
        level = [
            (word + symbol, state)
            for word, before in level
            for symbol, state in zip(dfa.alphabet, dfa.transitions[before], strict=True)
        ]


def check_sentences(cascade: Cascade, dfa: DFA, most: int = 1_000) -> int:
    """Check each sentence on all short words, and return how many there were."""
    letters = {symbol: letter for letter, symbol in enumerate(dfa.alphabet)}
    runs = [
        (word, state, list(cascade.run(letters[s] for s in word))[-1])
        for word, state in short_words(dfa, most)
    ]
    checked = 0
    for number, meaning in enumerate(component_meanings(cascade, dfa)):
        for value, said in enumerate(meaning.values):
            assert {q for _, q, values in runs if values[number] == value} <= said.states
            if said.extent in {"possible", "unknown"}:
                continue
            holds = reader(said.sentence, dfa)
            checked += 1
            for word, state, values in runs:
                if said.extent == "always" or live(dfa, state):
                    assert holds(word, state) == (values[number] == value), (said.sentence, word)
    return checked


CATALOGUE = ["tomita-1", "tomita-2", "tomita-4", "tomita-7", "d-2", "d-3", "d-4", "flip-flop"]


@pytest.mark.parametrize("name", [*CATALOGUE, "012-star-02-star", "ab-star-d-bc-star", "abab-star"])
def test_what_is_said_of_the_catalogue_is_true(name: str) -> None:
    dfa = language(name).dfa()
    assert check_sentences(decompose(dfa), dfa) > 0


def test_what_is_said_by_hand_is_true() -> None:
    assert check_sentences(*no_three_zeros()) == 6
    assert check_sentences(*odd_zeros()) == 2


def random_cascades(count: int, rng: Random) -> Iterator[tuple[Cascade, DFA]]:
    while count:
        size, alphabet = rng.randint(2, 5), "abc"[: rng.randint(2, 3)]
        rows = tuple(tuple(rng.randrange(size) for _ in alphabet) for _ in range(size))
        accepting = frozenset(q for q in range(size) if rng.random() < 0.4)
        dfa = minimize(DFA(tuple(alphabet), 0, accepting, rows))
        try:
            cascade = decompose(dfa)
        except InputError:
            continue
        count -= 1
        yield cascade, dfa


@pytest.mark.parametrize("seed", range(4))
def test_what_is_said_of_random_automata_is_true(seed: int) -> None:
    checked = [check_sentences(*case, most=400) for case in random_cascades(10, Random(seed))]
    assert sum(checked) > 0


@pytest.mark.parametrize("seed", range(3))
def test_what_is_said_of_random_level_one_memories_is_true(seed: int) -> None:
    rng = Random(seed)
    for _ in range(20):
        written = [rng.choice([None, None, 0, 1]) for _ in range(3)]
        terms = [Term(frozenset({i}), (), v) for i, v in enumerate(written) if v is not None]
        initial = rng.randrange(2)
        terms.append(Term(frozenset({3}), (), initial))
        dfa = DFA(("a", "b", "c"), 0, frozenset({0}), ((0, 0, 0),))
        readout = Readout((frozenset({"a", "b", "c", END}),), 0, ())
        cascade = Cascade(dfa.alphabet, (Component(2, initial, tuple(terms)),), readout)
        assert check_sentences(cascade, dfa, most=400) == 2


def all_automata(size: int, alphabet: str) -> list[DFA]:
    """Return the minimal automata of at most `size` states, each once."""
    found: dict[DFA, None] = {}
    for targets in itertools.product(range(size), repeat=size * len(alphabet)):
        rows = tuple(targets[q * len(alphabet) : (q + 1) * len(alphabet)] for q in range(size))
        for accepting in itertools.product((False, True), repeat=size):
            inside = frozenset(q for q, yes in enumerate(accepting) if yes)
            found[minimize(DFA(tuple(alphabet), 0, inside, rows))] = None
    return list(found)


def check_fact(dfa: DFA, most: int = 500) -> bool:
    """Check the sentence for "the automaton accepts", and return whether there is one."""
    classes = tuple(frozenset({symbol}) for symbol in dfa.alphabet)
    outputs = tuple(q in dfa.accepting for q in range(dfa.num_states))
    sentence = describe(Fact(Names(dfa.alphabet, classes), dfa.start, dfa.transitions, outputs))
    if sentence is not None:
        holds = reader(sentence, dfa)
        for word, state in short_words(dfa, most):
            assert holds(word, state) == (state in dfa.accepting), (sentence, word)
    return sentence is not None


def test_what_is_said_of_two_states_is_true() -> None:
    said = [check_fact(dfa) for dfa in all_automata(2, "ab")]
    assert sum(said) >= 0.8 * len(said)


@pytest.mark.parametrize("part", range(3))
def test_what_is_said_of_three_states_is_true(part: int) -> None:
    said = [check_fact(dfa, 250) for dfa in all_automata(3, "ab")[part::12]]
    assert sum(said) >= 0.1 * len(said)


def swinging(size: int) -> Cascade:
    """The last symbol, and for each size from 2 on whether the last swing by it went up."""

    def written(letter: int, value: int, below: range) -> Term:
        asked = tuple((c, frozenset({value})) for c in below)
        return Term(frozenset({letter}), asked, value)

    components = []
    for number in range(size):
        below = range(number)
        terms = (written(0, 1, below), written(1, 0, below), Term(frozenset({2}), (), 0))
        components.append(Component(2, 0, terms))
    return Cascade(("a", "b"), tuple(components), Readout((frozenset[str | End](),), 0, ()))


def test_swings_are_found() -> None:
    dfa = language("d-4").dfa()
    cascade = swinging(4)
    meanings = component_meanings(cascade, dfa)
    assert meanings[0].values[1].sentence == "the last symbol was a"
    assert meanings[1].values[1].sentence == "aa has been read, and no bb since"
    for size in (3, 4):
        said = f"a minus b has swung up by {size}, and not down by {size} since"
        assert meanings[size - 1].values[1].sentence == said
        assert {value.extent for value in meanings[size - 1].values} == {"always"}
    assert check_sentences(cascade, dfa) == 8


# ------------------------------------------------------------------ the text


@pytest.mark.parametrize("make", [mamba_weights, mamba2_weights])
def test_every_pass_has_a_section(make: Callable[[Cascade], object]) -> None:
    cascade, dfa = no_three_zeros()
    weights = mamba_weights(cascade) if make is mamba_weights else mamba2_weights(cascade)
    text = explain(cascade, dfa, weights.plan, tensors=weights.tensors)
    for heading in ("minimal automaton", "cascade", "may follow", "program of layers", "weights"):
        assert re.search(rf"^\d\. .*{heading}", text, re.MULTILINE), heading
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("Block ") == weights.config["num_hidden_layers"]
    assert f"{weights.num_parameters:,} weights" in text
    assert "state 3, first reached by 000; dead" in text
    assert "nothing: when c2 is 1" in text


@pytest.mark.parametrize("name", ["d-4", "flip-flop", "tomita-7"])
def test_no_line_is_too_wide(name: str) -> None:
    dfa = language(name).dfa()
    cascade = decompose(dfa)
    text = explain(cascade, dfa, mamba_weights(cascade).plan)
    assert max(map(len, text.splitlines())) <= 100


def test_rules_are_complete_sentences() -> None:
    cascade, _ = no_three_zeros()
    last, before, trap = (rule_lines(cascade, component) for component in cascade.components)
    assert last == ["on 0: becomes 1", "on 1: becomes 0"]
    assert before == [
        "on any symbol, when c0 is 1: becomes 1",
        "on any symbol, when c0 is 0: becomes 0",
    ]
    assert trap == ["on 0, when c0 is 1 and c1 is 1: becomes 1", "keeps its value otherwise"]


@pytest.mark.parametrize("make", ["mamba", "mamba2"])
def test_blocks_that_the_groups_imply_are_those_of_the_model(make: str) -> None:
    cascade, _ = no_three_zeros()
    weights = (mamba_weights if make == "mamba" else mamba2_weights)(cascade)
    implied = layer_program(cascade, Plan(weights.plan.groups))
    assert len(implied) == weights.config["num_hidden_layers"]
    if weights.plan.blocks:
        for block, other in zip(implied, weights.plan.blocks, strict=True):
            assert set(block.writes) == set(other.writes)


def test_symbols_are_named_by_the_shorter_list() -> None:
    alphabet = tuple("abcdefgh")
    assert name_symbols("a", alphabet) == "a"
    assert name_symbols("abcdefg", alphabet) == "a symbol other than h"
    assert name_symbols(alphabet, alphabet) == "any symbol"
    assert name_symbols(["("], ("(", ")")) == "'('"
