"""Closed forms: what they say is what the language says, and their weights say the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import MambaConfig, MambaForCausalLM

from statespan.compiler.closed_forms import (
    BoundedDyck,
    Condition,
    Counter,
    CounterLanguage,
    FlipFlop,
    boolean,
    closed_form,
    equal_runs,
    mamba_weights,
    shuffle,
)
from statespan.compiler.closed_forms.counters import MAX_COUNT
from statespan.compiler.weights import DTYPES, Weights, convert
from statespan.errors import InputError
from statespan.languages import DFA, END, Language, language
from statespan.languages.definitions.bounded_dyck import BoundedDyckMachine
from statespan.languages.definitions.counters import EqualRunsMachine
from statespan.languages.definitions.dyck import ShuffleMachine
from statespan.languages.machine import Machine
from statespan.models.mamba import Mamba
from statespan.models.mamba import MambaConfig as OurConfig

COUNTERS = [
    *("dyck-1", "shuffle-2", "shuffle-4", "shuffle-6", "boolean-3", "boolean-5"),
    *("anbn", "anbncn", "anbncndn"),
]


def bounded(brackets: int, depth: int) -> Language:
    return Language.from_machine("nested", BoundedDyckMachine(brackets, depth))


def examples() -> Iterator[Language]:
    yield language("flip-flop")
    yield from map(language, COUNTERS)
    yield Language.from_machine("five runs", EqualRunsMachine("abcde"))
    yield Language.from_machine("three shuffled", ShuffleMachine(3))
    yield from itertools.starmap(bounded, [(1, 1), (1, 3), (2, 2), (3, 2), (5, 1)])


EXAMPLES = {found.name + str(len(found.alphabet)): found for found in examples()}
REPRESENTATIVES = ["flip-flop5", "dyck-12", "shuffle-48", "boolean-57", "anbn2", "anbncndn4"]
REPRESENTATIVES += ["nested2", "nested4", "nested6"]
by_example = pytest.mark.parametrize("formal", EXAMPLES.values(), ids=EXAMPLES.keys())
by_weights = pytest.mark.parametrize(
    "formal",
    [
        pytest.param(formal, id=name, marks=() if name in REPRESENTATIVES else pytest.mark.slow)
        for name, formal in EXAMPLES.items()
    ],
)


def short_strings(formal: Language, most: int = 20_000) -> Iterator[tuple[str, ...]]:
    """Yield every string over the alphabet, words or not, up to a length with about `most`."""
    size, total, length = len(formal.alphabet), 0, 0
    while total + size**length <= most and length <= 10:
        yield from itertools.product(formal.alphabet, repeat=length)
        total += size**length
        length += 1


def random_prefix(formal: Language, length: int, rng: Random) -> list[str]:
    """Return a random walk among the allowed symbols."""
    machine, state, prefix = formal.machine, formal.machine.start, []
    for _ in range(length):
        allowed = machine.allowed(state)
        choices = [symbol for symbol in formal.alphabet if symbol in allowed]
        if not choices:
            break
        prefix.append(rng.choice(choices))
        state = machine.step(state, prefix[-1])
    return prefix


@by_example
def test_a_closed_form_says_what_its_language_says(formal: Language) -> None:
    form = closed_form(formal)
    assert form is not None
    assert form.alphabet == formal.alphabet
    for prefix in short_strings(formal):
        assert form.next_symbols(prefix) == formal.next_symbols(prefix), prefix
    rng = Random(0)
    for _ in range(20):
        prefix = tuple(random_prefix(formal, 60, rng))
        assert form.next_symbols(prefix) == formal.next_symbols(prefix), prefix


@pytest.mark.parametrize("name", ["dyck-2", "parity", "d-4", "tomita-5"])
def test_other_languages_have_no_closed_form(name: str) -> None:
    assert closed_form(language(name)) is None


def test_a_flip_flop_is_known_by_its_automaton_and_not_by_its_symbols() -> None:
    original = language("flip-flop").dfa()
    renamed = {"w": "set", "r": "get", "i": "skip", "0": "low", "1": "high"}
    order = [4, 1, 3, 0, 2]
    alphabet = tuple(renamed[original.alphabet[i]] for i in order)
    rows = tuple(tuple(row[i] for i in order) for row in original.transitions)
    other = DFA(alphabet, original.start, original.accepting, rows)
    form = closed_form(Language.from_dfa(other))
    assert isinstance(form, FlipFlop)
    assert (form.write, form.read, form.ignore, form.bits) == (
        "set",
        "get",
        "skip",
        ("high", "low"),
    )
    assert closed_form(Language.from_dfa(replace(other, accepting=frozenset()))) is None


def test_words_of_the_flip_flop_cut_short_have_no_closed_form() -> None:
    expression = "(w(0|1)((i(0|1))*))|~(.*).*"
    assert closed_form(Language.from_expression(expression, alphabet="wri01")) is None


def test_conditions_that_could_not_be_checked_afterwards_are_refused() -> None:
    down = (Counter(0, (1, -1)),)
    free, asks = Condition(), Condition(positive=0)
    with pytest.raises(InputError, match="may take 1 from the counter"):
        CounterLanguage(("a", "b"), down, (), (free, free, free))
    with pytest.raises(InputError, match="may take 1 from the counter"):
        CounterLanguage(("a", "b"), (Counter(0, (1, -2)),), (), (free, asks, free))
    with pytest.raises(InputError, match="latch 1 that it sets"):
        CounterLanguage(("a", "b"), down, (frozenset({0}),), (Condition(zero=(1,)), asks, free))
    with pytest.raises(InputError, match="a condition a symbol and one for the end"):
        CounterLanguage(("a", "b"), down, (), (free, asks))
    with pytest.raises(InputError, match="quantities 0 to 0"):
        CounterLanguage(("a", "b"), down, (), (free, asks, Condition(zero=(1,))))
    with pytest.raises(InputError, match="starts at 0 or more"):
        CounterLanguage(("a", "b"), (Counter(-1, (1, -1)),), (), (free, asks, free))


def test_malformed_closed_forms_are_refused() -> None:
    with pytest.raises(InputError, match="come in pairs"):
        shuffle(("a", "b", "c"))
    with pytest.raises(InputError, match="at least two symbols"):
        equal_runs(("a",))
    with pytest.raises(InputError, match="as many closing"):
        BoundedDyck(("(", "["), (")",), 2)
    with pytest.raises(InputError, match="depth must be at least 1"):
        BoundedDyck(("(",), (")",), 0)
    with pytest.raises(InputError, match="must hold the symbols"):
        FlipFlop(("w", "r", "i", "0", "2"), "w", "r", "i", ("0", "1"))


def test_boolean_of_any_arity() -> None:
    form = boolean(("0", "1", "a", "b", "c", "d", "e", "f", "g"))
    assert form.next_symbols(("g", *"0101010")) == {END}
    assert END not in form.next_symbols(("g", *"010101"))


RESTART, END_OF_WORD, PADDING, FIRST_SYMBOL = range(4)
by_dtype = pytest.mark.parametrize("dtype", DTYPES)


def build(weights: Weights, dtype: str) -> MambaForCausalLM:
    with torch.device("meta"):
        model = MambaForCausalLM(MambaConfig(**weights.config))
    model.load_state_dict(convert(weights, dtype), strict=True, assign=True)
    return model.eval()


def weights_of(formal: Language) -> Weights:
    form = closed_form(formal)
    assert form is not None
    return mamba_weights(form)


def to_tokens(formal: Language, prefix: Sequence[str]) -> list[int]:
    return [RESTART, *(FIRST_SYMBOL + formal.alphabet.index(symbol) for symbol in prefix)]


def expected_answers(machine: Machine, tokens: Sequence[int]) -> list[list[bool]]:
    """Return, after each token, for each token whether it may follow. Others are ignored."""
    answers, state = [], None
    for token in tokens:
        if token == RESTART:
            state = machine.start
        elif token >= FIRST_SYMBOL and state is not None:
            state = machine.step(state, machine.alphabet[token - FIRST_SYMBOL])
        allowed = frozenset() if state is None else machine.allowed(state)
        answers.append([False, END in allowed, False, *(s in allowed for s in machine.alphabet)])
    return answers


def stepwise_logits(model: MambaForCausalLM, tokens: Tensor) -> Tensor:
    cache, logits = None, []
    for column in tokens.split(1, dim=1):
        output = model(column, cache_params=cache, use_cache=True)
        cache = output.cache_params
        logits.append(output.logits)
    return torch.cat(logits, dim=1)


def assert_right(logits: Tensor, expected: Tensor, *, exact: bool) -> None:
    if exact:
        torch.testing.assert_close(logits, torch.where(expected, 64.0, -64.0), rtol=0, atol=0)
        return
    assert torch.equal(logits > 0, expected)
    assert logits.abs().min() >= 64


def check_tokens(
    formal: Language, model: MambaForCausalLM, rows: list[list[int]], *, exact: bool
) -> None:
    """Check the logits of rows of tokens, read as a whole and one by one; the rows are padded."""
    longest = max(map(len, rows))
    rows = [[*row, *[PADDING] * (longest - len(row))] for row in rows]
    tokens = torch.tensor(rows)
    expected = torch.tensor([expected_answers(formal.machine, row) for row in rows])
    with torch.no_grad():
        assert_right(model(tokens).logits, expected, exact=exact)
        assert_right(stepwise_logits(model, tokens), expected, exact=exact)


def interrupted(formal: Language, length: int, rng: Random, *, hopeful: bool) -> list[int]:
    """Return random tokens after a restart, with restarts and ignored tokens in between.

    Unless `hopeful`, some symbols are not allowed. Nothing is ignored right after w.
    """
    machine = formal.machine
    tokens, state = [RESTART], machine.start
    while len(tokens) < length:
        if tokens[-1] != FIRST_SYMBOL and rng.random() < 0.15:
            tokens.append(rng.choice((END_OF_WORD, PADDING)))
            continue
        allowed = frozenset() if state is None else machine.allowed(state)
        choices = [symbol for symbol in formal.alphabet if symbol in allowed]
        if rng.random() < 0.03 or (not choices and (hopeful or rng.random() < 0.3)):
            tokens.append(RESTART)
            state = machine.start
            continue
        if not hopeful and (not choices or rng.random() < 0.05):
            choices = list(formal.alphabet)
        symbol = rng.choice(choices)
        tokens.append(FIRST_SYMBOL + formal.alphabet.index(symbol))
        state = None if state is None else machine.step(state, symbol)
    return tokens


def strings_of(formal: Language, weights: Weights, most: int) -> list[list[int]]:
    """Return all strings up to a length, or all prefixes of words where only those are promised."""
    strings = short_strings(formal, most)
    if weights.valid_prefixes_only:
        return [to_tokens(formal, s) for s in strings if formal.next_symbols(s)]
    return [to_tokens(formal, s) for s in strings]


def check_short_strings(formal: Language, dtype: str, most: int) -> None:
    weights = weights_of(formal)
    model = build(weights, dtype)
    rows = strings_of(formal, weights, most)
    exact = not isinstance(formal.machine, BoundedDyckMachine)
    for _, same_length in itertools.groupby(rows, key=len):
        check_tokens(formal, model, list(same_length), exact=exact)


@by_dtype
@by_weights
def test_logits_are_right_after_every_short_string(formal: Language, dtype: str) -> None:
    check_short_strings(formal, dtype, 700)


@pytest.mark.exhaustive
@by_dtype
@by_weights
def test_logits_are_right_after_every_string(formal: Language, dtype: str) -> None:
    check_short_strings(formal, dtype, 40_000)


@by_dtype
@by_weights
def test_logits_are_right_with_restarts_and_ignored_tokens(formal: Language, dtype: str) -> None:
    weights = weights_of(formal)
    model, rng = build(weights, dtype), Random(1)
    hopeful = weights.valid_prefixes_only
    rows = [interrupted(formal, 90, rng, hopeful=hopeful) for _ in range(16)]
    check_tokens(formal, model, rows, exact=not hopeful)


@by_dtype
@by_weights
def test_logits_are_right_on_random_words_and_near_misses(formal: Language, dtype: str) -> None:
    weights = weights_of(formal)
    model, rng = build(weights, dtype), Random(2)
    words = formal.sample(length=(1, 60), count=12, rng=rng)
    if not weights.valid_prefixes_only:
        words += formal.sample_negatives(length=(1, 60), count=12, rng=rng)
    rows = [[*to_tokens(formal, word), END_OF_WORD] for word in words]
    check_tokens(formal, model, rows, exact=not weights.valid_prefixes_only)


@by_dtype
@pytest.mark.parametrize(("brackets", "depth"), [(8, 10), (64, 32), (3, 255)])
def test_deep_brackets_of_many_types(brackets: int, depth: int, dtype: str) -> None:
    formal, rng = bounded(brackets, depth), Random(3)
    weights = weights_of(formal)
    prefixes = [random_prefix(formal, 40, rng)]
    for chance in (0.7, 0.9):
        types = [rng.randrange(brackets) for _ in range(depth)]
        prefix = [formal.alphabet[kind] for kind in types]
        while types:
            if rng.random() < chance:
                prefix.append(formal.alphabet[brackets + types.pop()])
            elif len(types) < depth:
                types.append(rng.randrange(brackets))
                prefix.append(formal.alphabet[types[-1]])
        prefixes.append(prefix)
    rows = [to_tokens(formal, prefix) for prefix in prefixes]
    check_tokens(formal, build(weights, dtype), rows, exact=False)


@by_dtype
def test_bounded_dyck_gives_allowed_symbols_equal_logits(dtype: str) -> None:
    formal, rng = bounded(5, 4), Random(4)
    rows = [interrupted(formal, 200, rng, hopeful=True)]
    expected = torch.tensor([expected_answers(formal.machine, row) for row in rows])
    with torch.no_grad():
        logits = build(weights_of(formal), dtype)(torch.tensor(rows)).logits
    assert set(logits[expected].tolist()) == {64.0}


@pytest.mark.parametrize(("brackets", "depth"), [(1, 3), (2, 4), (3, 5), (8, 10)])
def test_bounded_dyck_has_a_state_a_bit_and_level_and_one_for_the_depth(
    brackets: int, depth: int
) -> None:
    weights = weights_of(bounded(brackets, depth))
    num_bits = (brackets - 1).bit_length()
    states = 0
    for number in range(weights.config["num_hidden_layers"]):
        mixer = f"backbone.layers.{number}.mixer."
        moves = weights.tensors[f"{mixer}dt_proj.weight"].any(dim=1)
        states += int(moves.sum())
    assert states == 1 + depth * num_bits
    assert f"There are {states} state channels" in weights.remarks[0]


@by_dtype
def test_a_token_between_write_and_its_bit_hides_the_bit(dtype: str) -> None:
    formal = language("flip-flop")
    model = build(weights_of(formal), dtype)
    write, read, _, zero, one = range(FIRST_SYMBOL, FIRST_SYMBOL + 5)
    start = [RESTART, write, zero, write, PADDING, one, read]
    with torch.no_grad():
        logits = model(torch.tensor([start])).logits[0, -1]
    assert (logits[zero] > 0, logits[one] > 0) == (True, False)


@by_dtype
def test_counts_are_exact_up_to_their_largest(dtype: str) -> None:
    formal = language("dyck-1")
    weights = weights_of(formal)
    assert weights.max_count[dtype] == MAX_COUNT == 2**24
    model = build(weights, dtype)
    counter = (model.backbone.layers[0].mixer.A_log[:, 0] < 0).nonzero().item()
    opens, closes = FIRST_SYMBOL, FIRST_SYMBOL + 1
    with torch.no_grad():
        cache = model(torch.tensor([[RESTART, opens]]), use_cache=True).cache_params
        states = cache.layers[0].recurrent_states[0]
        assert (states.dtype, states[0, counter, 0]) == (torch.float32, 1)
        states[0, counter, 0] = MAX_COUNT - 2
        for token, count in [(opens, -1), (opens, 0), (closes, -1), (opens, 0), (PADDING, 0)]:
            logits = model(torch.tensor([[token]]), cache_params=cache, use_cache=True).logits
            assert states[0, counter, 0] == MAX_COUNT + count
            assert logits[0, 0].tolist() == [-64, -64, -64, 64, 64]
        model(torch.tensor([[opens]]), cache_params=cache, use_cache=True)
        assert states[0, counter, 0] == MAX_COUNT, "a count above the largest is lost"
        for token, answers in [(RESTART, [64, -64]), (opens, [64, 64]), (closes, [64, -64])]:
            logits = model(torch.tensor([[token]]), cache_params=cache, use_cache=True).logits
            assert logits[0, 0, -2:].tolist() == answers


@by_dtype
def test_counters_at_the_edge_are_told_apart(dtype: str) -> None:
    """a^n b^n c^n with n = 2^24: one b, or one c, is missing; then none; then one too many."""
    formal = language("anbncn")
    model = build(weights_of(formal), dtype)
    counters = (model.backbone.layers[0].mixer.A_log[:, 0] < 0).nonzero()[:, 0]
    a, b, c = range(FIRST_SYMBOL, FIRST_SYMBOL + 3)
    with torch.no_grad():
        cache = model(torch.tensor([[RESTART, a, a, b]]), use_cache=True).cache_params
        states = cache.layers[0].recurrent_states[0]
        signs = states[0, counters, 0].sign()
        states[0, counters, 0] = signs * torch.tensor([2.0, MAX_COUNT - 2])

        def answers(token: int) -> list[bool]:
            logits = model(torch.tensor([[token]]), cache_params=cache, use_cache=True).logits
            assert logits.abs().unique().tolist() == [64]
            return (logits[0, 0, [END_OF_WORD, a, b, c]] > 0).tolist()

        assert answers(b) == [False, False, True, False]
        assert answers(b) == [False, False, False, True]
        assert (states[0, counters, 0] * signs).tolist() == [0, MAX_COUNT]
        assert answers(c) == [False, False, False, True]
        states[0, counters, 0] = signs * torch.tensor([0.0, 2.0])
        assert answers(c) == [False, False, False, True]
        assert answers(c) == [True, False, False, False]
        assert answers(c) == [False] * 4
        assert answers(c) == [False] * 4


@by_dtype
@pytest.mark.parametrize("depth", [255, 257, 400])
def test_long_counts_need_no_long_mantissa(depth: int, dtype: str) -> None:
    formal = language("anbn")
    rows = [to_tokens(formal, "a" * depth + "b" * (depth + extra)) for extra in (0, 1)]
    check_tokens(formal, build(weights_of(formal), dtype), rows, exact=True)


@by_weights
def test_our_mamba_reads_the_same_weights(formal: Language) -> None:
    weights = weights_of(formal)
    config = weights.config
    sizes = OurConfig(
        d_model=config["hidden_size"],
        layers=config["num_hidden_layers"],
        d_state=config["state_size"],
        d_conv=config["conv_kernel"],
        expand=config["expand"],
        dt_rank=config["time_step_rank"],
    )
    with torch.device("meta"):
        vocab_size = config["vocab_size"]
        ours = Mamba(sizes, vocab_size=vocab_size, num_outputs=vocab_size)
    ours.load_state_dict(convert(weights, "float32"), strict=True, assign=True)
    assert ours.transformers_config().items() <= config.items()
    hopeful = weights.valid_prefixes_only
    tokens = torch.tensor([interrupted(formal, 60, Random(5), hopeful=hopeful)])
    with torch.no_grad():
        theirs = build(weights, "float32")(tokens).logits
        torch.testing.assert_close(ours(tokens).logits, theirs, rtol=0, atol=0)


@by_dtype
@by_weights
def test_padding_on_the_left_changes_nothing(formal: Language, dtype: str) -> None:
    weights = weights_of(formal)
    model = build(weights, dtype)
    row = interrupted(formal, 40, Random(6), hopeful=weights.valid_prefixes_only)
    padded, mask = [*[PADDING] * 5, *row], [*[0] * 5, *[1] * len(row)]
    with torch.no_grad():
        alone = model(torch.tensor([row])).logits
        masked = model(torch.tensor([padded]), attention_mask=torch.tensor([mask])).logits
    torch.testing.assert_close(masked[:, 5:], alone, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("form", "layers", "width", "parameters"),
    [
        (closed_form(language("flip-flop")), 1, 8, 432),
        (closed_form(language("dyck-1")), 2, 8, 648),
        (closed_form(language("anbn")), 2, 16, 2_128),
        (closed_form(language("anbncn")), 2, 16, 2_224),
        (shuffle(tuple("()[]{}<>+-abcdef")), 2, 64, 30_272),
        (closed_form(bounded(8, 10)), 2, 16, 7_952),
        (closed_form(bounded(64, 32)), 2, 32, 94_496),
    ],
    ids=["flip-flop", "dyck-1", "anbn", "anbncn", "shuffle-8", "dyck-8-10", "dyck-64-32"],
)
def test_sizes(form: Any, layers: int, width: int, parameters: int) -> None:
    weights = mamba_weights(form)
    config = weights.config
    assert (config["num_hidden_layers"], config["hidden_size"]) == (layers, width)
    assert weights.num_parameters == parameters


@pytest.mark.parametrize("form", [*map(closed_form, EXAMPLES.values())], ids=EXAMPLES.keys())
def test_the_plan_is_whole(form: Any) -> None:
    weights = mamba_weights(form)
    plan = weights.plan
    assert len(plan.blocks) == weights.config["num_hidden_layers"]
    assert all(block.remark for block in plan.blocks)
    named = {group.name for group in plan.groups}
    assert {name for block in plan.blocks for name in (*block.reads, *block.writes)} <= named
    letters = next(group for group in plan.groups if group.kind == "letter")
    assert len(plan.letter_classes) == len(form.alphabet) + 2
    assert max(plan.letter_classes) == len(letters.codes) - 1
    embeddings = weights.tensors["backbone.embeddings.weight"]
    for number, kind in enumerate(plan.letter_classes):
        token = {len(form.alphabet): RESTART, len(form.alphabet) + 1: PADDING}.get(
            number, FIRST_SYMBOL + number
        )
        assert tuple(embeddings[token, list(letters.channels)].tolist()) == letters.codes[kind]


def test_counters_that_one_block_cannot_hold_are_refused() -> None:
    both = (Counter(0, (1, -1)), Counter(0, (1, 1)))
    conditions = (Condition(), Condition(positive=0), Condition())
    with pytest.raises(InputError, match="one block cannot count both"):
        mamba_weights(CounterLanguage(("a", "b"), both, (), conditions))
    with pytest.raises(InputError, match="at most 250, got 251"):
        mamba_weights(CounterLanguage(("a",), (Counter(251, (0,)),), (), (Condition(),) * 2))
    with pytest.raises(InputError, match="depth must be at most 255, got 256"):
        mamba_weights(BoundedDyck(("(",), (")",), 256))


@by_dtype
def test_counters_of_several_kinds_together(dtype: str) -> None:
    """Large changes, a large start, latches that must be set, and three zeros at once."""
    form = CounterLanguage(
        alphabet=("a", "b", "c", "d", "e"),
        counters=(Counter(250, (0, -1, 250, 0, 0)), Counter(0, (7, 0, 0, -1, 0))),
        latches=(frozenset({0, 2}), frozenset({3})),
        conditions=(
            Condition(zero=(3,)),
            Condition(positive=0),
            Condition(zero=(1,), positive=0),
            Condition(zero=(0,), positive=1),
            Condition(zero=(0, 1), positive=2),
            Condition(zero=(0, 1, 3)),
        ),
    )
    model, rng, rows = build(mamba_weights(form), dtype), Random(7), []
    expected = []
    for _ in range(40):
        numbers = [rng.choice((0, 1, 1, 1, 1, 1, 2, 3, 4)) for _ in range(3)]
        numbers = [*numbers, *[1] * rng.choice((249, 250, 500)), *rng.choices(range(5), k=40)]
        quantities: tuple[int, ...] | None = form.start
        answers = [form.allowed(form.start)]
        for number in numbers:
            quantities = None if quantities is None else form.step(quantities, number)
            answers.append(frozenset() if quantities is None else form.allowed(quantities))
        length = 301
        rows.append([RESTART, *(FIRST_SYMBOL + number for number in numbers)][:length])
        order = (None, END, None, *form.alphabet)
        expected.append([[symbol in said for symbol in order] for said in answers][:length])
    shortest = min(map(len, rows))
    with torch.no_grad():
        logits = model(torch.tensor([row[:shortest] for row in rows])).logits
    assert_right(logits, torch.tensor([row[:shortest] for row in expected]), exact=True)
