"""The laws of attention: the fast path is its definition, and the definition is as it says."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from statespan.errors import InputError
from statespan.memory import (
    Attention,
    FullAttention,
    SlidingAttention,
    SpanAttention,
    span_attention,
)
from statespan.memory.reference import reference_attention, visible_mask
from tests.memory.attentions import (
    BASELINES,
    EVERY,
    EXTRAS,
    SPANS,
    assert_close,
    draw,
    expected,
    span,
    with_gradients,
)

every_attention = pytest.mark.parametrize("config", EVERY.values(), ids=EVERY)
LENGTHS = (1, 2, 7, 31, 64, 100)


def fast(config: Attention, **options: Any) -> Any:
    return functools.partial(span_attention, config=config, **options)


@pytest.fixture(params=["whole", "in pieces"])
def _pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let parts hold a few entries each, as they do where an output is large."""
    if request.param == "in pieces":
        monkeypatch.setattr("statespan.memory.plan.LEAST_BYTES", 2_000)
        monkeypatch.setattr("statespan.memory.plan.MOST_BYTES", 2_000)


@every_attention
@pytest.mark.usefixtures("_pieces")
def test_an_attention_is_its_definition(config: Attention) -> None:
    tensors = draw(70)
    assert_close(
        with_gradients(fast(config), tensors), expected(tensors, config), 70, torch.float64
    )


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(
    "config",
    [
        *(span(selection=name) for name in ("chunk", "previous", "running", "token")),
        span(selection="running", share="layer", summary="bound", local=9, keep_first=1),
        span(rule="random", share="kv_group", local=33, keep_first=2),
        *BASELINES.values(),
    ],
    ids=str,
)
def test_it_is_its_definition_at_every_length(config: Attention, length: int) -> None:
    tensors = draw(length, seed=length, dtype=torch.float32)
    assert_close(
        with_gradients(fast(config), tensors), expected(tensors, config), length, torch.float32
    )


@pytest.mark.parametrize("heads", [(1, 1), (3, 3), (6, 2), (4, 1), (5, 1)], ids=str)
@pytest.mark.parametrize("share", ["head", "kv_group", "layer"])
@pytest.mark.parametrize("batch", [1, 3])
def test_it_is_its_definition_for_every_number_of_heads(
    heads: tuple[int, int], share: str, batch: int
) -> None:
    config = span(selection="previous", share=share, local=5)
    tensors = draw(60, batch=batch, heads=heads[0], kv_heads=heads[1])
    assert_close(
        with_gradients(fast(config), tensors), expected(tensors, config), 60, torch.float64
    )
    shifted = BASELINES["shifted"]
    assert_close(
        with_gradients(fast(shifted), tensors), expected(tensors, shifted), 60, torch.float64
    )


@pytest.mark.parametrize("value_dim", [1, 5, 8, 12])
@pytest.mark.parametrize("config", [span(summary="key", local=3), BASELINES["shifted"]], ids=str)
def test_it_is_its_definition_for_every_width_of_values(config: Attention, value_dim: int) -> None:
    tensors = draw(50, value_dim=value_dim)
    assert_close(
        with_gradients(fast(config), tensors), expected(tensors, config), 50, torch.float64
    )


@given(data=st.data())
@settings(max_examples=40)
def test_it_is_its_definition_whatever_the_sizes(data: st.DataObject) -> None:
    block = data.draw(st.integers(1, 5))
    chunk = block * data.draw(st.integers(1, 5))
    length = data.draw(st.integers(1, 60))
    config = SpanAttention(
        chunk=chunk,
        block=block,
        top_k=data.draw(st.integers(0, 9)),
        selection=data.draw(st.sampled_from(["chunk", "previous", "running", "token"])),
        rule=data.draw(st.sampled_from(["top_k", "random", "recency"])),
        summary=data.draw(st.sampled_from(["attention", "key", "landmark", "bound"])),
        share=data.draw(st.sampled_from(["head", "kv_group", "layer"])),
        local=data.draw(st.integers(0, 70)),
        keep_first=data.draw(st.integers(0, 4)),
    )
    places = {"step": data.draw(st.integers(0, 3)), "layer": data.draw(st.integers(0, 3))}
    tensors = draw(length, seed=data.draw(st.integers(0, 99)), batch=1)
    ours = with_gradients(fast(config, **places), tensors)
    assert_close(ours, expected(tensors, config, **places), length, torch.float64)


