"""A state that takes tokens as they come gives what one whole pass gives."""

from __future__ import annotations

from inspect import unwrap
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from statespan.errors import ConfigError, InputError
from statespan.memory import (
    FullAttention,
    ShiftedAttention,
    SlidingAttention,
    SpanAttention,
    mixture_of_blocks,
    span_attention,
)
from statespan.memory.protocol import Attention
from statespan.memory.reference import reference_attention
from statespan.memory.state import SpanState

PREFILLS = [0, 1, 5, 31, 32, 33, 64, 100]
PIECES = [*[1] * 9, 2, 3, 7, 40]
SUMMARIES = ["attention", "key", "value", "landmark", "bound"]


def config_of(**changes: Any) -> SpanAttention:
    """Return a config whose chunks are of 32 tokens and whose blocks are of 8."""
    return SpanAttention(**{"chunk": 32, "block": 8, "top_k": 2, "selection": "token"} | changes)


def draw(
    length: int,
    *,
    heads: int = 4,
    kv_heads: int = 2,
    value_dim: int = 8,
    batch: int = 2,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return random queries, keys and values of width 8."""
    generator = torch.Generator().manual_seed(length)
    shapes = ((heads, 8), (kv_heads, 8), (kv_heads, value_dim))
    query, key, value = (
        torch.randn(batch, count, length, width, generator=generator, dtype=torch.float64)
        for count, width in shapes
    )
    return query.to(dtype), key.to(dtype), value.to(dtype)


def extend_by(
    state: SpanState,
    inputs: tuple[Tensor, Tensor, Tensor],
    pieces: list[int],
    *,
    real: Tensor | None = None,
    begin: int = 0,
) -> Tensor:
    """Return what a state gives for the tokens from `begin` on, in pieces."""
    outputs = []
    for piece in pieces:
        here = slice(begin, begin + piece)
        query, key, value = (tensor[:, :, here] for tensor in inputs)
        marks = None if real is None else real[:, here]
        outputs.append(state.extend(query, key, value, real=marks))
        begin += piece
    return torch.cat(outputs, dim=2)


def assert_pieces_are_the_whole(
    config: Attention, prefills: list[int] = PREFILLS, **shape: Any
) -> None:
    """Check all prefills, each followed by single tokens and by pieces."""
    inputs = draw(max(prefills) + sum(PIECES), **shape)
    whole = reference_attention(*inputs, config, layer=3)
    for prefill in prefills:
        pieces = [prefill, *PIECES]
        state = SpanState(config, layer=3)
        output = extend_by(state, inputs, pieces)
        assert state.length == sum(pieces)
        torch.testing.assert_close(output, whole[:, :, : sum(pieces)], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("summary", SUMMARIES)
@pytest.mark.parametrize("selection", ["previous", "running", "token"])
def test_pieces_are_the_whole_for_every_causal_selection(selection: str, summary: str) -> None:
    index = SUMMARIES.index(summary)
    share = ("head", "kv_group", "layer")[index % 3]
    local, keep_first = ((0, 0), (5, 1), (40, 2), (0, 1), (1, 0))[index]
    assert_pieces_are_the_whole(
        config_of(
            selection=selection, summary=summary, share=share, local=local, keep_first=keep_first
        )
    )


@pytest.mark.parametrize("share", ["head", "kv_group", "layer"])
@pytest.mark.parametrize("selection", ["previous", "running", "token"])
def test_pieces_are_the_whole_for_every_way_to_share(selection: str, share: str) -> None:
    for kv_heads, local in ((1, 12), (4, 0)):
        config = config_of(selection=selection, summary="key", share=share, local=local)
        assert_pieces_are_the_whole(config, [64], kv_heads=kv_heads, value_dim=5)


@pytest.mark.parametrize("rule", ["recency", "random", "all", "none"])
@pytest.mark.parametrize("selection", ["chunk", "previous", "running", "token"])
def test_pieces_are_the_whole_for_every_rule_that_reads_no_scores(
    selection: str, rule: str
) -> None:
    for local, keep_first, prefill in ((0, 0, 33), (12, 1, 64)):
        config = config_of(selection=selection, rule=rule, local=local, keep_first=keep_first)
        assert config.causal
        assert_pieces_are_the_whole(config, [prefill])


@pytest.mark.parametrize(
    "config",
    [
        FullAttention(),
        SlidingAttention(10),
        SlidingAttention(10, sinks=3),
        SlidingAttention(3, sinks=40),
        SlidingAttention(200),
        mixture_of_blocks(block=8, top_k=3),
        config_of(chunk=8, block=8, selection="previous"),
        config_of(chunk=1, block=1, selection="previous"),
        config_of(chunk=4, block=1, selection="running", top_k=3),
        config_of(chunk=(16, 32, 64)),
        config_of(chunk=1024),
        config_of(top_k=100),
    ],
)
def test_pieces_are_the_whole_for_baselines_and_extremes(config: Attention) -> None:
    assert_pieces_are_the_whole(config, [0, 33])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("selection", ["previous", "running", "token"])
def test_pieces_are_the_whole_at_lower_precision(selection: str, dtype: torch.dtype) -> None:
    config = config_of(selection=selection, share="layer", summary="key")
    inputs = draw(100 + sum(PIECES), dtype=dtype)
    whole = reference_attention(*inputs, config)
    output = extend_by(SpanState(config), inputs, [100, *PIECES])
    assert output.dtype == dtype
    # Averages of numbers of about 1: the output's own rounding, and that of some sums.
    tolerance = 8 * torch.finfo(dtype).eps
    torch.testing.assert_close(output.double(), whole, rtol=tolerance, atol=tolerance)


def padding(kind: str, length: int) -> Tensor:
    """Return which tokens of two rows are real."""
    at, uneven = torch.arange(length), torch.tensor([[45], [3]])
    return {
        "left": at >= uneven,
        "right": at < length - uneven,
        "middle": (at * 7 % 5 > 0) & ((at < 20) | (at >= 20 + uneven)),
        "alike": (at % 3 > 0).expand(2, -1),
    }[kind]


@pytest.mark.parametrize("offload", [None, "cpu"])
@pytest.mark.parametrize("kind", ["left", "right", "middle", "alike"])
@pytest.mark.parametrize("selection", ["previous", "running", "token"])
def test_padding_is_as_if_it_were_not_there(selection: str, kind: str, offload: str | None) -> None:
    for prefill, (local, keep_first), rule in (
        (0, (0, 1), "top_k"),
        (70, (12, 0), "top_k"),
        (33, (3, 1), "none"),
    ):
        config = config_of(selection=selection, rule=rule, local=local, keep_first=keep_first)
        pieces = [prefill, *PIECES]
        inputs = draw(sum(pieces))
        real = padding(kind, sum(pieces))
        whole = reference_attention(*inputs, config, documents=real.long() - 1)
        hollow = [tensor.masked_fill(~real[:, None, :, None], torch.nan) for tensor in inputs]
        state = SpanState(config, offload=offload)
        output = extend_by(state, (hollow[0], hollow[1], hollow[2]), pieces, real=real)
        torch.testing.assert_close(output, whole, rtol=1e-10, atol=1e-10)
        assert bool((output[~real[:, None].expand(-1, 4, -1)] == 0).all())


@pytest.mark.parametrize("config", [FullAttention(), SlidingAttention(10, sinks=3)])
def test_padding_is_as_if_it_were_not_there_for_baselines(config: Attention) -> None:
    inputs, real = draw(90), padding("left", 90)
    whole = reference_attention(*inputs, config, documents=real.long() - 1)
    output = extend_by(SpanState(config), inputs, [60, *[1] * 10, 20], real=real)
    torch.testing.assert_close(output, whole, rtol=1e-10, atol=1e-10)


@settings(max_examples=25)
@given(
    cuts=st.lists(st.integers(0, 150), max_size=8),
    selection=st.sampled_from(["previous", "running", "token"]),
    summary=st.sampled_from(["attention", "key"]),
    keep_first=st.integers(0, 2),
    local=st.sampled_from([0, 7, 33]),
    seed=st.integers(0, 3),
    offload=st.sampled_from([None, "cpu"]),
)
def test_it_does_not_matter_where_a_pass_is_cut(
    cuts: list[int],
    selection: str,
    summary: str,
    keep_first: int,
    local: int,
    seed: int,
    offload: str | None,
) -> None:
    config = config_of(selection=selection, summary=summary, keep_first=keep_first, local=local)
    inputs = draw(150)
    real = torch.rand(2, 150, generator=torch.Generator().manual_seed(seed)) < (1 + seed) / 4
    whole = span_attention(*inputs, config, documents=real.long() - 1)
    pieces = [last - first for first, last in pairwise([0, *sorted(cuts), 150])]
    output = extend_by(SpanState(config, offload=offload), inputs, pieces, real=real)
    torch.testing.assert_close(output, whole, rtol=1e-10, atol=1e-10)


def test_a_scaling_is_used_for_logits_and_summaries() -> None:
    config = config_of(selection="running")
    inputs = draw(100)
    whole = reference_attention(*inputs, config, scaling=2.0)
    state, outputs = SpanState(config), []
    for begin, end in ((0, 70), *((at, at + 1) for at in range(70, 100))):
        piece = [tensor[:, :, begin:end] for tensor in inputs]
        outputs.append(state.extend(*piece, scaling=2.0))
    torch.testing.assert_close(torch.cat(outputs, dim=2), whole, rtol=1e-10, atol=1e-10)


def test_a_selection_that_is_not_causal_takes_one_call() -> None:
    config, inputs = config_of(selection="chunk"), draw(80)
    state = SpanState(config)
    output = extend_by(state, inputs, [70])
    expected = span_attention(*(tensor[:, :, :70] for tensor in inputs), config)
    torch.testing.assert_close(output, expected)
    assert state.length == 70
    with pytest.raises(ConfigError, match='Use selection = "previous"'):
        extend_by(state, inputs, [10], begin=70)
    assert state.length == 70
    state.reset()
    torch.testing.assert_close(extend_by(state, inputs, [70]), expected)


@pytest.mark.parametrize("wrap", [False, True])
def test_shifted_attention_has_no_decoding(wrap: bool) -> None:
    with pytest.raises(ConfigError, match=r"ShiftedAttention.* cannot be decoded"):
        SpanState(ShiftedAttention(16, wrap=wrap))


def test_nothing_is_given_nothing() -> None:
    state = SpanState(config_of())
    empty = torch.zeros(0, 4, 5, 8), torch.zeros(0, 2, 5, 8), torch.zeros(0, 2, 5, 8)
    assert state.extend(*empty).shape == (0, 4, 5, 8)
    assert state.extend(*empty).shape == (0, 4, 5, 8)
    state.reset()
    inputs = draw(60)
    nothing = torch.zeros(2, 20, dtype=torch.bool)
    first = extend_by(state, inputs, [20], real=nothing)
    assert bool((first == 0).all())
    output = extend_by(state, inputs, [20, 0, 20], begin=20)
    whole = reference_attention(*(tensor[:, :, 20:] for tensor in inputs), config_of())
    torch.testing.assert_close(output, whole, rtol=1e-10, atol=1e-10)
    assert state.length == 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, k, v: (q[0], k, v), "query must"),
        (lambda q, k, v: (q, k[:, :, :-1], v), "key must"),
        (lambda q, k, v: (q[:1], k[:1], v[:1]), "query must have the 2 rows"),
        (lambda q, k, v: (q, k[:, :1], v[:, :1]), "key must have the heads"),
        (lambda q, k, v: (q.float(), k.float(), v.float()), "query must have the heads"),
        (lambda q, k, v: (q, k, v[..., :3]), "value must have the heads"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(change: Any, message: str) -> None:
    state, inputs = SpanState(config_of()), draw(50)
    extend_by(state, inputs, [40])
    query, key, value = (tensor[:, :, 40:] for tensor in inputs)
    extend = unwrap(SpanState.extend)  # without the checks of shapes that tests put around it
    with pytest.raises(InputError, match=message):
        extend(state, *change(query, key, value))
    with pytest.raises(InputError, match="real must be bool"):
        extend(state, query, key, value, real=torch.ones(2, 3, dtype=torch.bool))
    assert state.length == 40
