"""`statespan conformance`: an engine tried on checkpoints that never err."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from statespan.cli.output import JsonOption, print_json, print_text, progress_bar
from statespan.errors import InputError

if TYPE_CHECKING:
    from statespan.conformance import Report

__all__ = ["conformance"]


def conformance(
    engine: Annotated[
        str | None,
        typer.Argument(
            help="transformers, accelerated, extended, statespan, one from an entry point, or the "
            "address of a server with the OpenAI completions API.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="The folder of one certified checkpoint, in place of all.")
    ] = None,
    served: Annotated[
        str | None, typer.Option(help="What the server calls that checkpoint, if not by its name.")
    ] = None,
    checkpoint: Annotated[
        list[str] | None, typer.Option(help="A checkpoint of the kit; may be given several times.")
    ] = None,
    scenario: Annotated[
        list[str] | None, typer.Option(help="A scenario; may be given several times.")
    ] = None,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Deeper checkpoints, and rows of 100,000 tokens.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where checkpoints are made, and found the next time."),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Write checkpoints and expected answers to this folder, and no more."),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Only the table of families, in Markdown.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Try an engine on compiled checkpoints, whose right answer is known at every position.

    Exit code 1 if it breaks a promise. What it does not offer is said, and not taken for right.
    """
    from statespan.jobs.conformance import checkpoint_names, open_engine, try_engine

    if export is not None:
        _export(export, checkpoint or checkpoint_names(engine or "", thorough=thorough), json=json)
        return
    if engine is None:
        raise InputError("name an engine, or --export FOLDER. See statespan conformance --help.")
    if model is not None and checkpoint:
        raise InputError("give --model or --checkpoint, not both.")
    program = open_engine(engine, served=served)
    with progress_bar() as progress:
        report = try_engine(
            program, model=model, checkpoints=checkpoint or (), scenarios=scenario or (),
            thorough=thorough, folder=folder, progress=progress,
        )  # fmt: skip
    _print(report, json=json, markdown=markdown)
    if report.faults:
        raise typer.Exit(1)


def _print(report: Report, *, json: bool, markdown: bool) -> None:
    from statespan.conformance.table import (
        fault_lines,
        markdown_table,
        rich_table,
        summary_line,
    )

    if json:
        import msgspec

        print_json(msgspec.to_builtins(report))
    elif markdown:
        print_text(markdown_table(report))
    else:
        print_text(summary_line(report), rich_table(report), *fault_lines(report))


def _export(folder: Path, names: list[str], *, json: bool) -> None:
    from statespan.conformance.export import export_checkpoints

    with progress_bar() as progress:
        manifest = export_checkpoints(folder, names, progress=progress)
    if json:
        print_json(manifest)
    else:
        print_text(f"{len(names)} checkpoints with their answers in {folder}")