@pytest.mark.parametrize("name", ["previous", "running", "token", "chunk"])
def test_all_blocks_retrieved_is_full_attention(name: str) -> None:
    tensors = draw(90)
    full = with_gradients(fast(FullAttention()), tensors)
    for config in (
        span(selection=name, top_k=1_000),
        span(selection=name, rule="all"),
        span(selection=name, rule="random", top_k=22, keep_first=1),
        span(selection=name, top_k=0, local=1_000),
        span(selection=name, chunk=128, top_k=0),
        span(selection=name, chunk=92, top_k=3),
    ):
        assert_close(with_gradients(fast(config), tensors), full, 90, torch.float64)


def test_no_blocks_is_attention_inside_chunks() -> None:
    tensors = draw(90)
    ours = with_gradients(fast(span(top_k=0)), tensors)

    def inside_chunks(*leaves: Tensor) -> Tensor:
        chunks = zip(*(leaf.split(16, dim=2) for leaf in leaves), strict=True)
        return torch.cat([span_attention(*chunk, FullAttention()) for chunk in chunks], dim=2)

    assert_close(ours, with_gradients(inside_chunks, tensors), 90, torch.float64)
    assert_close(with_gradients(fast(span(rule="none")), tensors), ours, 90, torch.float64)


def test_full_attention_is_a_causal_softmax() -> None:
    query, key, value = draw(20, heads=2)
    logits = (query @ key.mT) * 8**-0.5
    later = torch.ones(20, 20, dtype=torch.bool).triu(1)
    wanted = logits.masked_fill(later, -torch.inf).softmax(-1) @ value
    torch.testing.assert_close(span_attention(query, key, value, FullAttention()), wanted)
    torch.testing.assert_close(reference_attention(query, key, value, FullAttention()), wanted)


def changed_rows(config: Attention, tensors: tuple[Tensor, ...], token: int) -> list[int]:
    """Return where outputs change when a token does."""
    before = span_attention(*tensors, config)
    changed = [tensor.clone() for tensor in tensors]
    for tensor in changed:
        tensor[:, :, token] = 3 * tensor[:, :, token].flip(-1) + 1
    after = span_attention(*changed, config)
    differs = ((before - after).abs() > 1e-12).any(dim=3).any(dim=1).any(dim=0)
    return differs.nonzero().flatten().tolist()


@every_attention
def test_no_output_before_a_token_depends_on_it_where_the_config_says_so(config: Attention) -> None:
    tensors = draw(64, seed=3)
    early = [
        row for token in (63, 62, 47, 33, 31, 16, 5)
        for row in changed_rows(config, tensors, token) if row < token
    ]  # fmt: skip
    if config.causal:
        assert early == []


@given(
    token=st.integers(0, 79),
    seed=st.integers(0, 999),
    selection=st.sampled_from(["previous", "running", "token"]),
    summary=st.sampled_from(["attention", "key", "value", "landmark", "bound"]),
    share=st.sampled_from(["head", "kv_group", "layer"]),
    local=st.sampled_from([0, 5, 20]),
)
def test_the_causal_selections_are_strictly_causal(
    token: int, seed: int, selection: str, summary: str, share: str, local: int
) -> None:
    config = span(selection=selection, summary=summary, share=share, local=local)
    assert config.causal
    tensors = draw(80, seed=seed, batch=1)
    assert [row for row in changed_rows(config, tensors, token) if row < token] == []


@pytest.mark.parametrize("config", [span(), BASELINES["shifted, wrapped"]], ids=str)
def test_what_is_not_causal_says_so_and_is_not(config: Attention) -> None:
    assert not config.causal
    rows = [changed_rows(config, draw(64, seed=seed), 63) for seed in range(5)]
    assert min(row for changed in rows for row in changed) < 63


