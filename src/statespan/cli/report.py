"""`statespan report`: one page of many runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from statespan.cli.output import JsonOption, print_json, print_text

__all__ = ["report"]


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUNS...",
            help="Run directories, folders of them, or files of records.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", "--output", help="The file of HTML to write.")
    ] = Path("report.html"),
    title: Annotated[str, typer.Option(help="What stands above the page.")] = "statespan",
    json: JsonOption = False,
) -> None:
    """Write one page of HTML, without a network: theory beside measurement, pictures, tables.

    It is drawn from the records of the runs alone, and can be made again at any time.
    """
    from statespan import jobs

    result = jobs.report(runs, out, title=title)
    for path in result.unfinished:
        sys.stderr.write(f"left out, for it is not finished: {path}\n")
    if json:
        unfinished = [str(path) for path in result.unfinished]
        print_json({"page": str(result.page), "runs": result.runs, "unfinished": unfinished})
    else:
        print_text(f"{result.runs} runs: {result.page}")
