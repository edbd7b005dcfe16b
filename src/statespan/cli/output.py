"""What the verbs share: printing results, and a progress bar on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeAlias

import typer

__all__ = ["JsonOption", "print_json", "print_text", "progress_bar"]

JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print the result as one JSON value, for machines.")
]


def print_json(value: Any) -> None:
    """Print `value` as JSON on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def print_text(*parts: Any) -> None:
    """Print text and tables on standard output, without markup or highlighting."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 160
    for part in parts:
        if isinstance(part, str):
            sys.stdout.write(part + "\n")
        else:
            console.print(part)


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int, str], None]]:
    """Show a bar on standard error; a plain line every tenth where that is no terminal.

    Yields a function of (what is going on, steps done, steps in all, a remark).
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _print_tenths()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[remark]}"),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int, remark: str) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, remark=remark)
            progress.update(tasks[stage], completed=done, total=total, remark=remark)

        yield show


def _print_tenths() -> Callable[[str, int, int, str], None]:
    last: dict[str, int] = {}

    def show(stage: str, done: int, total: int, remark: str) -> None:
        tenth = 10 * done // max(1, total)
        if last.get(stage) != tenth:
            last[stage] = tenth
            sys.stderr.write(f"{stage}: {done}/{total} {remark}\n")

    return show