@pytest.mark.parametrize("config", [span(), *EXTRAS.values(), *BASELINES.values()], ids=str)
def test_heads_and_rows_are_independent(config: Attention) -> None:
    if config == BASELINES["shifted"] or config == BASELINES["shifted, wrapped"]:
        pytest.skip("there, a head's place matters")
    query, key, value = draw(50, batch=3, kv_heads=4)
    heads, rows = torch.tensor([2, 0, 3, 1]), torch.tensor([1, 2, 0])
    whole = span_attention(query, key, value, config)
    parts = [tensor[rows][:, heads] for tensor in (query, key, value)]
    torch.testing.assert_close(span_attention(*parts, config), whole[rows][:, heads])


DOCUMENTS = torch.tensor(
    [
        [-1] * 9 + [0] * 20 + [1] * 33 + [-1] * 2,
        [5] * 30 + [-1] * 2 + [5] * 3 + [6] + [5] * 28,
        [-1] * 64,
        [0] * 64,
    ]
)


@pytest.mark.parametrize(
    "config",
    [span(selection="running"), span(rule="random", local=5), *BASELINES.values()],
    ids=str,
)
def test_each_document_is_by_itself_and_padding_is_not_there(config: Attention) -> None:
    tensors = draw(64, batch=4)
    padding = (DOCUMENTS < 0)[:, None, :, None]
    spoiled = tuple(tensor.masked_fill(padding, torch.nan) for tensor in tensors)
    ours = with_gradients(fast(config, documents=DOCUMENTS), spoiled)
    clean = tuple(tensor.masked_fill(padding, 0.0) for tensor in tensors)
    assert_close(ours, expected(clean, config, documents=DOCUMENTS), 64, torch.float64)
    alone = span_attention(*(tensor[:1, :, 9:29] for tensor in tensors), config)
    torch.testing.assert_close(ours["out"][:1, :, 9:29], alone)
    joined = [torch.cat((tensor[1:2, :, :30], tensor[1:2, :, 32:35]), dim=2) for tensor in tensors]
    alone = span_attention(*joined, config)
    torch.testing.assert_close(ours["out"][1:2, :, :30], alone[:, :, :30])
    torch.testing.assert_close(ours["out"][1:2, :, 32:35], alone[:, :, 30:])
    assert not ours["out"].masked_select(padding).any()


@pytest.mark.parametrize("config", [span(), span(selection="token"), FullAttention()], ids=str)
def test_the_numbers_of_whole_rows_do_not_matter(config: Attention) -> None:
    tensors = draw(40)
    whole = span_attention(*tensors, config)
    documents = torch.tensor([[3] * 40, [0] * 40])
    assert torch.equal(span_attention(*tensors, config, documents=documents), whole)


@pytest.mark.parametrize("config", [span(), span(local=5), *BASELINES.values()], ids=str)
def test_nothing_in_gives_nothing_out(config: Attention) -> None:
    for batch, heads, length, value_dim in ((0, 2, 5, 8), (2, 2, 0, 8), (2, 0, 5, 8), (2, 2, 5, 0)):
        tensors = draw(length, batch=batch, heads=heads, kv_heads=heads, value_dim=value_dim)
        if value_dim == 0 and config == span():
            continue
        if value_dim == 0 and config == span(local=5):
            continue
        found = with_gradients(fast(config), tensors)
        assert found["out"].shape == (batch, heads, length, value_dim)
        assert not any(gradient.any() for gradient in found.values())
        documents = torch.zeros(batch, length, dtype=torch.int64)
        assert torch.equal(span_attention(*tensors, config, documents=documents), found["out"])


