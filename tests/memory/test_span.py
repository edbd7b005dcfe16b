"""The config of span-expanded attention and of what it is compared with."""

from __future__ import annotations

from typing import Any

import pytest

from statespan.errors import ConfigError
from statespan.memory import (
    Attention,
    FullAttention,
    ShiftedAttention,
    SlidingAttention,
    SpanAttention,
    mixture_of_blocks,
)
from tests.memory.attentions import BASELINES, EVERY, SPANS

ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "block": ({"block": 48}, r"block must divide chunk, got block = 48 and chunk = 2048"),
    "no block": ({"block": 0}, "block must be a whole number, at least 1, got 0"),
    "top_k": ({"top_k": -1}, "top_k must be a whole number, at least 0, got -1"),
    "real": ({"top_k": 2.0}, "top_k must be a whole number, at least 0, got 2.0"),
    "truth": ({"local": True}, "local must be a whole number"),
    "no chunk": ({"chunk": ()}, "chunk must hold at least one size"),
    "chunk": ({"chunk": (64, 0)}, "chunk must be a whole number, at least 1, got 0"),
    "selection": ({"selection": "future"}, "selection must be one of chunk, previous, running"),
    "share": ({"share": "row"}, "share must be one of head, kv_group, layer, got 'row'"),
}


@pytest.mark.parametrize(("fields", "message"), ERRORS.values(), ids=ERRORS)
def test_a_wrong_field_is_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SpanAttention(**fields)


def test_what_is_not_said_is_as_in_the_paper() -> None:
    assert SpanAttention() == SpanAttention(
        chunk=(2048, 4096), block=32, top_k=8, selection="chunk", rule="top_k",
        summary="attention", share="head", local=0, keep_first=0, seed=0,
    )  # fmt: skip
    assert SpanAttention(top_k=0, rule="random").rule == "none"


def test_wrong_sizes_of_baselines_are_named() -> None:
    with pytest.raises(ConfigError, match="window must be a whole number, at least 1, got 0"):
        SlidingAttention(0)
    with pytest.raises(ConfigError, match="sinks must be a whole number, at least 0, got -1"):
        SlidingAttention(4, sinks=-1)
    for group in (7, 0):
        with pytest.raises(ConfigError, match=f"group must be an even number, .* got {group}"):
            ShiftedAttention(group)
    with pytest.raises(ConfigError, match="top_k must be a whole number, at least 1, got 0"):
        mixture_of_blocks(64, top_k=0)


@pytest.mark.parametrize("config", SPANS.values(), ids=SPANS)
def test_a_config_is_what_its_plain_values_say(config: SpanAttention) -> None:
    assert SpanAttention.from_dict(config.to_dict()) == config


def test_several_chunks_are_a_list_in_a_file() -> None:
    config = SpanAttention(chunk=(64, 128))
    assert config.to_dict()["chunk"] == [64, 128]
    assert SpanAttention.from_dict(config.to_dict()) == config
    with pytest.raises(ConfigError, match=r"no field 'chunks'\. Did you mean chunk"):
        SpanAttention.from_dict({"chunks": 4})


def test_each_chunk_size_is_drawn_about_equally_often() -> None:
    config = SpanAttention(chunk=(64, 128))
    drawn = [config.chunk_size(step=step, layer=layer) for step in range(200) for layer in range(5)]
    assert 400 < drawn.count(64) < 600
    assert drawn != [SpanAttention(chunk=(64, 128), seed=1).chunk_size(step=step, layer=layer)
                     for step in range(200) for layer in range(5)]  # fmt: skip


def test_the_nearest_causal_selection_is_causal() -> None:
    for config in SPANS.values():
        nearest = SpanAttention.from_dict(config.to_dict() | {"selection": config.nearest_causal})
        assert nearest.causal
        assert (nearest == config) == config.causal


@pytest.mark.parametrize("config", EVERY.values(), ids=EVERY)
def test_every_kind_is_an_attention(config: Attention) -> None:
    assert isinstance(config, Attention)
    by_chunk = isinstance(config, SpanAttention) and config.selection == "chunk"
    wrapped = config == BASELINES["shifted, wrapped"]
    scored = by_chunk and isinstance(config, SpanAttention) and config.rule == "top_k"
    assert config.causal == (not wrapped and not scored)


def test_full_attention_has_no_options() -> None:
    assert FullAttention() == FullAttention()
