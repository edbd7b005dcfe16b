"""Which attention a model is evaluated with: a name, and what it stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

from statespan.errors import ConfigError
from statespan.memory import (
    RECALL,
    FullAttention,
    ShiftedAttention,
    SlidingAttention,
    SpanAttention,
    mixture_of_blocks,
)
from statespan.registry import Registry

Exchangeable: TypeAlias = FullAttention | SlidingAttention | ShiftedAttention | SpanAttention
"""What the attention of a model can be exchanged for."""

__all__ = ["ATTENTIONS", "Exchangeable", "attending", "make_attention"]

ATTENTIONS: Registry[Callable[..., Exchangeable]] = Registry("attention", "attentions")


@ATTENTIONS.register("full")
def full_attention() -> Exchangeable:
    """Return the model's own attention."""
    return FullAttention()


@ATTENTIONS.register("span")
def span_attention(**settings: Any) -> Exchangeable:
    """Return the causal span-expanded attention of `memory.RECALL`, with some settings changed.

    With a `selection`, the other settings are those of the paper where they are not given.
    """
    if "selection" in settings:
        return SpanAttention(**settings)
    return replace(RECALL, **settings)


@ATTENTIONS.register("sliding")
def sliding_attention(*, window: int = 4096, sinks: int = 0) -> Exchangeable:
    """Return attention to the last `window` tokens, and to the first `sinks`."""
    return SlidingAttention(window=window, sinks=sinks)


@ATTENTIONS.register("s2")
def shifted_attention(*, group: int = 2048, wrap: bool = False) -> Exchangeable:
    """Return shifted sparse attention, in groups of `group` tokens."""
    return ShiftedAttention(group=group, wrap=wrap)


@ATTENTIONS.register("moba")
def block_attention(*, block: int = 512, top_k: int = 3) -> Exchangeable:
    """Return mixture-of-blocks attention, to the own block and `top_k - 1` others."""
    return mixture_of_blocks(block=block, top_k=top_k)


def make_attention(name: str, settings: Mapping[str, Any]) -> Exchangeable:
    """Return the attention that a config calls `name`.

    `settings` are its arguments; `kind` among them says which attention it is of, if its name does
    not.

    Raises:
        UnknownNameError: no such attention.
        ConfigError: a setting that it does not have, or a value out of range.

    Example:
        >>> make_attention("narrow", {"kind": "sliding", "window": 128})
        SlidingAttention(window=128, sinks=0)
    """
    arguments = dict(settings)
    make = ATTENTIONS.get(arguments.pop("kind", name))
    try:
        return make(**arguments)
    except TypeError as error:
        raise ConfigError(f"attentions.{name}: {error}.") from error


@contextmanager
def attending(model: Any, attention: Exchangeable) -> Iterator[None]:
    """Let `model` attend so within a `with` block; full attention is its own, left as it is.

    Raises:
        InputError: the model has no attention that can be exchanged.
    """
    if isinstance(attention, FullAttention):
        yield
        return
    # Only here: it imports `transformers`.
    from statespan.pretrained import attention as exchanged  # noqa: PLC0415

    with exchanged(model, attention):
        yield
