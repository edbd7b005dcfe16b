"""The search by codes finds what the rule chooses by the summaries themselves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from statespan.memory import RECALL, SpanState
from statespan.memory.rules.top_k import largest
from statespan.memory.state_summaries import SummaryStore
from statespan.memory.summary_codes import GROUP, Codes, code, room_for_codes, search
from statespan.native import kernel_level, torch_only
from tests.memory.attentions import draw, span

pytestmark = pytest.mark.skipif(kernel_level() is None, reason="there are no compiled kernels")


def coded(summaries: Tensor) -> Codes:
    """Return codes, written over what is not a number."""
    codes = room_for_codes(summaries)
    codes.upper.fill_(255)
    codes.lower.fill_(255)
    codes.steps.fill_(torch.nan)
    code(summaries, codes, first=0, end=summaries.shape[2])
    return codes


def found_by_codes(
    query: Tensor, summaries: Tensor, begin: int, ends: list[int], top_k: int
) -> Tensor | None:
    """Return the chosen blocks of each decision as a mask."""
    index = search(
        query, summaries, coded(summaries), torch.tensor(ends), keep_first=begin, top_k=top_k
    )
    if index is None:
        return None
    found = torch.zeros(*index.shape[:3], summaries.shape[2] + 1, dtype=torch.bool)
    return found.scatter(-1, index.long() % found.shape[3], value=True)[..., :-1]


def expected(query: Tensor, summaries: Tensor, begin: int, ends: list[int], top_k: int) -> Tensor:
    """Return the same by the rule, of products in float64."""
    keys = summaries.repeat_interleave(query.shape[1] // summaries.shape[1], dim=1).double()
    scores = query.double() @ keys.mT
    blocks, past = torch.arange(summaries.shape[2]), torch.tensor(ends)[:, None]
    kept = (blocks < begin) & (blocks < past)
    candidates = ((blocks >= begin) & (blocks < past)).expand_as(scores)
    return largest(scores, candidates, top_k=top_k) | kept


@settings(max_examples=40)
@given(data=st.data())
def test_the_largest_products_are_found(data: st.DataObject) -> None:
    blocks = data.draw(st.integers(2, 2 * GROUP))
    begin = data.draw(st.integers(0, blocks - 1))
    ends = data.draw(st.lists(st.integers(0, blocks), min_size=1, max_size=9))
    top_k = data.draw(st.integers(0, 20))
    width = data.draw(st.sampled_from([1, 3, 8, 31, 64, 100, 256, 1_024]))
    shared = data.draw(st.sampled_from([1, 2]))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))
    # Whole numbers have exact products, and equal ones, of which the first count.
    high = data.draw(st.sampled_from([2, 40]))
    query, summaries = (
        torch.randint(-high, high, (2, heads, number, width), generator=generator).float()
        for heads, number in ((4, len(ends)), (4 // shared, blocks))
    )
    found = found_by_codes(query, summaries, begin, ends, top_k)
    assert found is not None
    assert torch.equal(found, expected(query, summaries, begin, ends, top_k))


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e15])
@pytest.mark.parametrize("offset", [0.0, 3.0])
def test_the_largest_are_found_of_close_ones_of_all_sizes(scale: float, offset: float) -> None:
    generator = torch.Generator().manual_seed(0)
    summaries = torch.randn(1, 4, 4_000, 64, generator=generator) * 0.01 + offset
    summaries = summaries * torch.logspace(0, 3, 4_000)[:, None] * scale
    query = torch.randn(1, 4, 1, 64, generator=generator)
    found = found_by_codes(query, summaries, 1, [3_999], 16)
    assert found is not None
    wanted = expected(query, summaries, 1, [3_999], 16)
    scores = (query.double() @ summaries.double().mT).masked_fill(~wanted, torch.inf)
    if not torch.equal(found, wanted):  # only where roundings of a product decide
        edge = scores.amin(dim=-1, keepdim=True)
        rounding = 64 * 2**-23 * (query.abs().double() @ summaries.abs().double().mT)
        exact = query.double() @ summaries.double().mT
        assert ((exact >= edge - rounding) | ~found).all()
    assert (found.sum(dim=-1) == 17).all()


@pytest.mark.parametrize("spoiled", [torch.nan, torch.inf])
def test_what_is_not_finite_is_left_to_the_rule(spoiled: float) -> None:
    query, summaries = torch.ones(1, 2, 1, 8), torch.ones(1, 2, 30, 8)
    broken = summaries.clone()
    broken[0, 1, 7, 3] = spoiled
    assert found_by_codes(query, broken, 0, [30], 3) is None
    assert found_by_codes(query.fill_(spoiled), summaries, 0, [30], 3) is None


@pytest.mark.parametrize("width", [1, 64, 2048])
@pytest.mark.parametrize("level", [0.0, 1e-44, -2.5, 1e30])
def test_equal_ones_are_found_in_their_order(width: int, level: float) -> None:
    summaries = torch.full((1, 1, GROUP + 30, width), level)
    query = torch.tensor([1.0, -1.0, 0.0]).repeat(width)[:width].expand(1, 1, 1, width)
    found = found_by_codes(query, summaries, 2, [GROUP + 20], 5)
    assert found is not None
    assert found.nonzero()[:, -1].tolist() == [0, 1, 2, 3, 4, 5, 6]


def test_bounds_hold_where_one_number_of_a_group_is_far_larger() -> None:
    generator = torch.Generator().manual_seed(0)
    query, summaries = (torch.randn(1, 2, n, 16, generator=generator) for n in (40, 1_000))
    summaries[:, :, ::100] *= 1e4
    found = found_by_codes(query, summaries, 0, [1_000] * 40, 9)
    assert found is not None
    assert torch.equal(found, expected(query, summaries, 0, [1_000] * 40, 9))


def found_beside(query: Tensor, usual: Tensor, special: Tensor) -> list[int]:
    """Return the two blocks found of 40: at 0 and 1 the ends of all codes, at 7 a special one."""
    summaries = usual.expand(1, 1, 40, -1).clone()
    summaries[:, :, 0], summaries[:, :, 1], summaries[:, :, 7] = 0, 255, special
    found = found_by_codes(query.expand(1, 1, 1, -1), summaries, 0, [40], 2)
    assert found is not None
    blocks: list[int] = found.nonzero()[:, -1].tolist()
    return blocks


def test_bounds_hold_where_weights_are_rounded_to_nothing() -> None:
    # Beside the first weight, the others are rounded to 0, of which the special block is made.
    large = torch.arange(64) == 0
    query, special = torch.where(large, 1.0, 0.0035), torch.where(large, 0.0, 255.0)
    assert found_beside(query, 40.0 * large, special) == [1, 7]


def test_bounds_hold_where_all_codes_are_rounded_down() -> None:
    usual = torch.where(torch.arange(64) < 16, 112.0, 96.2)
    assert found_beside(torch.ones(64), usual, torch.full((64,), 100.45)) == [1, 7]


def test_bounds_hold_where_the_lowest_bits_of_all_sums_are_cut_off() -> None:
    # A dimension of each run has a weight, so that each sum of a run loses all that it can.
    large = torch.arange(64) % 16 == 0
    usual = torch.where(torch.arange(64) == 0, 32.0, 16.4) * large
    assert found_beside(torch.where(large, 1.0, 1e-6), usual, 20.45 * large) == [1, 7]


def test_lower_bits_tell_apart_what_upper_bits_do_not() -> None:
    # All but two blocks have the same upper bits, and half of those the largest lower ones.
    summaries = torch.full((1, 2, 2_000, 100), 200.0)
    summaries[:, :, 5], summaries[:, :, 6] = 0, 255
    summaries[:, :, 1_500:] = 206
    summaries[:, 1, 1_300, 99] = 300
    found = found_by_codes(torch.ones(1, 2, 1, 100), summaries, 0, [2_000], 4)
    assert found is not None
    assert found[0, 0, 0].nonzero()[:, -1].tolist() == [6, 1_500, 1_501, 1_502]
    assert found[0, 1, 0].nonzero()[:, -1].tolist() == [6, 1_500, 1_501, 1_502]


def test_codes_of_blocks_that_are_written_again_are_written_again() -> None:
    config = span(chunk=32, block=4, top_k=3, selection="token", summary="bound")
    first, second = (
        draw(1_800, dtype=torch.float32, seed=0),
        draw(1_800, dtype=torch.float32, seed=1),
    )
    ours, fresh = SpanState(config), SpanState(config)
    ours.extend(*(tensor[:, :, :1_790] for tensor in first))
    ours.extend(*(tensor[:, :, 1_790:1_791] for tensor in first))
    ours.crop(1_700)
    fresh.extend(*(tensor[:, :, :1_700] for tensor in first))
    for at in range(1_700, 1_800):
        step = [tensor[:, :, at : at + 1] for tensor in second]
        torch.testing.assert_close(ours.extend(*step), fresh.extend(*step))


def test_a_state_decodes_as_it_does_without_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    config = span(chunk=32, block=4, top_k=3, keep_first=1,
                  selection="token", summary="bound")  # fmt: skip
    tensors = draw(180, dtype=torch.float32)
    searches, inner = [], SummaryStore.search

    def noted(self: SummaryStore, *arguments: object) -> Tensor | None:
        searches.append(inner(self, *arguments))  # type: ignore[arg-type]
        return searches[-1]

    monkeypatch.setattr(SummaryStore, "search", noted)

    def decode() -> Tensor:
        state = SpanState(config)
        state.extend(*(tensor[:, :, :100] for tensor in tensors))
        state.reorder(torch.tensor([1, 0]))
        steps = [tensor[[1, 0]] for tensor in tensors]
        return torch.cat(
            [state.extend(*(t[:, :, at : at + 1] for t in steps)) for at in range(100, 180)], dim=2
        )

    ours = decode()
    assert sum(found is not None for found in searches) == 80
    with torch_only():
        torch.testing.assert_close(ours, decode())


def test_codes_are_kept_where_a_kernel_reads_them_only() -> None:
    tensors = draw(2_201, batch=1, dim=64, value_dim=64, dtype=torch.float32)
    with_codes, without = SpanState(RECALL), SpanState(RECALL)

    def decode(state: SpanState) -> int:
        state.extend(*(tensor[:, :, :2_200] for tensor in tensors))
        state.extend(*(tensor[:, :, 2_200:] for tensor in tensors))
        return sum(state.memory().values())

    with torch_only():
        least = decode(without)
    assert 0 < decode(with_codes) - least < 0.1 * least
