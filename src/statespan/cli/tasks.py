"""`statespan tasks`: what a model may be asked beside languages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from statespan.cli.output import JsonOption, print_json, print_text

if TYPE_CHECKING:
    from statespan.tasks import Task

__all__ = ["tasks"]

SHOWN_LENGTHS = 10


def tasks(
    task: Annotated[
        str | None,
        typer.Argument(
            metavar="TASK",
            help="A name, with parameters behind a colon (mqar:pairs=8). [default: list all]",
            show_default=False,
        ),
    ] = None,
    length: Annotated[
        int | None, typer.Option(min=0, help="The length of the sample. [default: a short one]")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same sample.")] = 0,
    json: JsonOption = False,
) -> None:
    """List the tasks, or show one: its parameters, its source, and a sample.

    Train on one with: statespan probe --task TASK
    """
    from statespan.tasks import TASKS, task_from_text

    if task is not None:
        facts = {**_facts(made := task_from_text(task)), "sample": _sample(made, length, seed)}
        if json:
            print_json(facts)
        else:
            print_text(*_show(facts))
        return
    listed = [_facts(task_from_text(name)) for name in sorted(TASKS.names())]
    if json:
        print_json(listed)
        return
    width = max(len(facts["name"]) for facts in listed)
    for facts in listed:
        print_text(f"{facts['name']:{width}}  {facts['description']}")


def _facts(item: Task[Any]) -> dict[str, Any]:
    return {
        "name": item.name,
        "description": item.description,
        "parameters": dict(item.parameters),
        "source": item.source,
        "lengths": [list(bounds) for bounds in item.bins],
    }


def _sample(item: Task[Any], length: int | None, seed: int) -> list[tuple[str, str]]:
    """Return a sample as pairs of an input and what is right after it."""
    from random import Random

    bounds = item.bins[0] if length is None else (length, length)
    if length is None:
        shortest = next(n for n in range(bounds[0], bounds[1] + 1) if item.has_length(n))
        bounds = (shortest, min(bounds[1], shortest + SHOWN_LENGTHS))
    return item.show(item.sample(length=bounds, count=1, rng=Random(seed))[0])


def _show(facts: dict[str, Any]) -> list[str]:
    parameters = ", ".join(f"{key}={value}" for key, value in facts["parameters"].items())
    widths = [max(map(len, pair)) for pair in facts["sample"]]
    rows = [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in zip(*facts["sample"], strict=True)
    ]
    bins = ", ".join(f"{first}–{last}" for first, last in facts["lengths"])
    return [
        facts["name"],
        facts["description"],
        f"parameters: {parameters}",
        f"source: {facts['source']}",
        f"lengths, unless said: {bins}; the first train",
        f"  in:   {rows[0]}",
        f"  asks: {rows[1]}",
    ]
