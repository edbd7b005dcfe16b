"""Span-expanded attention in the place of a pretrained model's own."""

from statespan.pretrained.span.diagnosis import Diagnosis, diagnose
from statespan.pretrained.span.extension import Extension, attention, disable, enable
from statespan.pretrained.span.setting import AttentionSetting, attention_setting
from statespan.pretrained.span.watching import watch

__all__ = [
    "AttentionSetting",
    "Diagnosis",
    "Extension",
    "attention",
    "attention_setting",
    "diagnose",
    "disable",
    "enable",
    "watch",
]
