"""The card of a compiled checkpoint: what it is, why it is possible, and what was checked."""

from __future__ import annotations

from statespan.compiler.certificate import Certificate
from statespan.compiler.manifest import Report
from statespan.compiler.verification import Verification
from statespan.languages import Language
from statespan.languages.symbols import show_symbols

__all__ = ["certificate_text", "model_card", "verification_lines"]


def model_card(
    report: Report,
    language: Language,
    verification: Verification | None,
    certificate: Certificate | None,
) -> str:
    """Return the card, in Markdown."""
    checked = ["Not run yet: `statespan compile … --verify`."]
    if verification is not None:
        checked = verification_lines(verification)
    proof = "Not asked for yet: `statespan certify FOLDER`."
    if certificate is not None:
        proof = certificate_text(certificate)
    lines = [
        "---",
        "library_name: transformers",
        "tags: [statespan, compiled, formal-languages]",
        "---",
        "",
        f"# {report.language}, compiled to {report.target}",
        "",
        *_about(report, language),
        "",
        "## Sizes",
        "",
        *(f"- {line}" for line in size_lines(report)),
        "",
        "## Verdict",
        "",
        f"Can {report.target} express the language? {report.verdict}.",
        "",
        "## Checked word by word",
        "",
        *checked,
        "",
        "## Proved for every length",
        "",
        proof,
        "",
    ]
    return "\n".join(lines)


def _about(report: Report, language: Language) -> list[str]:
    promise = "every prefix"
    if report.valid_prefixes_only:
        promise = "every prefix of a word of the language"
    ignored = "EOS and PAD are ignored"
    if report.valid_prefixes_only:
        ignored += " where a word may end"
    about = (
        f"The language is over the symbols {show_symbols(language.alphabet)}. The weights were not "
        f"trained: they were written down. After BOS and {promise}, the logit of a symbol is "
        "positive exactly if it may follow, and that of EOS exactly if the prefix is a word. BOS "
        f"begins anew, {ignored}."
    )
    return [about, *(["", *report.remarks] if report.remarks else [])]


def size_lines(report: Report) -> list[str]:
    """Return the sizes of a model, a line each."""
    lines = [
        (
            f"{_count(report.layers, 'layer')}, width {report.d_model}, state {report.d_state}, "
            f"{report.parameters:,} parameters, {report.dtype}"
        ),
        f"smallest distance of a logit from 0, as measured: {report.margin:g}",
    ]
    if report.levels is not None:
        lines.append(
            f"a cascade of {_count(report.levels, 'level')}: components with "
            f"{_numbers(report.components)} values and {_numbers(report.terms)} rules"
            + ("" if report.states is None else f", for {_count(report.states, 'state')}")
        )
    if report.max_count is not None:
        lines.append(f"counts are exact up to {report.max_count:,}")
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _numbers(values: list[int]) -> str:
    return ", ".join(map(str, values)) or "no"


def verification_lines(verification: Verification) -> list[str]:
    """Return what came out word by word, as a table in Markdown."""
    rows = [
        f"| {check.kind} | {check.words:,} | {check.positions:,} | {check.errors:,} |"
        for check in verification.checks
    ]
    summary = (
        f"{verification.positions:,} positions checked through the forward pass of `transformers`, "
        f"{verification.errors:,} errors; {verification.dtype}, smallest distance of a logit from "
        f"0: {verification.margin:g}."
    )
    return [
        summary,
        "",
        "| words | number | positions | errors |",
        "| --- | ---: | ---: | ---: |",
        *rows,
    ]


def certificate_text(certificate: Certificate) -> str:
    """Return what a certificate says, in a sentence or two."""
    of_what = {
        "states": "recurrent states of the whole model",
        "blocks": "recurrent states of the blocks",
        "diagrams": "recurrent states of single channels",
    }
    seen = (
        f"{certificate.states:,} {of_what[certificate.method]} and {certificate.transitions:,} "
        "steps were looked at"
    )
    if certificate.wrong:
        return f"Wrong: {seen}, and the model errs ({certificate.wrong[0].answer})."
    if certificate.closed:
        inputs = "prefix of a word" if certificate.valid_prefixes_only else "input"
        return (
            f"Closed: {seen}, and no {inputs} of any length leads to another. Every logit is "
            f"right, by at least {certificate.margin:g}."
        )
    if certificate.method == "diagrams":
        return f"Open: {seen}, but not all could be proved ({certificate.remark})."
    return f"Open: {seen}, all right, but there are more ({certificate.remark})."
