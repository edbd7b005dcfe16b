"""The targets `mamba` and `mamba2`: exactly 64 or -64, on every word, in both precisions."""

import itertools
from random import Random

import pytest
import torch

from statespan import END, Language, language
from statespan.compiler.cascade import Cascade, Component, Readout, ReadoutTerm, Term
from statespan.compiler.decomposition import decompose
from statespan.compiler.folder import build_model
from statespan.compiler.targets import TARGETS
from statespan.compiler.weights import convert
from statespan.models import MODELS
from statespan.models import build_model as build_own
from statespan.training import BOS, EOS, PAD, Vocabulary

NAMES = ["tomita-1", "tomita-2", "tomita-7", "d-2", "012-star-02-star", "flip-flop"]
BOTH = pytest.mark.parametrize("target", ["mamba", "mamba2"])
DTYPES = pytest.mark.parametrize("dtype", ["float32", "bfloat16"])


def two_latches() -> Cascade:
    """A word may end exactly if the last of a, b was a and the last of c, d was c, or neither."""
    first = Component(2, 0, _latch(0, 1))
    second = Component(2, 0, _latch(2, 3))
    symbols = frozenset("abcd")
    equal = [((0, frozenset({v})), (1, frozenset({v}))) for v in (0, 1)]
    terms = tuple(ReadoutTerm(conditions, 1) for conditions in equal)
    readout = Readout((symbols, symbols | {END}), 0, terms)
    return Cascade(tuple("abcd"), (first, second), readout)


def _latch(on: int, off: int) -> tuple[Term, ...]:
    return (Term(frozenset({on}), (), 1), Term(frozenset({off, 4}), (), 0))


def build(target, cascade, dtype="float32", **options):
    weights = TARGETS.get(target).from_cascade(cascade, **options)
    return build_model(weights.config, convert(weights, dtype), dtype)


def expected(cascade: Cascade, tokens: list[int]) -> torch.Tensor:
    """What the cascade says after each token, as logits of the answers."""
    vocabulary = Vocabulary(cascade.alphabet)
    values, rows = cascade.start, []
    for token in tokens:
        if token == BOS:
            values = cascade.start
        elif token not in {EOS, PAD}:
            values = cascade.step(values, token - 3)
        rows.append(vocabulary.answers(cascade.next_symbols(values)))
    return 128.0 * torch.tensor(rows) - 64


def assert_exact(model, cascade, rows, *, pieces=None):
    answers = Vocabulary(cascade.alphabet).answer_ids
    tokens = torch.tensor(rows)
    with torch.inference_mode():
        logits = model(tokens, use_cache=False).logits.float()
    wanted = torch.stack([expected(cascade, row) for row in rows])
    torch.testing.assert_close(logits[..., answers], wanted, rtol=0, atol=0)


def random_tokens(vocab_size, length, count, *, rng):
    return [[BOS, *(rng.randrange(vocab_size) for _ in range(length))] for _ in range(count)]


@BOTH
@DTYPES
@pytest.mark.parametrize("name", NAMES)
def test_every_short_word_and_random_tokens_are_answered_exactly(target, dtype, name):
    cascade = decompose(language(name).dfa())
    model = build(target, cascade, dtype)
    symbols = range(3, 3 + len(cascade.alphabet))
    length = 6 if len(symbols) < 4 else 4
    assert_exact(model, cascade, [[BOS, *w] for w in itertools.product(symbols, repeat=length)])
    size = Vocabulary(cascade.alphabet).size
    assert_exact(model, cascade, random_tokens(size, 150, 8, rng=Random(0)))


@BOTH
@DTYPES
def test_answers_that_ask_two_components_of_one_level_have_a_block_of_their_own(target, dtype):
    cascade = two_latches()
    model = build(target, cascade, dtype)
    assert model.config.num_hidden_layers == cascade.num_levels + 1
    assert_exact(model, cascade, random_tokens(7, 100, 8, rng=Random(1)))


@BOTH
def test_one_step_at_a_time_says_the_same(target):
    cascade = decompose(language("d-2").dfa())
    model = build(target, cascade)
    tokens = random_tokens(5, 60, 4, rng=Random(2))
    answers = Vocabulary(cascade.alphabet).answer_ids
    cache, rows = {}, []
    with torch.inference_mode():
        for column in torch.tensor(tokens).T:
            output = model(column[:, None], use_cache=True, **cache)
            cache = {"cache_params": output.cache_params}
            rows.append(output.logits[:, 0, answers])
    wanted = torch.stack([expected(cascade, row) for row in tokens])
    torch.testing.assert_close(torch.stack(rows, 1), wanted, rtol=0, atol=0)


def test_mamba2_reads_in_pieces_of_any_size():
    cascade = decompose(language("d-2").dfa())
    model = build("mamba2", cascade)
    tokens = random_tokens(5, 119, 2, rng=Random(3))
    answers = Vocabulary(cascade.alphabet).answer_ids
    wanted = torch.stack([expected(cascade, row) for row in tokens])
    for size in (1, 2, 37, 64):
        cache, rows = {}, []
        with torch.inference_mode():
            for piece in torch.tensor(tokens).split(size, dim=1):
                output = model(piece, use_cache=True, **cache)
                cache = {"cache_params": output.cache_params}
                rows.append(output.logits[..., answers])
        torch.testing.assert_close(torch.cat(rows, 1), wanted, rtol=0, atol=0)


