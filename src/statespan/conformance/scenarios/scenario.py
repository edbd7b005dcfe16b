"""What a scenario is: trials to run, what they need, and what an engine must do in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import TypeAlias, final

from statespan.conformance.checkpoint import Checkpoint
from statespan.conformance.protocol import Ability, Tokens
from statespan.conformance.trial import Trial
from statespan.registry import Registry

__all__ = ["SCENARIOS", "Scenario", "Trials", "always", "columns", "draw_rows", "trials_of"]

Trials: TypeAlias = Iterator[tuple[str, Trial]]
"""Trials, each with what tells it from the others of its scenario."""

TrialMaker: TypeAlias = Callable[[Checkpoint, Random], Trials]


def always(checkpoint: Checkpoint) -> bool:
    """Return whether a checkpoint fits a scenario that asks nothing special of it: it does."""
    del checkpoint
    return True


@final
@dataclass(frozen=True, slots=True)
class Scenario:
    """A way to drive an engine.

    Attributes:
        name: what the shell says.
        promise: what an engine must do; where it does not, that is a fault.
        trials: what is run for a checkpoint, with everything drawn from the generator.
        needs: the abilities without which it is not offered.
        fits: whether a checkpoint can tell right from wrong here.
        thorough: whether it is left out unless the whole kit is asked for.
    """

    name: str
    promise: str
    trials: TrialMaker
    needs: frozenset[Ability]
    fits: Callable[[Checkpoint], bool] = always
    thorough: bool = False


SCENARIOS: Registry[Scenario] = Registry("scenario", "scenarios")
"""Name -> scenario, in the order of the report."""


def trials_of(
    name: str,
    *needs: Ability,
    promise: str,
    fits: Callable[[Checkpoint], bool] = always,
    thorough: bool = False,
) -> Callable[[TrialMaker], TrialMaker]:
    """Return a decorator that registers the trials it decorates as the scenario `name`."""

    def register(trials: TrialMaker) -> TrialMaker:
        scenario = Scenario(name, promise, trials, frozenset(needs), fits, thorough)
        SCENARIOS.add(name, scenario)
        return trials

    return register


def draw_rows(checkpoint: Checkpoint, rng: Random, *lengths: int) -> tuple[Tokens, ...]:
    """Return a row of each of the lengths, BOS the first of each."""
    return tuple(checkpoint.draw(length, rng=rng) for length in lengths)


def columns(rows: tuple[Tokens, ...], first: int, last: int) -> tuple[Tokens, ...]:
    """Return the tokens from place `first` to before `last` of each row."""
    return tuple(row[first:last] for row in rows)
