"""What algebra says of a target and a language, in words; and the error where it says no."""

from __future__ import annotations

from statespan.algebra import Judgment
from statespan.compiler.targets.target import TARGETS, Target
from statespan.errors import NotExpressibleError
from statespan.languages import show_word
from statespan.languages.symbols import to_word

__all__ = ["refuse", "verdict_text", "witness_text"]


def verdict_text(judgment: Judgment, target: Target) -> str:
    """Return the verdict on the target's family, with the theorem that it rests on."""
    fixed, growing = judgment.cell(target.family).answers
    answer = growing if fixed.verdict == "no" and growing.verdict != "no" else fixed
    precision = "" if fixed.verdict == growing.verdict else " with integers that grow"
    theorem = answer.theorem
    return f"{answer.verdict}{precision}, by {theorem.key}: {theorem.statement} ({theorem.source})"


def witness_text(judgment: Judgment) -> str:
    """Return the hidden counter of a language that is not star-free, in words; else nothing."""
    witness = judgment.witness
    if witness is None:
        return ""
    alphabet = judgment.language.alphabet
    word, prefix, suffix = (
        show_word(to_word(part, alphabet))
        for part in (witness.word, witness.prefix, witness.suffix)
    )
    return (
        f" Witness: u = {word} moves state {witness.state} of the minimal automaton around a cycle "
        f"of {witness.period}, so {prefix} uⁿ {suffix} is a word or not by n mod {witness.period}."
    )


def refuse(judgment: Judgment, target: Target) -> None:
    """Stop where the target cannot express the language, whatever the precision.

    Raises:
        NotExpressibleError: with the verdict, the witness, and the targets that can.
    """
    fixed, growing = judgment.cell(target.family).answers
    if "no" not in {fixed.verdict, growing.verdict} or growing.verdict in {"yes", "open"}:
        return
    raise NotExpressibleError(
        f"{target.name} cannot express {judgment.language.name}: "
        f"{verdict_text(judgment, target)}.{witness_text(judgment)}{_others(judgment)}"
    )


def _others(judgment: Judgment) -> str:
    able = [
        name
        for name in TARGETS.names()
        if judgment.cell(TARGETS.get(name).family).answers.growing.verdict == "yes"
    ]
    return f" Targets that can: {', '.join(able)}." if able else ""
