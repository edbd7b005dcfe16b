"""`statespan judge`: what each architecture can express of a language, and why."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from statespan.cli.languages import AlphabetOption
from statespan.cli.output import JsonOption, print_json, print_text
from statespan.errors import InputError, LimitError

if TYPE_CHECKING:
    from statespan.algebra import Answer, ClassVerdict, Judgment
    from statespan.languages import Language

__all__ = ["judge"]

MARKS = {"yes": "+", "no": "-", "growing precision": "g", "open": "?"}


def judge(
    language: Annotated[
        str | None,
        typer.Argument(
            help="A name of the catalogue, an automaton's .json file, or a regular expression.",
            show_default=False,
        ),
    ] = None,
    alphabet: AlphabetOption = None,
    temporal: Annotated[
        bool, typer.Option("--temporal", help="LANGUAGE is a formula of past-time temporal logic.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="The whole catalogue against all architectures.")
    ] = False,
    draw: Annotated[
        Path | None,
        typer.Option(help="Write the automaton and the egg-box diagram to this SVG file."),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Decide by algebra what each architecture can express of a language.

    The task is predictive modeling: after each prefix, exactly the symbols that may follow, at
    every length.
    """
    if everything == (language is not None):
        raise InputError("judge takes one LANGUAGE, or --all.")
    if language is None:
        if draw is not None:
            raise InputError("--draw takes one LANGUAGE.")
        _judge_catalogue(json)
        return
    from statespan.algebra import draw_judgment
    from statespan.algebra import judge as decide
    from statespan.records import write_atomically

    judgment = decide(_language(language, alphabet, temporal=temporal))
    facts = _facts(judgment)
    if draw is not None:
        write_atomically(draw, draw_judgment(judgment).encode())
    if json:
        print_json(facts)
        return
    print_text(*_summary_lines(facts), "", _table(judgment), *_source_lines(judgment))
    if draw is not None:
        print_text(f"drawn: {draw}")


def _language(text: str, alphabet: str | None, *, temporal: bool) -> Language:
    from statespan.cli.languages import parse_language, split_alphabet
    from statespan.languages import Language

    if not temporal:
        return parse_language(text, alphabet)
    return Language.from_temporal(text, alphabet=split_alphabet(alphabet))


def _facts(judgment: Judgment) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "language": judgment.language.name,
        "alphabet": list(judgment.language.alphabet),
        "regular": judgment.language.is_regular,
        "star_free": judgment.star_free,
    }
    if judgment.language.is_regular and not judgment.facts.is_too_large:
        facts["witness"] = _witness_facts(judgment)
        facts["states"] = judgment.facts.num_states
        facts["monoid_size"] = _within_limit(lambda: judgment.monoid_size)
        facts["classes"] = {
            name: _within_limit(lambda name=name: _class_facts(judgment.classes[name]))
            for name in judgment.classes
        }
        facts["groups"] = _within_limit(lambda: _group_facts(judgment))
    facts["table"] = [
        {
            "architecture": cell.architecture.name,
            "eigenvalues": cell.architecture.eigenvalues,
            "models": list(cell.architecture.models),
            "verdict": cell.verdict,
            "fixed_width": _answer_facts(cell.answers.fixed),
            "growing_precision": _answer_facts(cell.answers.growing),
        }
        for cell in judgment.table
    ]
    return facts


def _within_limit(compute: Any) -> Any:
    """Return what `compute` gives, or the limit that it hit, so that nothing else is hidden."""
    try:
        return compute()
    except LimitError as error:
        return {"limit": str(error)}


def _witness_facts(judgment: Judgment) -> dict[str, Any] | None:
    witness = judgment.witness
    if witness is None:
        return None
    return {
        "word": list(witness.word),
        "state": witness.state,
        "period": witness.period,
        "prefix": list(witness.prefix),
        "suffix": list(witness.suffix),
        "is_shortest": witness.is_shortest,
    }


def _class_facts(verdict: ClassVerdict) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "holds": verdict.holds,
        "witness": None if verdict.witness is None else asdict(verdict.witness),
    }


def _group_facts(judgment: Judgment) -> dict[str, Any]:
    groups = judgment.groups
    return {
        "names": list(groups.names),
        "abelian": groups.is_abelian,
        "exponent_two": groups.has_exponent_two,
        "solvable": groups.is_solvable,
        "derived_length": groups.derived_length,
        "contains_A_5": groups.contains_alternating_5,
    }


