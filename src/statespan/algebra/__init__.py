"""What it takes to say a language: its monoid, its classes, its groups, with witnesses."""

from statespan.algebra.analysis import Analysis, analyze
from statespan.algebra.aperiodic import CounterWitness, find_counter, is_aperiodic
from statespan.algebra.classes import CLASSES, ClassVerdict, decide_class
from statespan.algebra.green import EggBox, GreenClasses, green_classes, maximal_subgroup
from statespan.algebra.group_classes import (
    GroupSummary,
    SchutzenbergerGroup,
    schutzenberger_groups,
    summarize_groups,
)
from statespan.algebra.group_names import contains_alternating_5, name_group
from statespan.algebra.groups import PermutationGroup, permutation_group
from statespan.algebra.monoid import TransitionMonoid, syntactic_monoid, transition_monoid
from statespan.algebra.star_free import is_star_free_expression
from statespan.algebra.transformations import period
from statespan.algebra.witnesses import Factor, GroupWitness, PumpedPair

__all__ = [
    "CLASSES",
    "Analysis",
    "ClassVerdict",
    "CounterWitness",
    "EggBox",
    "Factor",
    "GreenClasses",
    "GroupSummary",
    "GroupWitness",
    "PermutationGroup",
    "PumpedPair",
    "SchutzenbergerGroup",
    "TransitionMonoid",
    "analyze",
    "contains_alternating_5",
    "decide_class",
    "find_counter",
    "green_classes",
    "is_aperiodic",
    "is_star_free_expression",
    "maximal_subgroup",
    "name_group",
    "period",
    "permutation_group",
    "schutzenberger_groups",
    "summarize_groups",
    "syntactic_monoid",
    "transition_monoid",
]