@pytest.mark.parametrize("config", [span(), span(local=5), *BASELINES.values()], ids=str)
@pytest.mark.parametrize("filler", [1.0, torch.nan])
def test_rows_of_padding_give_zeros_with_gradients_of_zero(
    config: Attention, filler: float
) -> None:
    tensors, padding = draw(5), torch.full((2, 5), -1)
    spoiled = tuple(tensor * filler for tensor in tensors)
    found = with_gradients(fast(config, documents=padding), spoiled)
    assert not any(tensor.any() for tensor in found.values())
    padding[1] = 0
    found = with_gradients(fast(config, documents=padding), tensors)
    assert_close(found, expected(tensors, config, documents=padding), 5, torch.float64)
    assert not any(tensor[0].any() for tensor in found.values())
    assert found["value"][1].any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "config",
    [span(selection="running", rule="recency", local=5), span(rule="random"), FullAttention()],
    ids=str,
)
def test_half_precision_is_right_to_its_roundings(dtype: torch.dtype, config: Attention) -> None:
    tensors = draw(90, dtype=dtype)
    ours = with_gradients(fast(config), tensors)
    assert all(tensor.dtype == dtype for tensor in ours.values())
    assert_close(ours, expected(tensors, config), 0, dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_choices_are_those_of_the_rounded_numbers(dtype: torch.dtype) -> None:
    config = span(selection="running", summary="bound")
    tensors = draw(90, dtype=dtype)
    assert_close(with_gradients(fast(config), tensors), expected(tensors, config), 0, dtype)


def test_a_gradient_of_many_small_parts_keeps_its_precision() -> None:
    """One block is read by 999 chunks: in bfloat16, the sum of its gradients would stand still."""
    config = SpanAttention(chunk=4, block=4, top_k=0, keep_first=1)
    query = torch.zeros(1, 1, 4_000, 2, dtype=torch.bfloat16)
    value = torch.zeros_like(query, requires_grad=True)
    out = span_attention(query, query, value, config)
    (gradient,) = torch.autograd.grad(out.sum(), value)
    wanted = 999 * sum(1 / keys for keys in (5, 6, 7, 8))
    torch.testing.assert_close(gradient[0, 0, 3, 0].item(), wanted + 1 / 4, rtol=0.01, atol=0)


@pytest.mark.parametrize("scaling", [0.001, 0.03, 1.0])
def test_the_scaling_is_the_one_that_is_given(scaling: float) -> None:
    config, tensors = span(selection="token", summary="landmark", local=4), draw(60)
    ours = with_gradients(fast(config, scaling=scaling), tensors)
    assert_close(ours, expected(tensors, config, scaling=scaling), 60, torch.float64)


@pytest.mark.parametrize("config", [span(), span(selection="running", local=20)], ids=str)
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_is_plain(config: Attention, reentrant: bool) -> None:
    tensors = draw(70)
    plain = with_gradients(fast(config), tensors)
    again = with_gradients(
        lambda *leaves: checkpoint(fast(config), *leaves, use_reentrant=reentrant), tensors
    )
    for name, tensor in again.items():
        assert torch.equal(tensor, plain[name])


def test_chunk_sizes_and_chance_are_functions_of_seed_step_and_layer() -> None:
    config = SpanAttention(chunk=(8, 16, 32), block=4, top_k=1, rule="random")
    tensors = draw(90)
    first = span_attention(*tensors, config, step=1, layer=2)
    assert torch.equal(span_attention(*tensors, config, step=1, layer=2), first)
    others = [span_attention(*tensors, config, step=step, layer=0) for step in range(8)]
    assert any(not torch.equal(other, others[0]) for other in others[1:])


@pytest.mark.parametrize("layout", ["rows of tokens", "every second number", "expanded"])
def test_the_memory_layout_does_not_matter(layout: str) -> None:
    config, (query, key, value) = span(local=3), draw(70, kv_heads=4)
    if layout == "rows of tokens":
        given_ = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (query, key, value)]
    elif layout == "every second number":
        given_ = [t.repeat_interleave(2, dim=3)[..., ::2] for t in (query, key, value)]
    else:
        key, value = (t[:1].expand(2, -1, -1, -1) for t in (key, value))
        given_ = [query, key, value]
    whole = span_attention(query.contiguous(), key.contiguous(), value.contiguous(), config)
    assert torch.equal(span_attention(*given_, config), whole)


def test_a_gradient_may_have_any_layout() -> None:
    config, tensors = span(), draw(70)
    leaves = [tensor.requires_grad_() for tensor in tensors]
    expanded = torch.autograd.grad(span_attention(*leaves, config).sum(), leaves)
    ones = torch.ones(2, 4, 70, 8, dtype=torch.float64)
    plain = torch.autograd.grad(span_attention(*leaves, config), leaves, ones)
    for ours, theirs in zip(expanded, plain, strict=True):
        assert torch.equal(ours, theirs)


def test_autocast_does_not_change_what_is_chosen() -> None:
    config, tensors = span(selection="token"), draw(70, dtype=torch.float32)
    plain = span_attention(*tensors, config)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(span_attention(*tensors, config), plain)


