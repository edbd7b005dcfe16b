"""The architectures that the compiler writes weights for, one file each."""

from statespan.compiler.targets import (  # noqa: F401  (each registers itself)
    diagonal,
    mamba,
    mamba2,
    olmo_hybrid,
)
from statespan.compiler.targets.target import TARGETS, Target

__all__ = ["TARGETS", "Target"]
