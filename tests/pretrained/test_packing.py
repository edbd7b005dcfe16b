"""Which document each token is of."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from statespan.errors import InputError
from statespan.pretrained.packing import documents_of

lengths = st.lists(st.integers(1, 5), min_size=1, max_size=5)


def first_tokens(documents: Tensor) -> list[int]:
    return (1 + (documents[0].diff() != 0).nonzero().flatten()).tolist()


@given(lengths)
def test_positions_numbers_and_bounds_say_the_same(lengths: list[int]) -> None:
    total = sum(lengths)
    states = torch.zeros(1, total, 3)
    starts = torch.tensor([0, *lengths]).cumsum(0)
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    numbers = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))[None]
    by_positions = documents_of(states, None, positions, {})
    by_bounds = documents_of(states, None, None, {"cu_seq_lens_q": starts})
    by_mask = documents_of(states, numbers + 1, None, {})
    assert by_bounds is not None
    expected = starts[1:-1].tolist()
    assert first_tokens(by_bounds) == expected
    for documents in (by_positions, by_mask):
        assert (documents is None) == (len(lengths) == 1)
        assert documents is None or first_tokens(documents) == expected
    assert documents_of(states, None, None, {"seq_idx": numbers}).equal(numbers)  # type: ignore[union-attr]


def test_one_document_without_padding_needs_no_numbers() -> None:
    states = torch.zeros(2, 4, 3)
    assert documents_of(states, None, None, {}) is None
    assert documents_of(states, torch.ones(2, 4), torch.arange(4)[None] + 7, {}) is None
    assert documents_of(states, None, torch.arange(4)[None] + 7, {}) is None


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_padding_is_negative_whatever_the_mask_is_made_of(dtype: torch.dtype) -> None:
    mask = torch.tensor([[1, 1, 1, 1, 0, 1, 1]]).to(dtype)
    documents = documents_of(torch.zeros(2, 4, 3), mask, None, {})
    assert documents is not None
    assert documents.tolist() == [[0, -1, 0, 0]] * 2


def test_padding_between_documents_is_of_none() -> None:
    numbers = torch.tensor([[0, 0, 1, 1]])
    documents = documents_of(
        torch.zeros(1, 4, 3), torch.tensor([[1, 0, 1, 0]]), None, {"seq_idx": numbers}
    )
    assert documents is not None
    assert documents.tolist() == [[0, -1, 1, -1]]


def test_positions_under_a_mask_and_those_of_images_tell_nothing() -> None:
    states = torch.zeros(1, 4, 3)
    assert documents_of(states, torch.ones(1, 4), torch.tensor([[0, 1, 0, 1]]), {}) is None
    assert documents_of(states, None, torch.zeros(3, 1, 4, dtype=torch.long), {}) is None


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"seq_idx must have a number for each token, \[1, 4\]"):
        documents_of(torch.zeros(1, 4, 3), None, None, {"seq_idx": torch.zeros(1, 3)})
    with pytest.raises(InputError, match=r"cu_seq_lens_q needs all documents in one row"):
        documents_of(torch.zeros(2, 4, 3), None, None, {"cu_seq_lens_q": torch.tensor([0, 4])})
