"""Rules, summaries and queries of decisions, each beside its own oracle."""

from __future__ import annotations

import math
from importlib.metadata import EntryPoint
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from statespan.errors import UnknownNameError
from statespan.memory import SpanAttention, chosen_blocks, span_attention
from statespan.memory.layout import Layout
from statespan.memory.rules import RULES, Place
from statespan.memory.rules.top_k import largest
from statespan.memory.selection import decision_queries
from statespan.memory.summaries import SUMMARIES
from statespan.memory.summaries.landmark import landmarks
from tests.memory.attentions import draw, span

SCORES = st.lists(st.sampled_from([-1.0, 0.0, 1.0, 2.0, math.inf, -math.inf, math.nan]), max_size=9)


def place(decisions: int = 1, heads: int = 1, **fields: Any) -> Place:
    given_ = {"seed": 0, "step": 0, "layer": 0} | fields
    return Place(**given_, heads=torch.arange(heads), decisions=torch.arange(decisions))


@given(scores=SCORES, top_k=st.integers(0, 10), data=st.data())
def test_the_largest_scores_are_chosen_and_the_first_of_equal_ones(
    scores: list[float], top_k: int, data: st.DataObject
) -> None:
    allowed = data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    found = largest(torch.tensor(scores), torch.tensor(allowed, dtype=torch.bool), top_k=top_k)
    ranked = sorted(
        (block for block, may in enumerate(allowed) if may),
        key=lambda block: (-math.inf if math.isnan(scores[block]) else scores[block], -block),
        reverse=True,
    )
    assert found.nonzero().flatten().tolist() == sorted(ranked[:top_k])


@pytest.mark.parametrize("name", RULES.names())
def test_a_rule_is_not_moved_by_blocks_beyond_the_past(name: str) -> None:
    rule, generator = RULES.get(name), torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 5, 20, generator=generator)
    candidates = (torch.arange(20) < torch.tensor([0, 1, 4, 9, 12])[:, None])[None, None]
    at = place(decisions=5, heads=3)
    whole = rule.choose(scores, candidates, top_k=3, place=at)
    cut = rule.choose(scores[..., :13], candidates[..., :13], top_k=3, place=at)
    assert torch.equal(whole[..., :13].expand(2, 3, 5, 13), cut.expand(2, 3, 5, 13))
    assert not whole[..., 13:].any()
    scores[..., 13:] = 100
    again = rule.choose(scores, candidates, top_k=3, place=at)
    assert torch.equal(again.expand(2, 3, 5, 20), whole.expand(2, 3, 5, 20))


@pytest.mark.parametrize("name", RULES.names())
def test_a_rule_decides_alike_in_whatever_company(name: str) -> None:
    rule, generator = RULES.get(name), torch.Generator().manual_seed(1)
    scores = torch.randn(1, 2, 6, 30, generator=generator)
    candidates = (torch.arange(30) < torch.arange(6)[:, None] * 5)[None, None]
    at = place(decisions=6, heads=2)
    whole = rule.choose(scores, candidates, top_k=3, place=at).expand(1, 2, 6, 30)
    for decision in range(6):
        alone = Place(0, 0, 0, at.heads, torch.tensor([decision]))
        part = slice(decision, decision + 1)
        found = rule.choose(scores[:, :, part], candidates[:, :, part], top_k=3, place=alone)
        assert torch.equal(found.expand(1, 2, 1, 30), whole[:, :, part])


def test_chance_is_fair_and_differs_from_place_to_place() -> None:
    rule, candidates = RULES.get("random"), torch.ones(1, 2_000, 10, dtype=torch.bool)
    chosen = rule.choose(None, candidates, top_k=3, place=place(decisions=2_000))
    assert (chosen.sum(dim=-1) == 3).all()
    counts = chosen.flatten(0, -2).sum(dim=0)  # 2,000 draws of 3 in 10: 600, deviation 20
    assert (counts - 600).abs().max() < 100
    together = (chosen[..., 0] & chosen[..., 1]).sum()  # of 2 in 45 pairs' worth: 133, deviation 11
    assert abs(int(together) - 2_000 * 3 * 2 / 90) < 55
    for change in ({"seed": 1}, {"step": 1}, {"layer": 1}, {"seed": 2**64 - 1}):
        other = rule.choose(None, candidates, top_k=3, place=place(decisions=2_000, **change))
        assert 100 < (other & chosen).any(dim=-1).sum() < 1_990
    heads = rule.choose(None, candidates, top_k=3, place=place(decisions=2_000, heads=2))
    assert torch.equal(heads[..., :1, :, :].flatten(), chosen.flatten())
    assert not torch.equal(heads[..., 1, :, :], heads[..., 0, :, :])


