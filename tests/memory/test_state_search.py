"""The search for the largest scores is the rule `"top_k"`, as indices."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from statespan.memory.rules.top_k import largest
from statespan.memory.state_search import indices_of_largest


@settings(max_examples=40)
@given(
    num_blocks=st.integers(1, 300),
    top_k=st.integers(0, 9),
    levels=st.sampled_from([2, 5, 300, 10**6]),
    broken=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 299)), max_size=3),
    seed=st.integers(0, 10**6),
)
def test_the_search_finds_what_the_rule_chooses(
    num_blocks: int, top_k: int, levels: int, broken: list[tuple[int, int]], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, levels, (3, 1, num_blocks), generator=generator).float()
    for row, block in broken:
        if block < num_blocks:
            scores[row, 0, block] = torch.nan
    top_k = min(top_k, num_blocks)
    expected = largest(scores, torch.ones(num_blocks, dtype=torch.bool), top_k=top_k)
    found = torch.zeros_like(expected).scatter(-1, indices_of_largest(scores, top_k), True)
    assert torch.equal(found, expected)
