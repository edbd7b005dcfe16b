"""Recurrences and convolutions: each an obvious reference beside its fast path.

Axes, everywhere in this package: `batch`; `length`, time; `channel`, the inner width D of the
Mamba paper; `state`, its N; `head` and `dim`, Mamba-2's heads and their width P; `key` and `value`,
the two widths of a matrix state that a key finds a value in.
"""

from statespan.models.ops.causal_convolution import causal_convolution
from statespan.models.ops.diagonal_recurrence import diagonal_recurrence
from statespan.models.ops.gated_delta_rule import gated_delta_rule
from statespan.models.ops.gated_linear_attention import gated_linear_attention
from statespan.models.ops.gated_norm import gated_norm
from statespan.models.ops.linear import linear
from statespan.models.ops.mamba_mixer import mamba_mixer
from statespan.models.ops.mamba_step import has_step_kernel, mamba_step
from statespan.models.ops.selective_scan import selective_scan
from statespan.models.ops.state_space_dual import state_space_dual

__all__ = [
    "causal_convolution",
    "diagonal_recurrence",
    "gated_delta_rule",
    "gated_linear_attention",
    "gated_norm",
    "has_step_kernel",
    "linear",
    "mamba_mixer",
    "mamba_step",
    "selective_scan",
    "state_space_dual",
]
