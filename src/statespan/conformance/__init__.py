"""A conformance kit: engines that run state-space models, tried on checkpoints that never err."""

from statespan.conformance.checkpoint import Checkpoint
from statespan.conformance.protocol import (
    ENGINES,
    Engine,
    Padding,
    Runner,
    Scores,
    Session,
)

__all__ = ["ENGINES", "Checkpoint", "Engine", "Padding", "Runner", "Scores", "Session"]