@BOTH
def test_padding_on_the_left_is_not_seen(target):
    cascade = decompose(language("tomita-7").dfa())
    model = build(target, cascade)
    word = [BOS, 3, 4, 3, 3, 4]
    padded = torch.tensor([[PAD] * 3 + word])
    mask = (torch.arange(padded.shape[1]) >= 3).long()[None]
    answers = Vocabulary(cascade.alphabet).answer_ids
    with torch.inference_mode():
        logits = model(padded, attention_mask=mask, use_cache=False).logits[0, 3:, answers]
    torch.testing.assert_close(logits, expected(cascade, word), rtol=0, atol=0)


@BOTH
def test_our_own_model_reads_the_same_weights(target):
    cascade = decompose(language("d-2").dfa())
    weights = TARGETS.get(target).from_cascade(cascade)
    config = weights.config
    sizes = {"layers": "num_hidden_layers", "d_model": "hidden_size", "d_state": "state_size"}
    sizes |= {"d_conv": "conv_kernel", "expand": "expand"}
    sizes |= {"dt_rank": "time_step_rank"} if target == "mamba" else {"head_dim": "head_dim"}
    own = MODELS.get(target)
    settings = own.Config(**{ours: config[theirs] for ours, theirs in sizes.items()})
    generator = torch.Generator()
    model = build_own(settings, vocab_size=5, num_outputs=5, generator=generator)
    model.load_state_dict(convert(weights, "float32"), strict=True)
    rows = random_tokens(5, 80, 4, rng=Random(4))
    with torch.inference_mode():
        logits = model(torch.tensor(rows)).logits[..., Vocabulary(("0", "1")).answer_ids]
    wanted = torch.stack([expected(cascade, row) for row in rows])
    torch.testing.assert_close(logits, wanted, rtol=0, atol=0)


@DTYPES
@pytest.mark.parametrize("name", ["d-3", "tomita-7", "flip-flop"])
def test_robust_weights_are_as_exact(dtype, name):
    cascade = decompose(language(name).dfa())
    model = build("mamba", cascade, dtype, robust=True)
    size = Vocabulary(cascade.alphabet).size
    assert_exact(model, cascade, random_tokens(size, 150, 8, rng=Random(5)))


def test_robust_weights_survive_noise_that_plain_ones_do_not():
    cascade = decompose(language("d-12").dfa())
    rows = [[BOS, *(3 + (s == "b") for s in w)] for w in _members("d-12", 60)]
    wanted = torch.stack([expected(cascade, row) for row in rows]) > 0
    wrong = {}
    for robust in (False, True):
        model = build("mamba", cascade, robust=robust)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(1 + 3e-4 * torch.randn(weight.shape, generator=generator))
            said = model(torch.tensor(rows), use_cache=False).logits[..., [3, 4, EOS]] > 0
        wrong[robust] = int((said != wanted).sum())
    assert wrong[True] == 0 < wrong[False]


def _members(name, length):
    return language(name).sample(length=length, count=16, rng=Random(0))


@BOTH
def test_every_weight_is_exact_in_bfloat16(target):
    for name in NAMES:
        convert(TARGETS.get(target).from_cascade(decompose(language(name).dfa())), "bfloat16")


@pytest.mark.parametrize(
    ("name", "layers", "width", "parameters"),
    [
        ("tomita-1", 2, 16, 2_128),
        ("tomita-2", 3, 32, 11_008),
        ("tomita-4", 4, 32, 14_560),
        ("tomita-7", 4, 32, 14_560),
        ("d-2", 4, 32, 14_560),
        ("d-3", 5, 32, 18_112),
        ("d-4", 6, 32, 21_664),
        ("012-star-02-star", 2, 16, 2_160),
        ("ab-star-d-bc-star", 3, 32, 11_136),
        ("aa-star-bb-star-cc-star-dd-star-ee-star", 3, 32, 11_200),
        ("flip-flop", 4, 32, 14_752),
        ("bounded-dyck:brackets=2,depth=2", 4, 32, 14_688),
        ("bounded-dyck:brackets=2,depth=3", 5, 64, 67_200),
    ],
)
def test_mamba_is_nowhere_larger_than_the_first_prototype(name, layers, width, parameters):
    from statespan.languages import language_from_text

    weights = TARGETS.get("mamba").from_cascade(decompose(language_from_text(name).dfa()))
    assert weights.config["num_hidden_layers"] <= layers
    assert weights.config["hidden_size"] <= width
    assert weights.num_parameters <= parameters


@BOTH
@pytest.mark.parametrize(("expression", "alphabet"), [(".*", "ab"), (".*", "a"), ("a*", "ab")])
def test_languages_that_need_little_or_no_memory(target, expression, alphabet):
    cascade = decompose(Language.from_expression(expression, alphabet=alphabet).dfa())
    model = build(target, cascade)
    size = Vocabulary(cascade.alphabet).size
    assert_exact(model, cascade, random_tokens(size, 40, 4, rng=Random(6)))
