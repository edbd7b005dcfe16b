"""The mixers that run on this package's operations: a file a group of families."""

from statespan.pretrained.mixers import gated_delta_net, mamba, mamba2, zamba
from statespan.pretrained.mixers.registry import MIXERS, MixerForward, forward_of

__all__ = [
    "MIXERS",
    "MixerForward",
    "forward_of",
    "gated_delta_net",
    "mamba",
    "mamba2",
    "zamba",
]
