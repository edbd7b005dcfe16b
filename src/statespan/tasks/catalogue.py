"""The tasks by name, and the way to say a task in one line."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

from statespan.registry import Registry, bind_parameters, full_name, parse_parameters
from statespan.tasks.task import Task

__all__ = ["TASKS", "task", "task_from_text"]

TASKS: Registry[Callable[..., Task[Any]]] = Registry("task", "tasks")
"""Name -> factory; a factory takes keyword-only parameters with defaults."""


def task(name: str, **parameters: object) -> Task[Any]:
    """Return the task called `name`.

    Raises:
        UnknownNameError: there is none; near names are in the message.
        InputError: an unknown parameter, or one of the wrong type or out of range.

    Example:
        >>> import random
        >>> task("copying", symbols=2).sample(length=4, count=1, rng=random.Random(0))[0].inputs
        ('s2', 's1', '|', 's2')
    """
    factory = TASKS.get(name)
    bound = bind_parameters(name, factory, parameters)
    return dataclasses.replace(
        factory(**bound),
        name=full_name(name, factory, bound),
        parameters=bound,
        description=(inspect.getdoc(factory) or "").partition("\n")[0],
    )


def task_from_text(text: str) -> Task[Any]:
    """Return the task that one line names: what the shell and the configs take.

    Raises:
        UnknownNameError: there is none.
        InputError: a parameter that is not key=value, an unknown one, or one that does not fit.

    Example:
        >>> task_from_text("mqar:pairs=4").parameters["pairs"]
        4
    """
    name, parameters = parse_parameters(text)
    return task(name, **parameters)
