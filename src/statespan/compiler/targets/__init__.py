"""The architectures that the compiler writes weights for, one file each."""

from statespan.compiler.targets.mamba import mamba_weights
from statespan.compiler.targets.mamba2 import mamba2_weights
from statespan.compiler.targets.target import TARGETS, Target

__all__ = ["TARGETS", "Target", "mamba2_weights", "mamba_weights"]
