"""What span-expanded attention is compared with: a file each."""

from statespan.memory.baselines.full import FullAttention
from statespan.memory.baselines.mixture_of_blocks import mixture_of_blocks
from statespan.memory.baselines.shifted import ShiftedAttention
from statespan.memory.baselines.sliding import SlidingAttention

__all__ = ["FullAttention", "ShiftedAttention", "SlidingAttention", "mixture_of_blocks"]
