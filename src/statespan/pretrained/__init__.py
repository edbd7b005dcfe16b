"""The one door to pretrained models of Hugging Face's `transformers`."""

from statespan.pretrained.acceleration import Acceleration, accelerate, decelerate
from statespan.pretrained.span import (
    AttentionSetting,
    Extension,
    attention,
    attention_setting,
    disable,
    enable,
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
    "enable",
]
