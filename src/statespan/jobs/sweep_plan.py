"""How the cells of a sweep are put together into tasks: stacked where shapes agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import final

import msgspec

from statespan.jobs.fleet_members import FLEET_NUMBERS, what_is_drawn
from statespan.jobs.fleet_plan import estimate_seconds, step_numbers
from statespan.jobs.probe_config import ProbeConfig
from statespan.jobs.probe_subject import Subject, num_inputs
from statespan.jobs.sweep_cells import Cell
from statespan.models import build_model
from statespan.training import torch_stream
from statespan.training.initial_weights import has_token_outputs
from statespan.training.stacked import has_member_rules

__all__ = ["MOST_TOGETHER", "PlannedCell", "plan_tasks", "prepare_cells"]

MOST_TOGETHER = 16
"""The most cells of one task: more save little, and all are begun again if its worker dies."""


@final
@dataclass(frozen=True, slots=True)
class PlannedCell:
    """A cell, with what decides where it is run.

    Attributes:
        name: of its run directory.
        config: its config.
        seconds: about how long it takes on one core.
        shape: cells of one shape can be stacked; None if it is better off alone.
    """

    name: str
    config: ProbeConfig
    seconds: float
    shape: bytes | None


def prepare_cells(
    cells: Mapping[str, Cell], subjects: Mapping[str, Subject]
) -> dict[str, PlannedCell]:
    """Return the cells by name, with what each takes; `subjects` has what they are of, by name.

    Raises:
        ConfigError: the sizes of a model do not go together.
    """
    planned = {}
    stackable: dict[bytes, bool] = {}
    for name, cell in cells.items():
        config, subject = cell.config, subjects[name]
        shape = _shape(config, subject)
        if shape not in stackable:
            stackable[shape] = _is_stackable(config, subject)
        is_together = stackable[shape] and step_numbers(config, subject) <= FLEET_NUMBERS
        seconds = estimate_seconds(config, subject)
        planned[name] = PlannedCell(name, config, seconds, shape if is_together else None)
    return planned


def plan_tasks(cells: Iterable[PlannedCell], cpus: int) -> list[list[str]]:
    """Return the cells of each task, longest task first.

    Cells of one shape make as many tasks as there are cores, or more. Those with the same words
    are neighbors, for a task draws equal words once.
    """
    groups: dict[bytes, list[PlannedCell]] = {}
    for planned in cells:
        shape = planned.shape or planned.name.encode()
        groups.setdefault(shape, []).append(planned)
    tasks: list[list[PlannedCell]] = []
    for group in groups.values():
        group.sort(key=lambda planned: what_is_drawn(planned.config))
        size = min(MOST_TOGETHER, math.ceil(len(group) / cpus))
        tasks += [group[begin : begin + size] for begin in range(0, len(group), size)]
    tasks.sort(key=lambda task: -sum(planned.seconds for planned in task))
    return [[planned.name for planned in task] for task in tasks]


def _shape(config: ProbeConfig, subject: Subject) -> bytes:
    """Return what two cells share if they can be stacked, where their model can be at all."""
    # How many outputs a set of next symbols takes is known when the words are.
    is_known = config.task is None and has_token_outputs(config.training.loss)
    outputs = None if is_known else (config.language, config.task)
    sizes = (num_inputs(subject), outputs, config.training.threads)
    return msgspec.json.encode((config.model, sizes))


def _is_stackable(config: ProbeConfig, subject: Subject) -> bool:
    size = num_inputs(subject)
    generator = torch_stream(0, "initialization")
    model = build_model(config.model, vocab_size=size, num_outputs=size, generator=generator)
    return has_member_rules(model)
