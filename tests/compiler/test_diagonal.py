"""The abstract model with exact weights: the language's machine says whether they are right."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import cache
from random import Random

import pytest
import torch
from torch import Tensor

from statespan.compiler.cascade import (
    Cascade,
    Component,
    Readout,
    ReadoutTerm,
    Term,
    next_symbols_of_states,
)
from statespan.compiler.closed_forms import BoundedDyck, boolean, closed_form, shuffle
from statespan.compiler.decomposition import decompose
from statespan.compiler.targets.diagonal import diagonal_model, diagonal_weights
from statespan.compiler.targets.diagonal_closed_forms import diagonal_closed_form
from statespan.errors import InputError
from statespan.languages import END, Language, NextSymbols, language
from statespan.languages.automaton import DFA
from statespan.models import SequenceModel
from statespan.training import BOS, EOS, PAD, Vocabulary

STAR_FREE = [
    "tomita-1",
    "tomita-2",
    "tomita-4",
    "tomita-7",
    "d-2",
    "d-3",
    "d-4",
    "d-12",
    "flip-flop",
    "012-star-02-star",
    "ab-star-d-bc-star",
    "aa-star-bb-star-cc-star-dd-star-ee-star",
]
COUNTERS = ["dyck-1", "shuffle-2", "shuffle-6", "boolean-5", "anbn", "anbncn", "anbncndn"]
DTYPES = ["float32", "bfloat16"]


@cache
def automaton_and_cascade(name: str) -> tuple[DFA, Cascade]:
    dfa = language(name).dfa()
    return dfa, decompose(dfa)


def answers(model: SequenceModel, tokens: Sequence[Sequence[int]]) -> Tensor:
    """Return the logits of the symbols and of EOS after each token."""
    ids = [*range(3, model.vocab_size), EOS]
    with torch.no_grad():
        return model(torch.tensor(tokens)).logits[..., ids].float()


def logits(sets: Sequence[NextSymbols], vocabulary: Vocabulary) -> Tensor:
    wanted = torch.tensor([vocabulary.answers(symbols) for symbols in sets])
    return 128.0 * wanted - 64


def after_each(dfa: DFA, letters: Sequence[int]) -> list[int]:
    """Return the state at the start and after each letter; -1 restarts."""
    states = [dfa.start]
    for letter in letters:
        states.append(dfa.start if letter < 0 else dfa.transitions[states[-1]][letter])
    return states


def assert_right(model: SequenceModel, dfa: DFA, words: Sequence[Sequence[int]]) -> None:
    """Check every logit, bit by bit, on words of one length, given as numbers of symbols."""
    tokens = [[BOS, *(BOS if letter < 0 else 3 + letter for letter in word)] for word in words]
    of_state = logits(next_symbols_of_states(dfa), Vocabulary(dfa.alphabet))
    expected = of_state[torch.tensor([after_each(dfa, word) for word in words])]
    assert torch.equal(answers(model, tokens), expected)


def random_members(item: Language, length: int, count: int, seed: int = 0) -> list[list[int]]:
    words = item.sample(length=length, count=count, rng=Random(seed))
    return [[item.alphabet.index(symbol) for symbol in word] for word in words]


def step_by_step(model: SequenceModel, tokens: Sequence[int]) -> Tensor:
    state, found = None, []
    with torch.no_grad():
        for token in tokens:
            output, state = model(torch.tensor([[token]]), state)
            found.append(output[0, 0])
    return torch.stack(found)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", STAR_FREE)
def test_a_language_is_right_on_all_short_words_and_on_long_ones(name: str, dtype: str) -> None:
    dfa, cascade = automaton_and_cascade(name)
    weights = diagonal_weights(cascade)
    assert weights.config["layers"] == max(1, cascade.num_levels)
    model = diagonal_model(weights, dtype=dtype)
    size = len(dfa.alphabet)
    length = next(n for n in range(9, 0, -1) if size**n <= 520)
    assert_right(model, dfa, list(itertools.product(range(size), repeat=length)))
    if name != "tomita-1":
        assert_right(model, dfa, random_members(language(name), 300, 2))


def hand_made() -> tuple[Cascade, DFA]:
    """Return a cascade for Σ*aa over {a, b, c}: the last letter, and whether it came twice."""
    anything, start = frozenset({0, 1, 2}), frozenset({3})
    last = Component(
        3,
        2,
        (
            Term(frozenset({0}), (), 0),
            Term(frozenset({1}), (), 1),
            Term(frozenset({2, 3}), (), 2),
        ),
    )
    twice = Component(
        2,
        0,
        (
            Term(frozenset({0}), ((0, frozenset({0})),), 1),
            Term(frozenset({0}), ((0, frozenset({1, 2})),), 0),
            Term(anything - {0} | start, (), 0),
        ),
    )
    labels: tuple[NextSymbols, ...] = (frozenset("abc"), frozenset((*"abc", END)))
    readout = Readout(labels, 0, (ReadoutTerm(((0, frozenset({0})), (1, frozenset({1}))), 1),))
    return Cascade(("a", "b", "c"), (last, twice), readout), Language.from_expression(
        "(a|b|c)*aa"
    ).dfa()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_component_reads_what_was_before_the_symbol(dtype: str) -> None:
    cascade, dfa = hand_made()
    model = diagonal_model(diagonal_weights(cascade), dtype=dtype)
    assert model.config.layers == 2
    assert_right(model, dfa, list(itertools.product((-1, 0, 1, 2), repeat=6)))


def draw_cascade(rng: Random, num_symbols: int, num_components: int) -> Cascade:
    """Return any cascade: each letter and each value of one earlier component has an action."""
    components: list[Component] = []
    for index in range(num_components):
        num_values, initial = rng.randint(2, 4), 0
        terms = [Term(frozenset({num_symbols}), (), initial)]
        for letter in range(num_symbols):
            read = rng.randrange(index) if index and rng.random() < 0.8 else None
            cases = range(components[read].num_values) if read is not None else (None,)
            for case in cases:
                if rng.random() < 0.5:
                    conditions = () if read is None else ((read, frozenset({case})),)
                    written = rng.randrange(num_values)
                    terms.append(Term(frozenset({letter}), conditions, written))  # type: ignore[arg-type]
        components.append(Component(num_values, initial, tuple(terms)))
    alphabet = tuple("abcd"[:num_symbols])
    asked = rng.sample(range(num_components), min(2, num_components))
    sets: list[NextSymbols] = [
        frozenset(s for s in (*alphabet, END) if rng.random() < 0.5) for _ in range(5)
    ]
    labels = tuple(dict.fromkeys(sets))
    values = itertools.product(*(range(components[i].num_values) for i in sorted(asked)))
    readout_terms = tuple(
        ReadoutTerm(
            tuple((i, frozenset({v})) for i, v in zip(sorted(asked), case, strict=True)),
            rng.randrange(len(labels)),
        )
        for case in values
        if rng.random() < 0.7
    )
    return Cascade(alphabet, tuple(components), Readout(labels, 0, readout_terms))


@pytest.mark.parametrize("seed", range(40))
def test_any_cascade_is_kept_to_the_bit(seed: int) -> None:
    rng = Random(seed)
    cascade = draw_cascade(rng, rng.randint(1, 4), rng.randint(1, 7))
    dtype = rng.choice(DTYPES)
    model = diagonal_model(diagonal_weights(cascade), dtype=dtype)
    assert model.config.layers == cascade.num_levels
    weights = [1.0] * cascade.restart + [0.05]
    letters = rng.choices(range(cascade.restart + 1), weights, k=400)
    tokens = [BOS, *(BOS if x == cascade.restart else 3 + x for x in letters)]
    expected = [cascade.next_symbols(values) for values in cascade.run(letters)]
    assert torch.equal(answers(model, [tokens])[0], logits(expected, Vocabulary(cascade.alphabet)))


def closed_states(model: SequenceModel, dfa: DFA, limit: int) -> int:
    """Return the number of bitwise states that can be reached, all of them answered rightly."""
    allowed = next_symbols_of_states(dfa)
    vocabulary = Vocabulary(dfa.alphabet)
    begin = model(torch.tensor([[BOS]]))
    seen, edge = set(), [(begin.state, begin.logits[0, 0], dfa.start)]
    while edge:
        state, given, node = edge.pop()
        key = (*(part.numpy().tobytes() for (part,) in state), node)
        if key in seen:
            continue
        seen.add(key)
        assert len(seen) <= limit
        assert torch.equal(given[vocabulary.answer_ids], logits([allowed[node]], vocabulary)[0])
        for token in range(vocabulary.size):
            output = model(torch.tensor([[token]]), state)
            after = dfa.start if token == BOS else node
            after = dfa.transitions[node][token - 3] if token > PAD else after
            edge.append((output.state, output.logits[0, 0], after))
    return len(seen)


@pytest.mark.parametrize("name", ["tomita-4", "d-3", "ab-star-d-bc-star"])
@torch.no_grad()
def test_the_states_close_so_it_is_right_at_every_length(name: str) -> None:
    dfa = language(name).dfa()
    model = diagonal_model(diagonal_weights(decompose(dfa), digit_bits=14))
    assert closed_states(model, dfa, limit=2_000) > dfa.num_states


@pytest.mark.parametrize("name", ["tomita-4", "flip-flop"])
def test_it_is_right_after_a_hundred_thousand_symbols(name: str) -> None:
    dfa = language(name).dfa()
    allowed = next_symbols_of_states(dfa)
    moves = [[i for i, symbol in enumerate(dfa.alphabet) if symbol in s] for s in allowed]
    rng, state, letters = Random(1), dfa.start, list[int]()
    for _ in range(100_000):  # a walk among the prefixes of words
        letters.append(rng.choice(moves[state]))
        state = dfa.transitions[state][letters[-1]]
    assert_right(diagonal_model(diagonal_weights(decompose(dfa))), dfa, [letters])


@pytest.mark.parametrize("name", ["d-3", "flip-flop"])
def test_step_by_step_is_the_whole(name: str) -> None:
    item = language(name)
    model = diagonal_model(diagonal_weights(decompose(item.dfa())))
    word = random_members(item, 300, 1)[0]
    tokens = [BOS, *(3 + letter for letter in word)]
    with torch.no_grad():
        assert torch.equal(step_by_step(model, tokens), model(torch.tensor([tokens])).logits[0])


def test_padding_and_the_end_are_ignored_and_the_start_restarts() -> None:
    item = language("d-3")
    compiled = [diagonal_weights(decompose(item.dfa())), diagonal_closed_form(shuffle(("a", "b")))]
    for weights in compiled:
        model = diagonal_model(weights)
        plain = answers(model, [[BOS, 3, 3, 4]])[0]
        spaced = answers(model, [[3, 4, 3, BOS, PAD, 3, EOS, EOS, 3, PAD, 4, BOS]])[0]
        assert torch.equal(spaced[[3, 5, 8, 10, 11]], plain[[0, 1, 2, 3, 0]])
        assert torch.equal(spaced[[4, 6, 7, 9]], plain[[0, 1, 1, 2]])


def test_a_language_of_one_answer_has_one_layer_and_no_component() -> None:
    dfa = Language.from_expression("(a|b)*").dfa()
    weights = diagonal_weights(decompose(dfa))
    assert weights.config["layers"] == 1
    assert_right(diagonal_model(weights), dfa, [[0, 1, 1, 0]])


def test_what_cannot_be_written_is_refused() -> None:
    flip = Component(2, 0, (Term(frozenset({0}), (), None), Term(frozenset({1}), (), 0)))
    labels: tuple[NextSymbols, ...] = (frozenset("a"), frozenset(("a", END)))
    readout = Readout(labels, 0, (ReadoutTerm(((0, frozenset({0})),), 1),))
    with pytest.raises(InputError, match="gates from 0 to 1, but the cascade flips"):
        diagonal_weights(Cascade(("a",), (flip,), readout))
    with pytest.raises(InputError, match="digit_bits must be from 5 to 14, got 15"):
        diagonal_weights(hand_made()[0], digit_bits=15)


def test_finer_digits_are_for_float32_alone() -> None:
    cascade, dfa = hand_made()
    model = diagonal_model(diagonal_weights(cascade, digit_bits=14))
    words = list(itertools.product((0, 1, 2), repeat=5))
    assert_right(model, dfa, words)
    with pytest.raises(AssertionError):
        assert_right(model.bfloat16(), dfa, words)


def prefixes_with_answers(item: Language, seed: int) -> Iterator[tuple[list[int], Tensor]]:
    vocabulary = Vocabulary(item.alphabet)
    rng = Random(seed)
    for length in range(1, 60):
        if not item.count(length):
            continue
        word = item.sample(length=length, count=1, rng=rng)[0]
        sets = [item.next_symbols(()), *item.next_symbol_sets(word)]
        yield vocabulary.encode(word), logits(sets, vocabulary)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [*COUNTERS, "flip-flop"])
def test_a_closed_form_is_right_on_prefixes_of_words(name: str, dtype: str) -> None:
    item = language(name)
    spec = closed_form(item)
    assert spec is not None
    weights = diagonal_closed_form(spec)
    assert weights.config["layers"] == (2 if name == "flip-flop" else 1)
    assert weights.valid_prefixes_only
    model = diagonal_model(weights, dtype=dtype)
    for tokens, expected in prefixes_with_answers(item, seed=3):
        assert torch.equal(answers(model, [tokens])[0], expected)


@pytest.mark.parametrize("name", COUNTERS)
def test_one_layer_more_makes_counters_right_on_all_strings(name: str) -> None:
    item = language(name)
    spec = closed_form(item)
    assert spec is not None
    weights = diagonal_closed_form(spec, every_string=True)
    assert (weights.config["layers"], weights.valid_prefixes_only) == (2, False)
    model = diagonal_model(weights)
    vocabulary = Vocabulary(item.alphabet)
    size = len(item.alphabet)
    length = next(n for n in range(8, 0, -1) if size**n <= 300)
    rng = Random(0)
    words = [*itertools.product(item.alphabet, repeat=length)]
    words += [tuple(rng.choices(item.alphabet, k=30)) for _ in range(100)]
    for word in words:
        sets = [spec.next_symbols(word[:end]) for end in range(len(word) + 1)]
        found = answers(model, [vocabulary.encode(word)])[0]
        assert torch.equal(found, logits(sets, vocabulary))


@pytest.mark.parametrize(("brackets", "depth"), [(1, 3), (2, 3), (5, 2), (8, 10), (64, 32)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bounded_dyck_has_two_layers_and_the_state_of_the_theorem(
    brackets: int, depth: int, dtype: str
) -> None:
    item = language("bounded-dyck", brackets=brackets, depth=depth)
    spec = closed_form(item)
    assert isinstance(spec, BoundedDyck)
    weights = diagonal_closed_form(spec)
    model = diagonal_model(weights, dtype=dtype)
    assert model.config.layers == (1 if brackets == 1 else 2)
    assert num_channels(weights.tensors) == 1 + depth * spec.num_bits
    draw, rng, vocabulary = item.published, Random(2), Vocabulary(item.alphabet)
    assert draw is not None
    tokens: list[int] = []
    sets: list[NextSymbols] = []
    for _ in range(4):
        state = item.machine.start
        word = draw(100, 400, rng)
        tokens += vocabulary.encode(word)
        sets.append(item.machine.allowed(state))
        for symbol in word:
            state = item.machine.step(state, symbol)
            sets.append(item.machine.allowed(state))
    found, expected = answers(model, [tokens])[0], logits(sets, vocabulary)
    assert torch.equal(found > 0, expected > 0)
    assert torch.equal(found.clamp(min=-64), expected)


def num_channels(tensors: dict[str, Tensor]) -> int:
    """Return how many channels of all layers some token ever writes into."""
    count = 0
    for name, weight in tensors.items():
        if name.endswith("update_out.weight"):
            count += int((weight[weight.shape[0] // 2 :] != 0).any(dim=1).sum())
    return count


@pytest.mark.parametrize("dtype", DTYPES)
@torch.no_grad()
def test_a_count_is_exact_up_to_the_edge_of_its_precision(dtype: str) -> None:
    weights = diagonal_closed_form(shuffle(("(", ")")))
    model = diagonal_model(weights, dtype=dtype)
    edge = weights.max_count[dtype]
    assert edge == {"float32": 2**24, "bfloat16": 2**8}[dtype]

    def run(count: int, tokens: list[int]) -> tuple[Tensor, float]:
        state = torch.full((1, 1), float(count), dtype=model.lm_head.weight.dtype)
        output = model(torch.tensor([tokens]), ((state,),))
        return output.logits[0, :, [3, 4, EOS]].float(), output.state[0][0].item()

    opened, closed, empty = (64.0, 64.0, -64.0), (64.0, 64.0, -64.0), (64.0, -64.0, 64.0)
    found, count = run(edge - 1, [3, 4, 3])
    assert (found.tolist(), count) == ([list(opened), list(closed), list(opened)], edge)
    if dtype == "float32":
        assert run(edge, [3])[1] == edge, "one past the edge is not a number of the precision"
    found, count = run(2, [4, 4, 3, 4])
    assert found.tolist() == [list(closed), list(empty), list(opened), list(empty)]
    if dtype == "float32":
        down = run(edge, [4] * 3)
        assert (down[0].tolist(), down[1]) == ([list(closed)] * 3, edge - 3)


def test_a_count_comes_back_from_far() -> None:
    spec = boolean(("0", "1", "~", "+", ">"))
    model = diagonal_model(diagonal_closed_form(spec))
    word = ">" * 5_000 + "0" * 10_001
    found = answers(model, [Vocabulary(spec.alphabet).encode(word)])[0]
    assert (found[1:-1] == found[1]).all()
    assert found[-1].tolist() == [-64.0] * 5 + [64.0]
