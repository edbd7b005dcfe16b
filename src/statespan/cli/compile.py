"""`statespan compile` and `statespan certify`: exact weights, and the proof that they are right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statespan.cli.languages import AlphabetOption
from statespan.cli.output import JsonOption, print_json, print_text, progress_bar
from statespan.errors import InputError

if TYPE_CHECKING:
    from statespan.compiler import Certificate, CompiledModel, Verification

__all__ = ["certify", "compile_language"]


def compile_language(
    language: Annotated[
        str,
        typer.Argument(
            help="A name of the catalogue, an automaton's .json file, or a regular expression.",
            show_default=False,
        ),
    ],
    target: Annotated[str, typer.Option(help="mamba, mamba2, diagonal or olmo-hybrid.")] = "mamba",
    out: Annotated[
        Path | None, typer.Option(help="The folder of the checkpoint: new, empty, or one of these.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32 or bfloat16.")] = "float32",
    form: Annotated[
        str,
        typer.Option(
            help="cascade, closed (the paper's construction), or auto: a cascade if there is one."
        ),
    ] = "auto",
    robust: Annotated[
        bool, typer.Option("--robust", help="Weights that survive noise (mamba only).")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Check it word by word through transformers' own forward."),
    ] = False,
    long_length: Annotated[
        int, typer.Option(help="The length of the longest words of --verify.", min=1)
    ] = 1_000_000,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say in words what each pass made.")
    ] = False,
    draw: Annotated[
        Path | None, typer.Option(help="Draw automaton, cascade and layers to this SVG file.")
    ] = None,
    alphabet: AlphabetOption = None,
    temporal: Annotated[
        bool, typer.Option("--temporal", help="LANGUAGE is a formula of past-time temporal logic.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Write weights that never err: from a language to a checkpoint of transformers.

    After BOS and any prefix, the logit of a symbol is positive exactly if it may follow.
    """
    from statespan.compiler import compile as compile_exactly
    from statespan.records import write_atomically

    compiled = compile_exactly(
        read_language(language, alphabet, temporal=temporal),
        target,
        dtype=dtype,
        form=form,  # type: ignore[arg-type]
        robust=robust,
        formula=language if temporal else None,
    )
    if draw is not None:
        write_atomically(draw, compiled.draw().encode())
    if out is not None:
        compiled.save_pretrained(out)
    verification = None
    if verify:
        with progress_bar() as progress:
            verification = compiled.verify(long_length=long_length, progress=progress)
        if out is not None:
            compiled.save_pretrained(out, verification=verification)
    if json:
        explanation = {"explanation": compiled.explain()} if explain else {}
        print_json({**_facts(compiled, verification, out), **explanation})
    else:
        _print(compiled, verification, out, explain=explain)
        if draw is not None:
            print_text(f"drawn: {draw}")
    if verification is not None and verification.errors:
        raise typer.Exit(1)


def read_language(text: str, alphabet: str | None, *, temporal: bool) -> Any:
    """Return the language of an argument: a name, a file, an expression, or a formula."""
    from statespan.cli.languages import parse_language, split_alphabet
    from statespan.languages import Language

    if temporal:
        return Language.from_temporal(text, alphabet=split_alphabet(alphabet))
    return parse_language(text, alphabet)


def _facts(
    compiled: CompiledModel, verification: Verification | None, out: Path | None
) -> dict[str, Any]:
    import msgspec

    facts: dict[str, Any] = msgspec.to_builtins(compiled.report)
    facts["folder"] = None if out is None else str(out)
    if verification is not None:
        facts["verification"] = msgspec.to_builtins(verification)
    return facts


def _print(
    compiled: CompiledModel,
    verification: Verification | None,
    out: Path | None,
    *,
    explain: bool,
) -> None:
    from statespan.compiler.card import size_lines, verification_lines

    report = compiled.report
    print_text(f"{report.language}, compiled to {report.target} ({report.form})")
    print_text(*(f"  {line}" for line in size_lines(report)))
    print_text(*(f"  {line}" for line in report.remarks))
    print_text(f"  verdict: {report.verdict}")
    if explain:
        print_text("", compiled.explain())
    if verification is not None:
        print_text("", *verification_lines(verification))
    if out is not None:
        print_text("", f"written to {out}")


def certify(
    folder: Annotated[Path, typer.Argument(help="A folder that `statespan compile` wrote.")],
    state_limit: Annotated[
        int, typer.Option(help="States of the whole model, before going block by block.", min=0)
    ] = 20_000,
    block_limit: Annotated[int, typer.Option(help="States of all blocks.", min=1)] = 1_000_000,
    json: JsonOption = False,
) -> None:
    """Prove that a compiled checkpoint is right at every length, or find where it errs.

    Runs transformers' own forward one token at a time until no new recurrent state comes up.
    Exit code 1 if it errs, or if the search does not end within the limits.
    """
    from statespan.compiler import certify as certify_folder

    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}.")
    with progress_bar() as progress:
        certificate = certify_folder(
            folder, state_limit=state_limit, block_limit=block_limit, progress=progress
        )
    if json:
        import msgspec

        print_json({**msgspec.to_builtins(certificate), "proves": certificate.proves})
    else:
        _print_certificate(certificate, folder)
    if not certificate.proves:
        raise typer.Exit(1)


def _print_certificate(certificate: Certificate, folder: Path) -> None:
    from statespan.compiler.card import certificate_text
    from statespan.compiler.manifest import read_manifest

    print_text(certificate_text(certificate))
    spelled = ["BOS", "EOS", "PAD", *read_manifest(folder).alphabet]
    for wrong in certificate.wrong:
        if wrong.tokens:
            tokens = " ".join(spelled[token] for token in wrong.tokens)
            answer = spelled[int(wrong.answer)]
            print_text(f"  after {tokens}: the logit of {answer} is {wrong.logit:g}")
        else:
            print_text(f"  {wrong.answer}")