def test_the_mask_of_the_paper() -> None:
    """Its figure 1: 12 tokens, chunks of 4, blocks of 2, one of them retrieved."""
    query, key, value = (tensor[:1, :1] for tensor in draw(12))
    key = torch.zeros_like(key)
    key[0, 0, :4] = query[0, 0, 4:8].sum(0)
    key[0, 0, 2:4] = query[0, 0, 8:].sum(0)
    key[0, 0, :2] -= 10 * query[0, 0, 8:].sum(0)
    config = SpanAttention(chunk=4, block=2, top_k=1, summary="key")
    mask = visible_mask(query, key, value, config)[0, 0]
    rows = ["".join("x" if seen else "." for seen in row) for row in mask.tolist()]
    assert rows[:4] == ["x...........", "xx..........", "xxx.........", "xxxx........"]
    assert rows[8:] == ["..xx....x...", "..xx....xx..", "..xx....xxx.", "..xx....xxxx"]
    assert all(row.count("x") == 2 + place for place, row in enumerate(rows[4:8], start=1))


ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "axes": ({"query": torch.zeros(2, 5, 8)}, r"query must have the axes .* got the shape \[2, 5"),
    "integers": ({"key": torch.zeros(2, 2, 5, 8, dtype=torch.int64)}, "key must be of floating"),
    "dtype": ({"value": torch.zeros(2, 2, 5, 8)}, "value must have the dtype of query"),
    "device": (
        {"value": torch.zeros(2, 2, 5, 8, dtype=torch.float64, device="meta")},
        "value must have the device of query, cpu, got meta",
    ),
    "length": ({"key": draw(6)[1]}, r"key must have .* \[2, any, 5, 8\], got \[2, 2, 6, 8\]"),
    "heads": ({"value": draw(5, kv_heads=1)[2]}, "value must have batch, heads and length of key"),
    "groups": (
        {"key": draw(5, kv_heads=3)[1], "value": draw(5, kv_heads=3)[2]},
        "heads of key must divide those of query",
    ),
    "documents": ({"documents": torch.zeros(2, 4).long()}, r"documents must have the shape \[2, 5"),
    "document numbers": ({"documents": torch.zeros(2, 5)}, "documents must be of integers"),
    "scaling": ({"scaling": 0.0}, "scaling must be positive and finite, got 0.0"),
    "no scaling": ({"scaling": float("nan")}, "scaling must be positive and finite, got nan"),
    "widths": ({"value": draw(5, value_dim=4)[2]}, "got 4 and 8: use summary='key'"),
}


@pytest.mark.parametrize(("change", "message"), ERRORS.values(), ids=ERRORS)
def test_wrong_arguments_are_named(change: dict[str, Any], message: str) -> None:
    names = ("query", "key", "value")
    arguments = dict(zip(names, draw(5), strict=True)) | change
    with pytest.raises(InputError, match=message):
        span_attention(**arguments, config=span())


def test_a_summary_in_value_space_is_refused_only_where_it_is_compared() -> None:
    tensors = draw(40, value_dim=4)
    for name in ("attention", "value", "landmark"):
        for changes in ({"rule": "random"}, {"rule": "recency"}, {"rule": "all"}, {"top_k": 0}):
            config = span(summary=name, **changes)
            found = with_gradients(fast(config), tensors)
            assert_close(found, expected(tensors, config), 40, torch.float64)
        for attention in (span_attention, reference_attention):
            with pytest.raises(InputError, match="summary="):
                attention(*tensors, span(summary=name))


def test_sliding_with_a_long_window_is_full_attention() -> None:
    tensors = draw(50)
    full = with_gradients(fast(FullAttention()), tensors)
    assert_close(with_gradients(fast(SlidingAttention(50)), tensors), full, 50, torch.float64)


def test_configs_of_every_kind_are_in_the_laws() -> None:
    """Guards the grid itself: every name that is registered stands in it."""
    assert {config.rule for config in SPANS.values()} == {
        "top_k", "random", "recency", "all", "none",
    }  # fmt: skip
    assert len({config.summary for config in SPANS.values()}) == 5
