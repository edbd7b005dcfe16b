"""What may be done to a state beside taking tokens: rows, taking back, memory, gradients."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from statespan.errors import InputError
from statespan.memory import (
    FullAttention,
    SlidingAttention,
    SpanAttention,
    SpanState,
    chosen_blocks,
    span_attention,
)
from statespan.memory.protocol import Attention
from statespan.memory.reference import reference_attention
from statespan.memory.selection import Selector

Inputs = tuple[Tensor, Tensor, Tensor]
CONFIGS = [
    SpanAttention(chunk=32, block=8, top_k=2, selection="previous", summary="key"),
    SpanAttention(chunk=32, block=8, top_k=2, selection="running", local=12),
    SpanAttention(chunk=32, block=8, top_k=2, selection="token", keep_first=1, share="kv_group"),
    SpanAttention(chunk=32, block=8, top_k=2, selection="token", rule="recency"),
]
OTHERS = [
    SpanAttention(chunk=32, block=8, top_k=0, local=12, keep_first=1),
    SlidingAttention(10),
    FullAttention(),
]


def draw(length: int, *, batch: int = 3, dtype: torch.dtype = torch.float64) -> Inputs:
    """Return random queries of four heads, keys and values of two, of width 8."""
    generator = torch.Generator().manual_seed(length)
    query, key, value = (
        torch.randn(batch, heads, length, 8, generator=generator, dtype=dtype)
        for heads in (4, 2, 2)
    )
    return query, key, value


def cut(inputs: Inputs, begin: int, end: int) -> Inputs:
    """Return the tokens from `begin` to `end`."""
    query, key, value = (tensor[:, :, begin:end] for tensor in inputs)
    return query, key, value


def rows_of(inputs: Inputs, rows: Tensor) -> Inputs:
    """Return some rows."""
    query, key, value = (tensor[rows] for tensor in inputs)
    return query, key, value


def left_padding(length: int) -> Tensor:
    """Return which tokens of three rows are real."""
    return torch.arange(length) >= torch.tensor([[20], [0], [41]])


def whole_pass(inputs: Inputs, config: Attention, real: Tensor) -> Tensor:
    """Return what a state should give, by the definition."""
    return reference_attention(*inputs, config, documents=real.long() - 1)


def assert_goes_on(
    state: SpanState, inputs: Inputs, begin: int, real: Tensor, whole: Tensor
) -> None:
    """Check that a state takes the tokens from `begin` on as a whole pass does."""
    for first, last in pairwise((begin, begin + 1, begin + 2, inputs[0].shape[2])):
        output = state.extend(*cut(inputs, first, last), real=real[:, first:last])
        torch.testing.assert_close(output, whole[:, :, first:last], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("offload", [None, "cpu"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("config", [*CONFIGS, *OTHERS])
def test_rows_can_be_put_in_another_order(
    config: Attention, padded: bool, offload: str | None
) -> None:
    inputs = draw(110)
    real = left_padding(110) if padded else torch.ones(3, 110, dtype=torch.bool)
    changes: list[tuple[Callable[[SpanState], None], list[int]]] = [
        (lambda state: state.reorder(torch.tensor([2, 0, 0])), [2, 0, 0]),
        (lambda state: state.select(torch.tensor([1])), [1]),
        (lambda state: state.repeat(2), [0, 0, 1, 1, 2, 2]),
    ]
    whole = whole_pass(inputs, config, real)
    for begin in (69, 72):
        state = SpanState(config, offload=offload)
        state.extend(*cut(inputs, 0, 67), real=real[:, :67])
        state.extend(*cut(inputs, 67, begin), real=real[:, 67:begin])
        for change, order in changes:
            changed, rows = deepcopy(state), torch.tensor(order)
            change(changed)
            assert_goes_on(changed, rows_of(inputs, rows), begin, real[rows], whole[rows])
        assert_goes_on(state, inputs, begin, real, whole)  # the copies shared nothing with it


@pytest.mark.parametrize("offload", [None, "cpu"])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("config", [*CONFIGS, *OTHERS])
def test_the_last_tokens_can_be_taken_back(
    config: Attention, padded: bool, offload: str | None
) -> None:
    inputs, wrong = draw(115), draw(50)
    real = left_padding(115) if padded else torch.ones(3, 115, dtype=torch.bool)
    whole, state = whole_pass(inputs, config, real), SpanState(config, offload=offload)
    for begin, length in pairwise((0, 1, 43, 60, 64, 65, 98)):
        state.extend(*cut(inputs, begin, length), real=real[:, begin:length])
        astray = deepcopy(state)
        for first, last in ((0, 1), (1, 9), (9, 50)):
            astray.extend(*cut(wrong, first, last))
        astray.crop(length + 20)
        astray.crop(length)
        assert astray.length == length
        assert_goes_on(astray, inputs, length, real, whole)


@pytest.mark.parametrize("offload", [None, "cpu"])
@pytest.mark.parametrize("config", CONFIGS)
def test_taking_back_more_is_right_or_refused(config: SpanAttention, offload: str | None) -> None:
    inputs, real = draw(440, batch=1), torch.ones(1, 440, dtype=torch.bool)
    whole, state = whole_pass(inputs, config, real), SpanState(config, offload=offload)
    for begin, end in pairwise((0, 5, 400, *range(401, 420))):  # entries are dropped on the way
        state.extend(*cut(inputs, begin, end))
    refused = []
    for length in (300, 293, 200, 64, 35, 5):
        try:
            state.crop(length)
        except InputError as error:
            refused.append(length)
            assert "too little is kept" in str(error)  # noqa: PT017
        assert_goes_on(deepcopy(state), inputs, state.length, real, whole)
    assert all(length < 419 - 128 for length in refused)
    assert bool(refused) == (config.rule == "top_k")
    state.crop(0)
    assert_goes_on(state, inputs, 0, real, whole)


@pytest.mark.parametrize("offload", [None, "cpu"])
@pytest.mark.parametrize("config", [*CONFIGS, *OTHERS])
def test_128_tokens_can_always_be_taken_back(config: Attention, offload: str | None) -> None:
    inputs, real = draw(320, batch=1), torch.ones(1, 320, dtype=torch.bool)
    whole = whole_pass(inputs, config, real)
    for length in (320, 310, 301):
        state = SpanState(config, offload=offload)
        state.extend(*cut(inputs, 0, length))
        state.crop(length - 128)
        assert_goes_on(state, inputs, length - 128, real, whole)


@pytest.mark.parametrize("offload", [None, "cpu"])
def test_more_can_be_taken_back_from_one_row_than_from_another(offload: str | None) -> None:
    config = SpanAttention(chunk=32, block=8, top_k=2, selection="token", summary="key")
    inputs, at = draw(580, batch=2), torch.arange(580)
    real = torch.stack((at < 399, at >= 200))
    state = SpanState(config, offload=offload)
    state.extend(*inputs, real=real)
    state.crop(410)  # none of the first row, many of the second
    real[:, 410:] = True
    assert_goes_on(state, inputs, 410, real, whole_pass(inputs, config, real))


def test_lengths_and_rows_that_are_not_there_are_refused() -> None:
    state = SpanState(CONFIGS[0])
    state.select(torch.tensor([5]))  # nothing to choose from yet
    state.extend(*draw(40))
    with pytest.raises(InputError, match="length must be from 0 to 40, got 41"):
        state.crop(41)
    with pytest.raises(InputError, match="length must be from 0 to 40, got -1"):
        state.crop(-1)
    with pytest.raises(InputError, match="rows must be from 0 to 2"):
        state.select(torch.tensor([0, 3]))
    with pytest.raises(InputError, match="rows must be 3, as many as there are, got 2"):
        state.reorder(torch.tensor([0, 1]))


def test_reset_forgets_everything() -> None:
    state, inputs = SpanState(CONFIGS[1]), draw(80)
    state.extend(*cut(draw(81, batch=2), 0, 70), real=left_padding(70)[:2])
    state.reset()
    assert state.length == 0
    assert state.memory() == {}
    real = torch.ones(3, 80, dtype=torch.bool)
    assert_goes_on(state, inputs, 0, real, whole_pass(inputs, state.config, real))


def test_gradients_of_the_first_call_are_those_of_the_whole_pass() -> None:
    inputs = tuple(tensor.requires_grad_() for tensor in draw(90))
    state = SpanState(CONFIGS[1])
    output = state.extend(*inputs)
    expected = span_attention(*inputs, CONFIGS[1])
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(0)).double()
    later = state.extend(*(tensor[:, :, :1] for tensor in inputs))
    given = torch.autograd.grad((output * weights).sum(), inputs)
    wanted = torch.autograd.grad((expected * weights).sum(), inputs)
    torch.testing.assert_close(given, wanted)
    with pytest.raises(InputError, match="no gradient flows through a continued SpanState"):
        later.sum().backward()


def test_a_state_begun_in_inference_mode_goes_on_outside() -> None:
    inputs, state = draw(80), SpanState(CONFIGS[2])
    with torch.inference_mode():
        state.extend(*cut(inputs, 0, 70))
        state.extend(*cut(inputs, 70, 71))
    real = torch.ones(3, 80, dtype=torch.bool)
    assert_goes_on(state, inputs, 71, real, whole_pass(inputs, state.config, real))


def test_autocast_does_not_change_what_is_computed() -> None:
    inputs, state = draw(90, dtype=torch.float32), SpanState(CONFIGS[2])
    whole = reference_attention(*inputs, CONFIGS[2]).float()
    state.extend(*cut(inputs, 0, 80))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = state.extend(*cut(inputs, 80, 90))
    torch.testing.assert_close(output, whole[:, :, 80:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("selection", "decisions"), [("previous", 2), ("running", 8), ("token", 64)]
)
def test_nothing_is_scored_between_decisions(
    selection: Any, decisions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, score = [], Selector.score

    def counted(self: Selector, *arguments: Any, **options: Any) -> Tensor:
        calls.append(arguments)
        return score(self, *arguments, **options)

    monkeypatch.setattr(Selector, "score", counted)
    inputs = draw(128)
    state = SpanState(SpanAttention(chunk=32, block=8, top_k=1, selection=selection))
    state.extend(*cut(inputs, 0, 64))
    calls.clear()
    for begin in range(64, 128):
        state.extend(*cut(inputs, begin, begin + 1))
    assert len(calls) == decisions


@pytest.mark.parametrize("offload", [None, "cpu"])
def test_buffers_are_written_in_place_and_doubled(offload: str | None) -> None:
    config = SpanAttention(chunk=32, block=8, top_k=2, selection="token")
    inputs, sizes = draw(1500, batch=1), []
    state = SpanState(config, offload=offload)
    state.extend(*cut(inputs, 0, 40))
    for begin in range(40, 1500):
        state.extend(*cut(inputs, begin, begin + 1))
        sizes.append(sum(state.memory().values()))
    assert len(set(sizes)) < 30
    stored = sum(tensor.numel() * 8 for tensor in inputs[1:])
    assert sizes[-1] < 4 * stored


@pytest.mark.parametrize("selection", ["previous", "running", "token"])
def test_what_lies_far_back_is_on_the_device_for_it(selection: Any) -> None:
    config = SpanAttention(chunk=32, block=8, top_k=2, selection=selection, summary="key", local=40)
    sizes = []
    for length in (1008, 8_016):
        state = SpanState(config, offload="meta")  # takes no memory, and gives nothing back
        state.extend(*draw(length, batch=1))
        memory = state.memory()
        far, near = memory[torch.device("meta")], memory[torch.device("cpu")]
        every = 2 * 2 * length * 8 * 8
        assert far >= every
        # Near are the window, what can be taken back, and a summary and sum for a block.
        sizes.append(near - every / 8)
    assert sizes[1] < 1.2 * sizes[0] + 8 * 8_016 * 8 * 4 / 8


def test_without_retrieval_old_tokens_are_dropped() -> None:
    amnesic = SpanAttention(chunk=32, block=8, rule="none", selection="running")
    for config in (amnesic, OTHERS[0], SlidingAttention(32), SlidingAttention(20, sinks=2)):
        inputs, state = draw(3_000, batch=1), SpanState(config)
        state.extend(*cut(inputs, 0, 10))
        for begin in range(10, 3_000, 46):
            state.extend(*cut(inputs, begin, min(begin + 46, 3_000)))
        assert sum(state.memory().values()) < sum(tensor.numel() * 8 for tensor in inputs[1:]) / 2


@pytest.mark.parametrize("config", [*CONFIGS, *OTHERS])
@pytest.mark.parametrize("padding", ["none", "left", "right"])
def test_choices_are_those_of_the_whole_pass(config: Attention, padding: str) -> None:
    inputs, real = draw(110), torch.ones(3, 110, dtype=torch.bool)
    if padding == "left":
        real = left_padding(110)
    if padding == "right":  # a row that ends where it would decide again
        real = torch.arange(110) < torch.tensor([[64], [110], [80]])
    whole = chosen_blocks(*inputs, config, documents=real.long() - 1)
    state = SpanState(config, record=True)
    for begin, end in pairwise((0, 45, 46, 47, 48, 49, 70, 90, 105, 110)):
        state.extend(*cut(inputs, begin, end), real=real[:, begin:end])
    assert state.choices() == whole
    late = [replace(choice, first=max(choice.first, 50)) for choice in whole if choice.last >= 50]
    assert state.choices(begin=50) == late
    order = torch.tensor([2, 0, 0])
    state.reorder(order)
    ordered = chosen_blocks(*rows_of(inputs, order), config, documents=real[order].long() - 1)
    assert state.choices() == ordered


def test_choices_are_kept_when_asked_for_only() -> None:
    inputs, state = draw(90), SpanState(CONFIGS[0])
    state.extend(*cut(inputs, 0, 80))
    assert state.choices() == []
    state.recording = True
    state.extend(*cut(inputs, 80, 82))
    found = state.choices()  # the decision in force, which was taken at 64
    assert found == [
        choice for choice in chosen_blocks(*cut(inputs, 0, 82), state.config) if choice.first == 64
    ]
    assert found
    once = SpanState(SpanAttention(chunk=32, block=8, top_k=2), record=True)
    once.extend(*inputs)
    assert once.choices() == chosen_blocks(*inputs, once.config)
    assert once.choices()
