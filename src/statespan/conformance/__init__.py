"""A conformance kit: engines that run state-space models, tried on checkpoints that never err."""

from statespan.conformance import engines, recall_recipes, scenarios
from statespan.conformance.checkpoint import Checkpoint
from statespan.conformance.compiled import CompiledCheckpoint
from statespan.conformance.findings import Finding, Report, Result
from statespan.conformance.kit import run_kit
from statespan.conformance.protocol import ENGINES, Engine, Padding, Runner, Scores, Session
from statespan.conformance.recipes import RECIPES, Recipe, make_checkpoints
from statespan.conformance.scenarios.scenario import SCENARIOS, Scenario

__all__ = [
    "ENGINES",
    "RECIPES",
    "SCENARIOS",
    "Checkpoint",
    "CompiledCheckpoint",
    "Engine",
    "Finding",
    "Padding",
    "Recipe",
    "Report",
    "Result",
    "Runner",
    "Scenario",
    "Scores",
    "Session",
    "engines",
    "make_checkpoints",
    "recall_recipes",
    "run_kit",
    "scenarios",
]