def test_recency_takes_the_last() -> None:
    candidates = torch.tensor([[[False, True, True, True, False]]])
    found = RULES.get("recency").choose(None, candidates, top_k=2, place=place())
    assert found.flatten().tolist() == [False, False, True, True, False]


def blocks_of(tensor: Tensor, size: int) -> list[Tensor]:
    return [part for part in tensor.split(size, dim=2) if part.shape[2] == size]


@pytest.mark.parametrize("name", SUMMARIES.names())
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_summary_is_that_of_each_block(name: str, dtype: torch.dtype) -> None:
    query, key, value = draw(22, dtype=dtype)
    selector = span(summary=name, block=5, chunk=10, seed=3).selector(layer=2)
    found = selector.summarize(query, key, value, scaling=0.7, num_heads=4)
    assert found.dtype == (torch.float64 if dtype is torch.float64 else torch.float32)
    double = [tensor.double() for tensor in (query, key, value)]
    for index, (asking, keys, values) in enumerate(
        zip(*(blocks_of(tensor, 5) for tensor in double), strict=True)
    ):
        wide_keys, wide_values = (part.repeat_interleave(2, dim=1) for part in (keys, values))
        fixed = landmarks(4, 8, seed=3, layer=2)[:, None]
        oracle = {
            "attention": lambda a=asking, k=wide_keys, v=wide_values: (
                (a @ k.mT * 0.7).softmax(-1) @ v
            ).mean(2),
            "key": lambda k=keys: k.mean(2),
            "value": lambda v=values: v.mean(2),
            "landmark": lambda k=wide_keys, v=wide_values, f=fixed: (
                (f @ k.mT * 0.7).softmax(-1) @ v
            )[:, :, 0],
            "bound": lambda k=keys: torch.cat((k.amax(2), k.amin(2)), dim=-1),
        }[name]()
        limit = 4 * torch.finfo(dtype).eps
        torch.testing.assert_close(found[:, :, index].double(), oracle, rtol=limit, atol=limit)
    assert found.shape[2] == 4


@given(seed=st.integers(0, 10**6))
def test_the_bound_is_no_less_than_any_logit(seed: int) -> None:
    query, key, value = draw(12, seed=seed, heads=2)
    selector = span(summary="bound", chunk=12).selector()
    summaries = selector.summarize(None, key, value, scaling=1.0, num_heads=2)
    scores = selector.score(query, summaries, kv_heads=2)
    logits = (query @ key.mT).unflatten(3, (3, 4)).amax(dim=4)
    assert (scores >= logits - 1e-12).all()


def test_landmarks_have_variance_one_and_differ() -> None:
    vectors = landmarks(64, 64, seed=0, layer=0)
    assert abs(float(vectors.square().mean()) - 1) < 0.1
    assert torch.equal(landmarks(64, 64, seed=0, layer=0), vectors)
    for seed, layer in ((1, 0), (0, 1)):
        assert not torch.equal(landmarks(64, 64, seed=seed, layer=layer), vectors)


@pytest.mark.parametrize("length", [1, 4, 15, 16, 17, 40])
def test_decisions_ask_with_sums_of_queries(length: int) -> None:
    query = draw(length)[0]
    stride = {"chunk": 16, "previous": 16, "running": 4, "token": 1}
    for selection, size in stride.items():
        layout = Layout(chunk=16, block=4, stride=size)
        found = decision_queries(query, layout, selection)
        assert found.shape[2] == layout.num_decisions(length)
        for decision in range(found.shape[2]):
            first = decision * size
            start = first // 16 * 16
            begin, end = {
                "chunk": (start, start + 16),
                "previous": (max(start - 16, 0), start),
                "running": (start, first + 1),
                "token": (first, first + 1),
            }[selection]
            torch.testing.assert_close(found[:, :, decision], query[:, :, begin:end].sum(2))


