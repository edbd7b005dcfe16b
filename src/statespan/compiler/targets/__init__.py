"""The architectures that the compiler writes weights for, one file each."""

import statespan.compiler.targets.diagonal
import statespan.compiler.targets.mamba
import statespan.compiler.targets.mamba2
import statespan.compiler.targets.olmo_hybrid  # noqa: F401  (registers, as those above)
from statespan.compiler.targets.target import TARGETS, Target

__all__ = ["TARGETS", "Target"]
