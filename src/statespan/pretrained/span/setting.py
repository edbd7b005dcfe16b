"""What a model's config says of its attention: what is enabled, and what it was trained with."""

from __future__ import annotations

import copy
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from torch import nn

from statespan.errors import ConfigError, suggest
from statespan.memory import (
    Attention,
    FullAttention,
    ShiftedAttention,
    SlidingAttention,
    SpanAttention,
)
from statespan.pretrained.span.plan import Plan, model_of

__all__ = [
    "KINDS",
    "AttentionSetting",
    "Saved",
    "attention_setting",
    "forget",
    "mark_trained",
    "remember",
]

KEY = "statespan"
"""The key in config.json."""

KINDS: dict[str, type[Any]] = {
    kind.__name__: kind
    for kind in (FullAttention, ShiftedAttention, SlidingAttention, SpanAttention)
}

Saved: TypeAlias = list[tuple[Any, dict[str, Any] | None]]
"""Configs, each with what it said before; none if it said nothing."""


@dataclass(frozen=True, slots=True)
class AttentionSetting:
    """What the config of a model, or of a checkpoint, says of its attention.

    Attributes:
        config: what is enabled; none for the model's own attention.
        trained_with: what was enabled when it was trained last, if anything was.
        steps: how many training steps, counted as forward passes, were made with it.
    """

    config: Attention | None = None
    trained_with: Attention | None = None
    steps: int = 0

    @property
    def trained(self) -> bool:
        """Whether the weights were trained while something was enabled."""
        return self.trained_with is not None


def attention_setting(model: nn.Module) -> AttentionSetting:
    """Return what the config of `model` says of its attention, whether or not it is enabled now.

    Raises:
        ConfigError: the config was written by a later version, or by hand.
    """
    said: dict[str, Any] = {}
    for config in _configs(model_of(model)):
        said = {**said, **(getattr(config, KEY, None) or {})}
    trained = said.get("trained", {})
    return AttentionSetting(
        _from_plain(said.get("attention")),
        _from_plain(trained.get("attention")),
        trained.get("steps", 0),
    )


def remember(plan: Plan, attention: Attention) -> Saved:
    """Let the model's config say what is enabled; return what it said before."""
    saved: Saved = []
    for config in _configs(plan.model):
        before = getattr(config, KEY, None)
        saved.append((config, copy.deepcopy(before)))
        setattr(config, KEY, {**(before or {}), "attention": _to_plain(attention)})
    return saved


def mark_trained(plan: Plan, attention: Attention, steps: int) -> None:
    """Let the model's config say that it was trained with `attention`."""
    for config in _configs(plan.model):
        getattr(config, KEY)["trained"] = {"attention": _to_plain(attention), "steps": steps}


def forget(saved: Saved) -> None:
    """Let the configs say what they said before, and that the model was trained if it was."""
    for config, before in saved:
        said = getattr(config, KEY)
        left = dict(before or {})
        if "trained" in said:
            left["trained"] = said["trained"]
        if before is None and not left:
            delattr(config, KEY)
        else:
            setattr(config, KEY, left)


def _configs(model: Any) -> list[Any]:
    """Return the configs that a checkpoint of the model, or of its decoder, is saved with."""
    configs = [model.config, model.get_decoder().config]
    return configs[:1] if configs[0] is configs[1] else configs


def _to_plain(attention: Attention) -> dict[str, Any]:
    value: Any = attention
    plain = value.to_dict() if isinstance(attention, SpanAttention) else asdict(value)
    return {"kind": type(attention).__name__, **plain}


def _from_plain(plain: dict[str, Any] | None) -> Attention | None:
    if plain is None:
        return None
    # JSON has no tuples.
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in plain.items()}
    name = values.pop("kind", "SpanAttention")
    if name not in KINDS:
        raise ConfigError(
            f"the model's config names the attention {name!r}. {suggest(str(name), KINDS)}"
        )
    kind = KINDS[name]
    try:
        made: Attention = kind.from_dict(values) if kind is SpanAttention else kind(**values)
    except TypeError as error:
        raise ConfigError(f"the model's config sets no {name}: {error}.") from error
    return made