def _answer_facts(answer: Answer) -> dict[str, Any]:
    return {
        "verdict": answer.verdict,
        "theorem": answer.theorem.key,
        "statement": answer.theorem.statement,
        "source": answer.theorem.source,
        "basis": answer.theorem.basis,
        "checked": answer.theorem.checked,
        "cost": answer.cost,
        "condition": answer.condition,
    }


def _summary_lines(facts: dict[str, Any]) -> list[str]:
    lines = [f"{facts['language']}: " + _star_free_text(facts)]
    if "states" not in facts:
        return lines
    witness = facts["witness"]
    if witness is not None:
        word, prefix, suffix = (_show(witness[key]) for key in ("word", "prefix", "suffix"))
        lines.append(
            f"witness: u = {word} moves state {witness['state']} around a cycle of "
            f"{witness['period']}, so {prefix} uⁿ {suffix} is a word or not by n mod "
            f"{witness['period']}"
        )
    size = facts["monoid_size"]
    shown = size if isinstance(size, int) else size["limit"]
    lines.append(f"minimal automaton: {facts['states']} states; syntactic monoid: {shown} elements")
    groups = facts["groups"]
    if groups.get("names"):
        length = groups["derived_length"]
        solvable = "not solvable" if length is None else f"solvable, derived length {length}"
        lines.append(f"groups: {', '.join(groups['names'])} ({solvable})")
    holds = [name for name, item in facts["classes"].items() if item.get("holds")]
    lines.append("classes: " + (", ".join(holds) or "none of those decided here"))
    undecided = [name for name, item in facts["classes"].items() if "limit" in item]
    if undecided:
        lines.append(f"not decided within the limits: {', '.join(undecided)}")
    return lines


def _star_free_text(facts: dict[str, Any]) -> str:
    if facts["star_free"] is None:
        return "not regular"
    return "star-free" if facts["star_free"] else "regular, not star-free"


def _show(symbols: list[str]) -> str:
    from statespan.languages import show_word
    from statespan.languages.symbols import is_single_character

    word = "".join(symbols) if is_single_character(tuple(symbols)) else tuple(symbols)
    return show_word(word)


def _table(judgment: Judgment) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("architecture", "fixed", "growing", "why", "cost, condition"):
        table.add_column(heading, no_wrap=heading in {"fixed", "growing"})
    for cell in judgment.table:
        fixed, growing = cell.answers
        answer = growing if fixed.verdict != growing.verdict else fixed
        notes = "; ".join(note for note in (answer.cost, answer.condition) if note)
        mark = {"theorem": "", "reasoning": " (ours)", "conjecture": " (open)"}
        why = answer.theorem.key + mark[answer.theorem.basis]
        name = f"{cell.architecture.name} ({', '.join(cell.architecture.models[:2])})"
        table.add_row(name, fixed.verdict, growing.verdict, why, notes)
    return table


def _source_lines(judgment: Judgment) -> list[str]:
    """Return each theorem that the table names, with its source."""
    used = {
        answer.theorem.key: answer.theorem for cell in judgment.table for answer in cell.answers
    }
    lines = [""]
    for theorem in used.values():
        recalled = "" if theorem.checked else " [recalled, not read again]"
        lines.append(f"{theorem.key}: {theorem.statement} ({theorem.source}){recalled}")
    return lines


def _judge_catalogue(json: bool) -> None:
    from statespan.algebra import ARCHITECTURES
    from statespan.algebra import judge as decide
    from statespan.languages import LANGUAGES, language

    judgments = [decide(language(name)) for name in sorted(LANGUAGES.names())]
    if json:
        print_json(
            [
                {
                    "language": item.language.name,
                    "star_free": item.star_free,
                    "table": {cell.architecture.name: cell.verdict for cell in item.table},
                }
                for item in judgments
            ]
        )
        return
    width = max(len(item.language.name) for item in judgments)
    numbers = " ".join(f"{number:2}" for number in range(1, len(ARCHITECTURES) + 1))
    print_text(f"{'':{width}} SF {numbers}")
    for item in judgments:
        star_free = {True: "+", False: "-", None: "n"}[item.star_free]
        marks = "  ".join(MARKS[cell.verdict] for cell in item.table)
        print_text(f"{item.language.name:{width}}  {star_free}  {marks}")
    print_text("", "SF: star-free; n: not regular")
    for number, family in enumerate(ARCHITECTURES, start=1):
        print_text(f"{number:2}: {family.name} ({', '.join(family.models)})")
    print_text("+ yes, - no: at every length; g: only with integers that grow; ?: open")
