"""OLMo Hybrid says what the automaton says, through the forward pass of `transformers`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from itertools import product
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from statespan.compiler.actions import Action, moves_of
from statespan.compiler.cascade import (
    Cascade,
    Component,
    Conditions,
    Readout,
    ReadoutTerm,
    Term,
    check_cascade,
    next_symbols_of_states,
)
from statespan.compiler.decomposition import decompose
from statespan.compiler.reflections import reflection_system
from statespan.compiler.residual import AMPLITUDE
from statespan.compiler.targets.olmo_hybrid import (
    olmo_hybrid_weights,
    olmo_hybrid_weights_of_automaton,
)
from statespan.compiler.targets.olmo_reflections import reflection_weights
from statespan.compiler.weights import DTYPES, Group, Weights, convert
from statespan.languages import END, language
from statespan.languages.automaton import DFA
from statespan.languages.symbols import NextSymbols
from statespan.training import BOS, EOS, PAD, Vocabulary

GROUPS = ["parity", "aa-star", "aaaa-star", "abab-star", "tomita-3", "tomita-5"]
STAR_FREE = ["tomita-1", "tomita-2", "tomita-4", "tomita-7", "d-2", "012-star-02-star"]


class Meaning:
    """What must be said, state by state, with tokens for letters."""

    def __init__(
        self,
        alphabet: tuple[str, ...],
        start: Hashable,
        step: Callable[[Any, int], Hashable],
        allowed: Callable[[Any], NextSymbols],
    ) -> None:
        self.vocabulary = Vocabulary(alphabet)
        self.start = start
        self._step = step
        self._allowed = allowed

    @classmethod
    def of_dfa(cls, dfa: DFA) -> Meaning:
        allowed = next_symbols_of_states(dfa)
        return cls(dfa.alphabet, dfa.start, lambda q, a: dfa.transitions[q][a], allowed.__getitem__)

    @classmethod
    def of_cascade(cls, cascade: Cascade) -> Meaning:
        return cls(cascade.alphabet, cascade.start, cascade.step, cascade.next_symbols)

    def step(self, state: Hashable, token: int) -> Hashable:
        if token == BOS:
            return self.start
        return state if token in {EOS, PAD} else self._step(state, token - 3)

    def answers(self, state: Hashable) -> list[bool]:
        return self.vocabulary.answers(self._allowed(state))

    def expected(self, tokens: Iterable[int]) -> list[list[bool]]:
        rows = []
        state = self.start
        for token in tokens:
            state = self.step(state, token)
            rows.append(self.answers(state))
        return rows


def build(weights: Weights, dtype: str) -> Any:
    from transformers import OlmoHybridConfig, OlmoHybridForCausalLM

    config = OlmoHybridConfig(
        **weights.config, bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, dtype=dtype
    )
    with torch.random.fork_rng():
        model = OlmoHybridForCausalLM(config).to(DTYPES[dtype]).eval()
    model.load_state_dict(convert(weights, dtype))
    return model


def count_wrong(logits: Tensor, expected: Tensor, vocabulary: Vocabulary) -> int:
    """The number of logits with a wrong sign, or too near zero to be sure of it."""
    said = logits.float()[..., vocabulary.answer_ids]
    wrong = int(((said > 0) != expected).sum() + (said.abs() < AMPLITUDE - 1).sum())
    return wrong + int((logits[..., [BOS, PAD]] > -AMPLITUDE + 1).sum())


def wrong_logits(model: Any, meaning: Meaning, rows: list[list[int]]) -> int:
    """The number of wrong logits on rows of tokens of one length, read at once."""
    expected = torch.tensor([meaning.expected(row) for row in rows])
    with torch.inference_mode():
        logits = model(torch.tensor(rows), use_cache=False).logits
    return count_wrong(logits, expected, meaning.vocabulary)


def wrong_logits_in_steps(
    model: Any, meaning: Meaning, rows: list[list[int]], sizes: Iterable[int]
) -> int:
    """The same in pieces, with a cache."""
    expected = torch.tensor([meaning.expected(row) for row in rows])
    tokens = torch.tensor(rows)
    pieces = []
    cache = None
    first = 0
    for size in sizes:
        with torch.inference_mode():
            out = model(tokens[:, first : first + size], past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        pieces.append(out.logits)
        first += size
    assert first == tokens.shape[1]
    return count_wrong(torch.cat(pieces, dim=1), expected, meaning.vocabulary)


def all_words(num_letters: int, length: int) -> list[list[int]]:
    return [
        [BOS, *(3 + letter for letter in word)]
        for word in product(range(num_letters), repeat=length)
    ]


def random_tokens(meaning: Meaning, length: int, rng: Random, *, special: float = 0.0) -> list[int]:
    """A row that mostly follows allowed symbols, so that it does not die early."""
    tokens = [BOS]
    state = meaning.start
    letters = range(3, meaning.vocabulary.size)
    while len(tokens) < length:
        live = [token for token, yes in zip(letters, meaning.answers(state), strict=False) if yes]
        if rng.random() < special:
            token = rng.choice([BOS, EOS, PAD])
        elif live and rng.random() < 0.99:
            token = rng.choice(live)
        else:
            token = rng.choice(letters)
        state = meaning.step(state, token)
        tokens.append(token)
    return tokens


def check_everything(
    weights: Weights, meaning: Meaning, dtype: str, *, longest: int = 2000
) -> None:
    rng = Random(0)
    model = build(weights, dtype)
    num_letters = len(meaning.vocabulary.alphabet)
    length = {1: 12, 2: 7, 3: 5, 4: 4}.get(num_letters, 3)
    assert wrong_logits(model, meaning, all_words(num_letters, length)) == 0
    rows = [random_tokens(meaning, 150, rng, special=0.1) for _ in range(8)]
    assert wrong_logits(model, meaning, rows) == 0
    assert wrong_logits_in_steps(model, meaning, rows, [1] * 150) == 0
    assert wrong_logits_in_steps(model, meaning, rows, [1, 70, 1, 1, 64, 13]) == 0
    long = [random_tokens(meaning, longest, rng)]
    assert wrong_logits(model, meaning, long) == 0


def count_closed_states(model: Any, meaning: Meaning) -> tuple[int, int]:
    """Search all recurrent states that any tokens lead to; return their number and the steps'.

    A state is the bits of the caches of all linear-attention layers, without the column of the
    convolution that is never read again, and the state of the automaton. The cache of the layer of
    full attention is left empty, as the layer adds nothing.
    """
    tokens = range(meaning.vocabulary.size)
    start = model(torch.tensor([[BOS]]), use_cache=True).past_key_values
    seen = {(keys_of(start)[0], meaning.start)}
    frontier = [(caches_of(start, 0), meaning.start)]
    steps = 0
    while frontier:
        batch, frontier = frontier[:256], frontier[256:]
        pairs = [(caches, state, token) for caches, state in batch for token in tokens]
        cache = join([caches for caches, _, _ in pairs], model)
        logits = model(
            torch.tensor([[token] for _, _, token in pairs]), past_key_values=cache
        ).logits
        states = [meaning.step(state, token) for _, state, token in pairs]
        expected = torch.tensor([meaning.answers(state) for state in states])
        assert count_wrong(logits[:, 0], expected, meaning.vocabulary) == 0
        steps += len(pairs)
        for number, (key, state) in enumerate(zip(keys_of(cache), states, strict=True)):
            if (key, state) not in seen:
                seen.add((key, state))
                frontier.append((caches_of(cache, number), state))
    return len(seen), steps


def linear_layers(cache: Any) -> list[Any]:
    return [layer for layer in cache.layers if hasattr(layer, "recurrent_states")]


def caches_of(cache: Any, number: int) -> list[Tensor]:
    return [
        value[number].clone()
        for layer in linear_layers(cache)
        for value in (layer.conv_states[0], layer.recurrent_states[0])
    ]


def keys_of(cache: Any) -> list[bytes]:
    parts = []
    for layer in linear_layers(cache):
        parts += [layer.conv_states[0][..., 1:].float(), layer.recurrent_states[0]]
    rows = torch.cat([part.flatten(1) for part in parts], dim=1) + 0.0
    return [row.numpy().tobytes() for row in rows]


def join(rows: list[list[Tensor]], model: Any) -> Any:
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    values = [torch.stack(column) for column in zip(*rows, strict=True)]
    for number, layer in enumerate(linear_layers(cache)):
        layer.update_conv_state(values[2 * number])
        layer.update_recurrent_state(values[2 * number + 1])
    return cache


def word_problem(group: str) -> DFA:
    return language("word-problem", group=group, generators="adjacent").dfa()


def of_automaton(dfa: DFA) -> Weights:
    weights = olmo_hybrid_weights_of_automaton(dfa)
    assert weights is not None
    return weights


def triangle(letters: dict[str, int], accepted: set[int]) -> DFA:
    """Words whose letters add up, modulo 3, to something accepted: (aaa)*, Tomita 6 and more."""
    rows = [tuple((corner + turn) % 3 for turn in letters.values()) for corner in range(3)]
    return DFA(tuple(letters), 0, frozenset(accepted), tuple(rows))


def slow(*values: object) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", GROUPS + STAR_FREE)
def test_cascades_of_languages(name: str, dtype: str) -> None:
    dfa = language(name).dfa()
    cascade = decompose(dfa)
    check_cascade(cascade, dfa)
    check_everything(olmo_hybrid_weights(cascade), Meaning.of_dfa(dfa), dtype, longest=500)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["d-4", "flip-flop", "aa-star-bb-star-cc-star-dd-star-ee-star"])
def test_cascades_of_larger_languages(name: str, dtype: str) -> None:
    dfa = language(name).dfa()
    weights = olmo_hybrid_weights(decompose(dfa))
    check_everything(weights, Meaning.of_dfa(dfa), dtype, longest=5000)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("group", "width", "num_parameters"),
    [("S_2", 4, 257), ("S_3", 8, 585), slow("S_4", 8, 661), slow("S_5", 8, 677)],
)
def test_word_problems_in_one_linear_layer(
    group: str, width: int, num_parameters: int, dtype: str
) -> None:
    dfa = word_problem(group)
    weights = of_automaton(dfa)
    assert weights.config["layer_types"] == ["linear_attention", "full_attention"]
    assert (weights.config["hidden_size"], weights.num_parameters) == (width, num_parameters)
    check_everything(weights, Meaning.of_dfa(dfa), dtype, longest=4096)


@pytest.mark.parametrize("name", ["parity", "aa-star", "tomita-5"])
def test_reflections_of_the_catalogue(name: str) -> None:
    dfa = language(name).dfa()
    weights = of_automaton(dfa)
    assert weights.config["num_hidden_layers"] == 2
    check_everything(weights, Meaning.of_dfa(dfa), "float32")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("letters", "accepted", "sizes"),
    [
        ({"a": 1}, {0}, (1034, 13)),
        ({"0": 1, "1": 2}, {0}, (2290, 19)),
        ({"a": 2, "b": 0}, {1}, (1050, 13)),
        ({"a": 1, "b": 0, "c": 2}, {0, 1}, (2322, 19)),
    ],
)
def test_turns_of_a_triangle(
    letters: dict[str, int], accepted: set[int], sizes: tuple[int, int], dtype: str
) -> None:
    dfa = triangle(letters, accepted)
    weights = of_automaton(dfa)
    assert weights.config["layer_types"] == ["linear_attention"] * 2 + ["full_attention"]
    check_everything(weights, Meaning.of_dfa(dfa), dtype, longest=2500)
    states, _ = closed(weights, Meaning.of_dfa(dfa), dtype)
    assert (weights.num_parameters, states) == sizes


def test_several_heads_and_what_is_left_out() -> None:
    dfa = language("tomita-5").dfa()
    other = DFA(dfa.alphabet, dfa.start, frozenset({1, 2, 3}), dfa.transitions)
    check_everything(of_automaton(other), Meaning.of_dfa(other), "float32", longest=500)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("make", "num_states"),
    [
        (lambda: language("parity").dfa(), 5),
        (lambda: word_problem("S_3"), 19),
        slow(lambda: word_problem("S_4"), 97),
        slow(lambda: word_problem("S_5"), 601),
    ],
    ids=["parity", "S_3", "S_4", "S_5"],
)
def test_reflections_close(make: Callable[[], DFA], num_states: int, dtype: str) -> None:
    dfa = make()
    states, steps = closed(of_automaton(dfa), Meaning.of_dfa(dfa), dtype)
    assert states == num_states
    assert steps == states * (3 + len(dfa.alphabet))


@pytest.mark.parametrize("name", ["aaaa-star", "d-2", "tomita-4"])
def test_cascades_close(name: str) -> None:
    dfa = language(name).dfa()
    states, _ = closed(olmo_hybrid_weights(decompose(dfa)), Meaning.of_dfa(dfa), "float32")
    assert states > dfa.num_states


def closed(weights: Weights, meaning: Meaning, dtype: str) -> tuple[int, int]:
    with torch.inference_mode():
        return count_closed_states(build(weights, dtype), meaning)


def always(letters: Iterable[int], value: int | None) -> Term:
    return Term(frozenset(letters), (), value)


def test_a_cascade_without_components() -> None:
    readout = Readout((frozenset({"a", END}),), 0, ())
    cascade = Cascade(("a",), (), readout)
    check_everything(olmo_hybrid_weights(cascade), Meaning.of_cascade(cascade), "float32")


def reader_of_a_reset_flip() -> Cascade:
    """The second component asks what the first was when it is reset, so it must be copied."""
    first = Component(2, 0, (always({0}, None), always({1}, 1), always({2, 3}, 0)))
    ask = ((0, frozenset({1})),)
    second = Component(
        3, 2, (Term(frozenset({0, 1}), ask, 0), Term(frozenset({2}), ask, 1), always({3}, 2))
    )
    labels = (frozenset({"a", "b"}), frozenset({"c", END}), frozenset({"a", "c"}))
    terms = (
        ReadoutTerm(((0, frozenset({0})), (1, frozenset({0, 2}))), 1),
        ReadoutTerm(((0, frozenset({1})), (1, frozenset({1}))), 2),
    )
    return Cascade(("a", "b", "c"), (first, second), Readout(labels, 0, terms))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_flip_that_is_asked_about_as_it_is_reset(dtype: str) -> None:
    cascade = reader_of_a_reset_flip()
    weights = olmo_hybrid_weights(cascade)
    assert weights.config["num_hidden_layers"] == 1 + 3
    check_everything(weights, Meaning.of_cascade(cascade), dtype)


def reader_of_swaps(*, resets: bool) -> Cascade:
    """The second component asks what the first was while values swap, and as one is written."""
    swaps = [always({letter}, swap) for letter, swap in enumerate([(0, 1), (1, 2), (0, 2)])]
    written = [always({3}, 1)] if resets else []
    first = Component(3, 0, (*swaps, *written, always({4}, 0)))
    asked = [Term(frozenset(range(4)), ((0, frozenset({value})),), value) for value in range(2)]
    second = Component(3, 2, (*asked, always({4}, 2)))
    letters = frozenset("abcd")
    labels = (letters, letters | {END}, frozenset({"a", END}))
    terms = [ReadoutTerm(((0, frozenset({1})), (1, frozenset({v}))), 1 + v) for v in range(2)]
    return Cascade(tuple("abcd"), (first, second), Readout(labels, 0, tuple(terms)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("resets", [False, True])
def test_values_that_are_asked_about_as_they_swap(resets: bool, dtype: str) -> None:
    cascade = reader_of_swaps(resets=resets)
    weights = olmo_hybrid_weights(cascade)
    assert weights.config["num_hidden_layers"] == 1 + 2 + resets
    check_everything(weights, Meaning.of_cascade(cascade), dtype, longest=1000)


def random_cascade(rng: Random) -> Cascade:
    alphabet = tuple("abc"[: rng.randint(1, 3)])
    components: list[Component] = []
    for _ in range(rng.randint(1, 4)):
        components.append(random_component(len(alphabet), components, rng))
    labels = tuple(
        frozenset(symbol for symbol in (*alphabet, END) if rng.random() < 0.5) for _ in range(3)
    )
    terms = [
        ReadoutTerm(conditions, rng.randrange(3))
        for conditions in random_partition(components, rng)
        if rng.random() < 0.7
    ]
    return Cascade(alphabet, tuple(components), Readout(labels, rng.randrange(3), tuple(terms)))


def random_component(num_letters: int, earlier: list[Component], rng: Random) -> Component:
    size = rng.choice([2, 2, 2, 3, 4, 6])
    actions: list[Action] = [*range(size), *([None, None] if size == 2 else [])]
    if size > 2 and rng.random() < 0.5:
        actions = [*range(rng.choice((0, 0, size))), *moves_of(size)]
    initial = rng.randrange(size)
    terms = [always({num_letters}, initial)]
    for letter in range(num_letters):
        terms += [
            Term(frozenset({letter}), conditions, rng.choice(actions))
            for conditions in random_partition(earlier, rng)
            if rng.random() < 0.6
        ]
    return Component(size, initial, tuple(terms))


def random_partition(components: list[Component], rng: Random) -> list[Conditions]:
    """Conjunctions that exclude each other, about up to two components."""
    count = min(len(components), rng.randint(0, 2))
    parts: list[list[tuple[int, frozenset[int]]]] = []
    for number in sorted(rng.sample(range(len(components)), count)):
        values = range(components[number].num_values)
        chosen = frozenset(value for value in values if rng.random() < 0.5)
        rest = frozenset(values) - chosen
        parts.append([(number, part) for part in (chosen, rest) if part])
    return [tuple(conditions) for conditions in product(*parts)]


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from(["float32", "bfloat16"]))
def test_random_cascades(seed: int, dtype: str) -> None:
    rng = Random(seed)
    cascade = random_cascade(rng)
    meaning = Meaning.of_cascade(cascade)
    model = build(olmo_hybrid_weights(cascade), dtype)
    rows = [[BOS, *(rng.randrange(meaning.vocabulary.size) for _ in range(80))] for _ in range(6)]
    assert wrong_logits(model, meaning, rows) == 0
    assert wrong_logits_in_steps(model, meaning, rows, [1] * 20 + [61]) == 0


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_channels_hold_what_the_plan_says(seed: int) -> None:
    rng = Random(seed)
    cascade = random_cascade(rng)
    weights = olmo_hybrid_weights(cascade)
    tokens = [BOS, *(rng.randrange(3 + len(cascade.alphabet)) for _ in range(40))]
    streams: list[Tensor] = []
    model = build(weights, "float32")
    model.model.norm.register_forward_pre_hook(lambda _, inputs: streams.append(inputs[0][0]))
    with torch.inference_mode():
        model(torch.tensor([tokens]))
    before = cascade.start
    for stream, token in zip(streams[0], tokens, strict=True):
        letter = {BOS: cascade.restart, EOS: cascade.restart + 1, PAD: cascade.restart + 1}.get(
            token, token - 3
        )
        after = before if letter > cascade.restart else cascade.step(before, letter)
        for group in weights.plan.groups:
            held = (stream[list(group.channels)] / AMPLITUDE).tolist()
            if group.kind == "letter":
                assert held == list(group.codes[weights.plan.letter_classes[letter]])
            elif group.kind == "after":
                assert group.component is not None
                assert is_held(cascade, group, held, after[group.component])
            elif group.kind == "before" and letter != cascade.restart:
                assert group.component is not None
                lost = letter <= cascade.restart and resets(cascade, group.component, letter)
                assert lost or is_held(cascade, group, held, before[group.component])
            elif group.kind == "event" and letter <= cascade.restart:
                assert group.component is not None
                component = cascade.components[group.component]
                fired = component.fired(letter, before)
                number = 0
                if fired is not None:
                    value = component.terms[fired].value
                    moves: list[Action] = [*range(component.num_values), *component.swaps, None]
                    number = 1 + moves.index(value)
                assert held == list(group.codes[number])
        before = after


def resets(cascade: Cascade, number: int, letter: int) -> bool:
    """Whether a component that moves may lose what it was, which no reader then asks about."""
    component = cascade.components[number]
    return bool(component.flips or component.swaps) and any(
        letter in term.letters and isinstance(term.value, int) for term in component.terms
    )


def is_held(cascade: Cascade, group: Group, held: list[float], value: int) -> bool:
    """Whether channels hold a value; where values swap, its sign may say nothing."""
    assert group.component is not None
    code = list(group.codes[value])
    negative = [-entry for entry in code]
    return held == code or (bool(cascade.components[group.component].swaps) and held == negative)


def test_left_padding_is_ignored() -> None:
    dfa = language("d-2").dfa()
    meaning = Meaning.of_dfa(dfa)
    model = build(olmo_hybrid_weights(decompose(dfa)), "float32")
    row = random_tokens(meaning, 30, Random(1))
    mask = torch.tensor([[0] * 5 + [1] * 30])
    with torch.inference_mode():
        logits = model(torch.tensor([[PAD] * 5 + row]), attention_mask=mask).logits[:, 5:]
    assert count_wrong(logits, torch.tensor([meaning.expected(row)]), meaning.vocabulary) == 0


MUTATED = [
    "lm_head.weight",
    "model.layers.0.linear_attn.k_proj.weight",
    "model.layers.0.linear_attn.v_proj.weight",
    "model.layers.0.linear_attn.q_proj.weight",
    "model.layers.0.linear_attn.g_proj.weight",
    "model.layers.0.linear_attn.o_proj.weight",
    "model.layers.0.linear_attn.conv1d.weight",
]


@pytest.mark.parametrize("tensor", [*MUTATED, "model.layers.0.linear_attn.b_proj.weight"])
def test_a_wrong_weight_of_a_reflection_is_noticed(tensor: str) -> None:
    dfa = word_problem("S_3")
    assert mutation_is_noticed(of_automaton(dfa), Meaning.of_dfa(dfa), tensor)


@pytest.mark.parametrize("tensor", [*MUTATED, "model.layers.0.mlp.gate_proj.weight"])
def test_a_wrong_weight_of_a_cascade_is_noticed(tensor: str) -> None:
    dfa = language("d-2").dfa()
    weights = olmo_hybrid_weights(decompose(dfa))
    assert mutation_is_noticed(weights, Meaning.of_dfa(dfa), tensor)


def mutation_is_noticed(weights: Weights, meaning: Meaning, tensor: str) -> bool:
    """Turn the sign of each weight of a tensor in turn, until one is noticed."""
    rows = [random_tokens(meaning, 100, Random(seed), special=0.1) for seed in range(3)]
    for place in weights.tensors[tensor].nonzero().tolist():
        changed = weights.tensors[tensor].clone()
        changed[tuple(place)] *= -1
        wrong = Weights(weights.config, weights.tensors | {tensor: changed}, weights.alphabet)
        if wrong_logits(build(wrong, "float32"), meaning, rows) > 0:
            return True
    return False


@pytest.mark.parametrize("place", range(2))
def test_a_wrong_mirror_is_noticed(place: int) -> None:
    dfa = triangle({"a": 1, "b": 2}, {0})
    names = ["model.layers.0.mlp.gate_proj.weight", "model.layers.1.linear_attn.k_proj.weight"]
    assert mutation_is_noticed(of_automaton(dfa), Meaning.of_dfa(dfa), names[place])


def test_reflection_weights_are_those_of_the_automaton() -> None:
    dfa = language("parity").dfa()
    system = reflection_system(dfa)
    assert system is not None
    ours, theirs = reflection_weights(system).tensors, of_automaton(dfa).tensors
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert olmo_hybrid_weights_of_automaton(language("d-2").dfa()) is None
