"""The one door to pretrained models of Hugging Face's `transformers`."""

from statespan.pretrained.acceleration import Acceleration, accelerate, decelerate
from statespan.pretrained.assets import embedded_hybrid, embedded_novels
from statespan.pretrained.span import (
    AttentionSetting,
    Extension,
    attention,
    attention_setting,
    disable,
    enable,
    watch,
)

__all__ = [
    "Acceleration",
    "AttentionSetting",
    "Extension",
    "accelerate",
    "attention",
    "attention_setting",
    "decelerate",
    "disable",
    "embedded_hybrid",
    "embedded_novels",
    "enable",
    "watch",
]
