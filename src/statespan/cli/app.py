"""The program `statespan`: results to standard output, words to standard error.

Exit codes: 0, done; 1, the work failed; 2, wrong usage or input.
"""

from __future__ import annotations

import errno
import os
import sys
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from statespan.cli import compile as compiler
from statespan.cli import (
    conformance,
    doctor,
    evaluate,
    extend,
    judge,
    languages,
    pretrain,
    probe,
    refute,
    report,
    sweep,
    tasks,
)
from statespan.errors import StatespanError

__all__ = ["app", "main"]

app = typer.Typer(
    rich_markup_mode="markdown",  # in "rich", brackets in a help text are markup, and vanish
    name="statespan",
    help="What a sequence model's state can hold, and how to make it hold more.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(languages.app, name="languages")
app.command("tasks")(tasks.tasks)
app.command("judge")(judge.judge)
app.command("compile")(compiler.compile_language)
app.command("certify")(compiler.certify)
app.command("conformance")(conformance.conformance)
app.command("probe")(probe.probe)
app.command("sweep")(sweep.sweep)
app.command("refute")(refute.refute)
app.command("extract")(refute.extract)
app.command("pretrain")(pretrain.pretrain)
app.command("extend")(extend.extend)
app.command("evaluate")(evaluate.evaluate)
app.command("report")(report.report)
app.command("doctor")(doctor.doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"statespan {version('statespan')}\n")
        raise typer.Exit


@app.callback(result_callback=lambda *_, **__: sys.stdout.flush())
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    """What a sequence model's state can hold, and how to make it hold more."""
    del version


def main() -> NoReturn:
    """Run the program and exit with its code; an expected error is one message, no traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(standalone_mode=True)
    except StatespanError as error:
        sys.stderr.write(f"statespan: {error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115
        sys.stderr.write(f"statespan: cannot write the result: {error.strerror}.\n")
        sys.exit(1)
    sys.exit(0)
