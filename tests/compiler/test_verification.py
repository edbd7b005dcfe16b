"""Every kind of words is what it says, and no wrong weight goes unseen."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import PreTrainedModel

from statespan.compiler import forward, verification, words
from statespan.compiler.decomposition import decompose
from statespan.compiler.folder import build_model, load_model, write_folder
from statespan.compiler.forward import best_reading, read_logits
from statespan.compiler.promise import Promise, largest_count
from statespan.compiler.targets.mamba import mamba_weights
from statespan.compiler.verification import Verification, next_symbol_sets, verify
from statespan.compiler.weights import Weights, convert
from statespan.errors import InputError, LimitError, SymbolError
from statespan.languages import Language, language
from statespan.training import BOS, EOS, PAD, Vocabulary

D2 = language("d-2")


@pytest.fixture(scope="module")
def weights() -> Weights:
    return mamba_weights(decompose(D2.dfa()))


@pytest.fixture(scope="module")
def model(weights: Weights) -> PreTrainedModel:
    return build_model(weights.config, convert(weights, "float32"), "float32")


@pytest.fixture
def _short_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "LONGEST", 30)
    monkeypatch.setattr(forward, "WHOLE", 100)


def check(model: PreTrainedModel, tested: Language = D2, **changes: Any) -> Verification:
    arguments: dict[str, Any] = {
        "rng": Random(0),
        "max_length": 5,
        "num_words": 8,
        "long_length": 0,
        **changes,
    }
    return verify(model, tested, **arguments)


# --- a model that is right


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_right_model_passes(weights: Weights, dtype: str) -> None:
    compiled = build_model(weights.config, convert(weights, dtype), dtype)
    found = verify(compiled, D2, rng=Random(0), long_length=500)
    assert [one.kind for one in found.checks] == [
        "every word",
        "random",
        "members",
        "near misses",
        "edges",
        "powers",
        "interrupted",
        "token by token",
        "long",
    ]
    assert all(one.words > 0 and one.positions > one.words for one in found.checks)
    assert found.errors == 0
    assert all(one.first_error is None for one in found.checks)
    assert found.positions > 50_000
    assert found.max_length == 11
    assert found.margin > 0
    assert (found.model_type, found.dtype) == ("mamba", dtype)


@pytest.mark.usefixtures("_short_words")
def test_it_is_a_function_of_the_seed(model: PreTrainedModel) -> None:
    assert check(model, rng=Random(3)) == check(model, rng=Random(3))
    assert check(model, rng=Random(3)) != check(model, rng=Random(4))


@pytest.mark.usefixtures("_short_words")
def test_long_words_are_read_whole_or_token_by_token(model: PreTrainedModel) -> None:
    whole = check(model, long_length=500).checks[-1]
    one_by_one = check(model, long_length=150, memory=1_000).checks[-1]
    assert (whole.kind, whole.reading) == ("long", "whole")
    assert (one_by_one.kind, one_by_one.reading) == ("long", "token by token")
    assert (whole.words, whole.positions, whole.errors) == (2, 1_000, 0)
    assert (one_by_one.words, one_by_one.positions, one_by_one.errors) == (2, 300, 0)


@pytest.mark.usefixtures("_short_words")
def test_progress_counts_to_the_end(model: PreTrainedModel) -> None:
    calls: list[tuple[str, int, int, str]] = []
    found = check(model, progress=lambda *call: calls.append(call))
    last = {kind: (done, total, text) for kind, done, total, text in calls}
    assert last == {one.kind: (one.positions, one.positions, "0 errors") for one in found.checks}


def test_the_sets_are_those_of_the_language(model: PreTrainedModel) -> None:
    for word in ("", "a", "aabb", "abba", "aabbabaabb" * 50):
        assert next_symbol_sets(model, D2.alphabet, word) == D2.next_symbol_sets(word)
    with pytest.raises(SymbolError, match="'c' at position 1"):
        next_symbol_sets(model, D2.alphabet, "ac")


def test_a_saved_model_says_the_same_bits(weights: Weights, tmp_path: Path) -> None:
    tensors = convert(weights, "bfloat16")
    built = build_model(weights.config, tensors, "bfloat16")
    write_folder(tmp_path, weights.config, tensors, D2.alphabet, card="", files={})
    loaded = load_model(tmp_path)
    tokens = torch.tensor([words.live_walk(Promise(D2), 300, Random(0), restarts=True)])
    (first,), (second,) = read_logits(built, tokens, None), read_logits(loaded, tokens, None)
    assert torch.equal(first, second)


# --- a model that is wrong


def names(model: PreTrainedModel) -> list[str]:
    return [name for name, value in model.named_parameters() if value.any()]


@pytest.mark.usefixtures("_short_words")
def test_a_wrong_weight_is_found(weights: Weights, model: PreTrainedModel) -> None:
    tensors = convert(weights, "float32")
    for name in names(model):
        if name.endswith(("A_log", "norm.weight")) or "layers.0" in name:
            continue
        planted = {**tensors, name: torch.zeros_like(tensors[name])}
        found = check(build_model(weights.config, planted, "float32"), num_words=3)
        assert found.errors > 0, name


@pytest.mark.usefixtures("_short_words")
def test_one_wrong_number_is_found(weights: Weights) -> None:
    tensors = convert(weights, "float32")
    head = tensors["lm_head.weight"].clone()
    assert head[EOS].any()
    head[EOS] = -head[EOS]
    found = check(build_model(weights.config, {**tensors, "lm_head.weight": head}, "float32"))
    assert all(one.errors == one.positions for one in found.checks)
    first = found.checks[0].first_error
    assert first is not None
    assert (first.tokens, first.position) == (["<s>"], 0)
    assert (first.expected, first.said) == (["a", "END"], ["a"])


@pytest.mark.usefixtures("_short_words")
def test_an_error_is_shown_with_what_was_read(model: PreTrainedModel) -> None:
    """A model of d-2 taken for one of d-3 is wrong first where the depth is 2."""
    found = check(model, language("d-3"), max_length=3)
    first = found.checks[0].first_error
    assert first is not None
    assert (first.tokens, first.position) == (["<s>", "a", "a"], 2)
    assert (first.expected, first.said) == (["a", "b"], ["b"])


@pytest.mark.usefixtures("_short_words")
def test_of_a_long_word_the_last_tokens_are_shown(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "SHOWN", 2)
    first = check(model, language("d-3"), max_length=3).checks[0].first_error
    assert first is not None
    assert (first.tokens, first.position) == (["a", "a"], 2)


@pytest.mark.usefixtures("_short_words")
def test_a_logit_that_is_no_number_is_an_error(weights: Weights) -> None:
    tensors = convert(weights, "float32")
    head = torch.full_like(tensors["lm_head.weight"], float("nan"))
    found = check(build_model(weights.config, {**tensors, "lm_head.weight": head}, "float32"))
    assert found.errors == found.positions
    assert found.exact == 0


def test_other_tokens_are_refused(model: PreTrainedModel) -> None:
    with pytest.raises(InputError, match="the model has 5 tokens, and all needs 6"):
        check(model, Language.from_expression("(a|b|c)*", name="all"))


# --- the promise


def test_the_promise_is_the_language_restarted_by_bos() -> None:
    promise = Promise(D2)
    word = "aabbb" * 3
    tokens = Vocabulary(D2.alphabet).encode(word)
    expected = [D2.next_symbols(""), *D2.next_symbol_sets(word)]
    assert [promise.labels[i] for i in promise.follow([*tokens, *tokens])] == expected * 2
    doubled = [t for token in tokens for t in (token, EOS, PAD)]
    assert [promise.labels[i] for i in promise.follow(doubled)] == [
        label for label in expected for _ in range(3)
    ]


@given(st.sampled_from(["d-3", "anbncn", "dyck-2", "shuffle-2", "boolean-3"]), st.data())
def test_the_promise_agrees_with_the_language(name: str, data: st.DataObject) -> None:
    tested = language(name)
    word = "".join(data.draw(st.lists(st.sampled_from(tested.alphabet), max_size=12)))
    promise = Promise(tested)
    labels = [promise.labels[i] for i in promise.follow(Vocabulary(tested.alphabet).encode(word))]
    assert labels == [tested.next_symbols(""), *tested.next_symbol_sets(word)]


def test_a_promise_of_valid_prefixes_ends_with_them() -> None:
    promise = Promise(D2, valid_prefixes_only=True)
    assert len(promise.follow([BOS, 3, 4, EOS, 4, 4, BOS, 3])) == 4


def test_a_promise_of_counts_ends_before_they_are_too_large() -> None:
    promise = Promise(language("dyck-1"), max_count=3)
    assert len(promise.follow([BOS, *[3] * 10])) == 4
    assert len(promise.follow([BOS, *[3, 4] * 10])) == 21
    # After a violation every symbol may count.
    assert len(promise.follow([BOS, *[4] * 10])) == 4
    assert len(promise.follow([BOS, 4, 4, BOS, *[3] * 10])) == 7


def test_an_empty_language_allows_nothing() -> None:
    empty = Language.from_expression("a&b", alphabet="ab")
    promise = Promise(empty)
    assert [promise.labels[i] for i in promise.follow([BOS, 3])] == [frozenset()] * 2
    assert words.members(promise, 3, Random(0)) == []
    assert words.near_misses(promise, 3, Random(0)) == []
    assert len(words.live_walk(promise, 20, Random(0))) == 20


# --- the words


def spelled(tokens: list[int], tested: Language) -> tuple[str, ...]:
    return tuple(tested.alphabet[token - 3] for token in tokens[1:])


def test_every_word_is_every_word() -> None:
    found = words.every_word(Promise(D2), 4, positions=0)
    prefixes = {spelled(w, D2)[:n] for w in found for n in range(5)}
    assert prefixes == {w for n in range(5) for w in product("ab", repeat=n)}
    assert sum(map(len, words.every_word(Promise(D2), None, positions=50_000))) == 2**11 * 12
    (unary,) = words.every_word(Promise(language("aa-star")), None, positions=50_000)
    assert len(unary) == 301


def test_every_valid_prefix_is_every_valid_prefix() -> None:
    promise = Promise(D2, valid_prefixes_only=True)
    prefixes = {
        spelled(w, D2)[:n] for w in words.every_word(promise, 6, positions=0) for n in range(7)
    }
    expected = {w for n in range(7) for w in product("ab", repeat=n) if D2.next_symbols(w)}
    assert prefixes == expected
    finite = Promise(Language.from_expression("a|bb|bab"), valid_prefixes_only=True)
    assert sorted(words.every_word(finite, None, positions=50_000)) == [
        [BOS, 3],
        [BOS, 4, 3, 4],
        [BOS, 4, 4],
    ]


def test_too_many_words_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "TOKEN_LIMIT", 2**5 * 6)
    assert len(words.every_word(Promise(D2), 5, positions=0)) == 2**5
    with pytest.raises(LimitError, match="max_length can be 5 at most"):
        words.every_word(Promise(D2), 9, positions=0)


@pytest.mark.parametrize("name", ["d-3", "dyck-1", "shuffle-2", "anbn", "boolean-3", "flip-flop"])
@pytest.mark.parametrize("restarts", [False, True])
def test_a_live_walk_lives_within_the_count(name: str, restarts: bool) -> None:
    promise = Promise(language(name), valid_prefixes_only=True, max_count=20)
    for seed in range(5):
        walk = words.live_walk(promise, 3_000, Random(seed), restarts=restarts)
        assert len(walk) == 3_000
        assert len(promise.follow(walk)) == 3_000


def test_a_live_walk_goes_far() -> None:
    promise = Promise(language("dyck-1"))
    depth, state = 0, promise.machine.start
    for token in words.live_walk(promise, 20_000, Random(1))[1:]:
        state = promise.machine.step(state, promise.machine.alphabet[token - 3])
        depth = max(depth, largest_count(state))
    assert depth > 200


@pytest.mark.parametrize("name", ["d-3", "tomita-7", "parity"])
def test_every_edge_of_the_minimal_automaton_is_walked(name: str) -> None:
    tested = language(name)
    dfa, promise = tested.dfa(), Promise(tested)
    walked = set()
    for tokens in words.edge_words(promise, Random(0)):
        state = dfa.start
        for token in tokens[1:]:
            walked.add((state, token - 3))
            state = dfa.transitions[state][token - 3]
    live = [q for q in range(dfa.num_states) if q in dfa.accepting or promise.moves(q)]
    assert walked >= set(product(live, range(len(dfa.alphabet))))


def test_powers_repeat_and_interruptions_interrupt() -> None:
    promise = Promise(language("d-3"))
    powers = words.power_words(promise, 40, Random(0))
    assert all(tokens[0] == BOS and min(tokens[1:]) > PAD for tokens in powers)
    assert max(map(len, powers)) > 200
    interrupted = words.interrupted_words(promise, powers, 10, Random(0))
    assert all(tokens[0] == BOS for tokens in interrupted)
    assert {BOS, EOS, PAD} <= {token for tokens in interrupted for token in tokens[1:]}
    assert words.interrupted_words(promise, [], 10, Random(0)) == []
    narrow = Promise(language("flip-flop"), valid_prefixes_only=True)
    for tokens in words.interrupted_words(narrow, powers, 10, Random(0)):
        assert not {EOS, PAD} & set(tokens)
    assert not {EOS, PAD} & set(words.live_walk(narrow, 1_000, Random(0), restarts=True))


@pytest.mark.parametrize("name", ["dyck-1", "anbncn", "flip-flop", "bounded-dyck"])
def test_all_kinds_keep_a_narrow_promise(name: str) -> None:
    promise = Promise(language(name), valid_prefixes_only=True, max_count=30)
    rng = Random(0)
    kinds = [
        words.random_words(promise, 5, rng),
        words.members(promise, 5, rng),
        words.near_misses(promise, 5, rng),
        words.edge_words(promise, rng),
        words.power_words(promise, 20, rng),
    ]
    for found in kinds:
        assert found
        assert max(len(promise.follow(tokens)) for tokens in found) > 3


# --- reading


def hybrid() -> PreTrainedModel:
    config = {
        "model_type": "olmo_hybrid",
        "vocab_size": 5,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "layer_types": ["linear_attention", "full_attention"],
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 2,
        "linear_key_head_dim": 4,
        "linear_value_head_dim": 4,
        "tie_word_embeddings": False,
    }
    return random_model(config, zero=("layers.1.self_attn.o_proj.weight",))


def random_model(config: dict[str, Any], zero: tuple[str, ...] = ()) -> PreTrainedModel:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig

    model_config = AutoConfig.for_model(**config, pad_token_id=PAD)
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = MODEL_FOR_CAUSAL_LM_MAPPING[type(model_config)](model_config).state_dict()
    tensors: dict[str, Tensor] = {
        name: 0.3 * torch.randn(value.shape, generator=generator) for name, value in shapes.items()
    }
    for name in shapes:
        if name.endswith(zero) and zero:
            tensors[name] = torch.zeros(shapes[name].shape)
    return build_model(config, tensors, "float32")


MAMBA2 = {
    "model_type": "mamba2",
    "vocab_size": 5,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_heads": 4,
    "head_dim": 4,
    "state_size": 4,
    "n_groups": 1,
    "expand": 2,
    "chunk_size": 16,
    "tie_word_embeddings": False,
}


@pytest.mark.parametrize("piece", [1, 7, 64])
@pytest.mark.parametrize("kind", ["mamba2", "olmo_hybrid"])
def test_pieces_are_the_whole(kind: str, piece: int) -> None:
    read = random_model(MAMBA2) if kind == "mamba2" else hybrid()
    tokens = torch.randint(5, (2, 150), generator=torch.Generator().manual_seed(0))
    (whole,) = read_logits(read, tokens, None)
    pieces = torch.cat(list(read_logits(read, tokens, piece)), dim=1)
    torch.testing.assert_close(pieces, whole, rtol=1e-3, atol=1e-3)


def test_an_attention_layer_that_adds_something_keeps_its_memory() -> None:
    read = hybrid()
    with torch.no_grad():
        read.base_model.layers[1].self_attn.o_proj.weight.fill_(0.3)
    tokens = torch.randint(5, (2, 50), generator=torch.Generator().manual_seed(0))
    (whole,) = read_logits(read, tokens, None)
    pieces = torch.cat(list(read_logits(read, tokens, 7)), dim=1)
    torch.testing.assert_close(pieces, whole, rtol=1e-3, atol=1e-3)


def test_the_reading_fits_the_model(model: PreTrainedModel) -> None:
    assert best_reading(model, 100)[0] is None
    assert best_reading(model, 10**6)[0] is None
    assert best_reading(model, 10**6, memory=2**20)[0] == 1
    assert best_reading(random_model(MAMBA2), 100)[0] is None
    assert best_reading(random_model(MAMBA2), 10**6)[0] == 1_024