@pytest.mark.parametrize("name", SUMMARIES.names())
def test_heads_that_share_sum_their_scores(name: str) -> None:
    query, key, value = draw(40)
    by_share = {}
    for share in ("head", "kv_group", "layer"):
        selector = span(summary=name, share=share).selector()
        summaries = selector.summarize(query, key, value, scaling=0.5, num_heads=4)
        by_share[share] = selector.score(query, summaries, kv_heads=2)
    heads = by_share["head"]
    assert heads.shape == (2, 4, 40, 10)
    groups = torch.stack((heads[:, :2].sum(1), heads[:, 2:].sum(1)), dim=1)
    torch.testing.assert_close(by_share["kv_group"], groups)
    torch.testing.assert_close(by_share["layer"], heads.sum(1, keepdim=True))


@pytest.mark.parametrize("group", ["rules", "summaries"])
def test_others_add_theirs_by_an_entry_point(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = {"rules": RULES, "summaries": SUMMARIES}[group]
    value = {"rules": "recency:RULES", "summaries": "key:SUMMARIES"}[group]
    point = EntryPoint("theirs", f"statespan.memory.{group}.{value}", f"statespan.{group}")
    monkeypatch.setattr(
        "statespan.registry.entry_points", lambda group: [point] if "theirs" in repr(point) else []
    )
    monkeypatch.setattr(registry, "_entry_points_loaded", False)
    monkeypatch.setattr(registry, "_members", dict(registry._members))
    assert "theirs" in registry.names()


def test_an_unknown_name_lists_the_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean recency"):
        SpanAttention(rule="recensy")
    with pytest.raises(UnknownNameError, match="Did you mean landmark"):
        SpanAttention(summary="landmarks")


DOCUMENTS = torch.tensor([[-1] * 3 + [7] * 40 + [2] * 17, [0] * 60])


@pytest.mark.parametrize("selection", ["chunk", "previous", "running", "token"])
@pytest.mark.parametrize("share", ["head", "kv_group", "layer"])
def test_what_is_listed_as_chosen_is_what_is_seen(selection: str, share: str) -> None:
    """Only keys of listed blocks get a gradient from queries, beside those of the own chunk."""
    config = span(selection=selection, share=share, keep_first=1)
    query, key, value = draw(60)
    found = chosen_blocks(query, key, value, config, documents=DOCUMENTS)
    assert {choice.document for choice in found} == {7, 2, 0}
    assert {choice.heads for choice in found} == {
        "head": {(0,), (1,), (2,), (3,)}, "kv_group": {(0, 1), (2, 3)}, "layer": {(0, 1, 2, 3)},
    }[share]  # fmt: skip
    assert all(len(choice.blocks) == 3 and choice.blocks[0] == 0 for choice in found)
    for choice in found[:: max(len(found) // 12, 1)]:
        head = choice.heads[0]
        leaf = value.clone().requires_grad_()
        out = span_attention(query, key, leaf, config, documents=DOCUMENTS)
        (gradient,) = torch.autograd.grad(out[choice.row, head, choice.last].sum(), leaf)
        seen = gradient[choice.row, head // 2].abs().sum(dim=-1).nonzero().flatten().tolist()
        listed = [at for first, last in choice.keys for at in range(first, last + 1)]
        assert sorted(set(listed)) == listed
        own = [at for at in seen if at not in listed]
        assert own == list(range(own[0], choice.last + 1))
        assert set(listed) <= set(seen)
        assert len(own) <= 16


def test_what_retrieves_nothing_lists_nothing() -> None:
    from tests.memory.attentions import BASELINES

    tensors = draw(40)
    for config in (span(top_k=0), BASELINES["full"], BASELINES["shifted"], span(chunk=64)):
        assert chosen_blocks(*tensors, config) == []
    assert chosen_blocks(*draw(40, batch=0), span()) == []


def test_a_growing_past_is_taken_whole_until_there_is_more_than_asked() -> None:
    found = chosen_blocks(*draw(64, batch=1, heads=1, kv_heads=1), span(top_k=6))
    assert [len(choice.blocks) for choice in found] == [4, 6, 6]
    assert [(choice.first, choice.last) for choice in found] == [(16, 31), (32, 47), (48, 63)]
    assert all(first.last < second.first for first, second in pairwise(found))
