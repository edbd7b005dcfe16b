"""What attention may look back at: blocks, summaries, rules, span-expanded attention."""

from statespan.memory.baselines import (
    FullAttention,
    ShiftedAttention,
    SlidingAttention,
    mixture_of_blocks,
)
from statespan.memory.choices import Choice, chosen_blocks
from statespan.memory.protocol import Attention
from statespan.memory.span import RECALL, SpanAttention
from statespan.memory.span_attention import span_attention
from statespan.memory.state import SpanState

__all__ = [
    "RECALL",
    "Attention",
    "Choice",
    "FullAttention",
    "ShiftedAttention",
    "SlidingAttention",
    "SpanAttention",
    "SpanState",
    "chosen_blocks",
    "mixture_of_blocks",
    "span_attention",
]
