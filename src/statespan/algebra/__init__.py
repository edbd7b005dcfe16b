"""What it takes to say a language: its monoid, its classes, its groups, with witnesses."""

from statespan.algebra.analysis import Analysis, analyze
from statespan.algebra.aperiodic import CounterWitness, find_counter, is_aperiodic
from statespan.algebra.classes import CLASSES, ClassVerdict, decide_class
from statespan.algebra.drawing import draw_judgment
from statespan.algebra.green import EggBox, GreenClasses, green_classes, maximal_subgroup
from statespan.algebra.group_classes import (
    GroupSummary,
    SchutzenbergerGroup,
    schutzenberger_groups,
    summarize_groups,
)
from statespan.algebra.group_names import contains_alternating_5, name_group
from statespan.algebra.groups import PermutationGroup, permutation_group
from statespan.algebra.height import cascade_height
from statespan.algebra.monoid import TransitionMonoid, syntactic_monoid, transition_monoid
from statespan.algebra.prediction import (
    has_twin_entries,
    last_symbol_decides,
    memory_order,
    periodic_memory,
)
from statespan.algebra.rules import ARCHITECTURES, Answer, Architecture
from statespan.algebra.star_free import is_star_free_expression
from statespan.algebra.theorems import THEOREMS, Theorem
from statespan.algebra.transformations import period
from statespan.algebra.verdict import Cell, Judgment, judge
from statespan.algebra.witnesses import Factor, GroupWitness, PumpedPair

__all__ = [
    "ARCHITECTURES",
    "CLASSES",
    "THEOREMS",
    "Analysis",
    "Answer",
    "Architecture",
    "Cell",
    "ClassVerdict",
    "CounterWitness",
    "EggBox",
    "Factor",
    "GreenClasses",
    "GroupSummary",
    "GroupWitness",
    "Judgment",
    "PermutationGroup",
    "PumpedPair",
    "SchutzenbergerGroup",
    "Theorem",
    "TransitionMonoid",
    "analyze",
    "cascade_height",
    "contains_alternating_5",
    "decide_class",
    "draw_judgment",
    "find_counter",
    "green_classes",
    "has_twin_entries",
    "is_aperiodic",
    "is_star_free_expression",
    "judge",
    "last_symbol_decides",
    "maximal_subgroup",
    "memory_order",
    "name_group",
    "period",
    "periodic_memory",
    "permutation_group",
    "schutzenberger_groups",
    "summarize_groups",
    "syntactic_monoid",
    "transition_monoid",
]
