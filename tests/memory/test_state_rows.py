"""Groups of entries are copied as torch copies them."""

from __future__ import annotations

import pytest
import torch

from statespan.memory.state_rows import gather
from statespan.native import torch_only


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("size", [1, 15, 16, 100, 1_024])
@pytest.mark.parametrize("chosen", [0, 1, 2, 33])
def test_groups_are_copied_in_the_order_wanted(dtype: torch.dtype, size: int, chosen: int) -> None:
    generator = torch.Generator().manual_seed(0)
    source = torch.randn(50, size, generator=generator).to(dtype)
    places = torch.randint(50, (chosen,), generator=generator)
    found = torch.full((chosen + 1, size), torch.nan, dtype=dtype)
    expected = source[places]
    gather(source, places, found[:-1])
    assert torch.equal(found[:-1], expected)
    assert found[-1].isnan().all()
    with torch_only():
        gather(source, places, found[:-1].fill_(0))
    assert torch.equal(found[:-1], expected)
