"""The verdict: what each architecture can express of a language, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias, final

from statespan.algebra.analysis import Analysis, analyze
from statespan.algebra.aperiodic import CounterWitness
from statespan.algebra.classes import ClassVerdict
from statespan.algebra.facts import Facts
from statespan.algebra.group_classes import GroupSummary
from statespan.algebra.monoid import MONOID_LIMIT
from statespan.algebra.rules import ARCHITECTURES, Answers, Architecture
from statespan.languages import Language, language_from_text
from statespan.languages.automaton import DFA

__all__ = ["Cell", "Judgment", "Summary", "judge"]

Summary: TypeAlias = Literal["yes", "no", "growing precision", "open"]


@final
@dataclass(frozen=True, slots=True)
class Cell:
    """One architecture's answers to one language."""

    architecture: Architecture
    answers: Answers

    @property
    def verdict(self) -> Summary:
        """Both answers in one word.

        `yes` and `no` hold at both precisions. `growing precision` is known with integers that grow
        with the length, and at fixed width false or not known. Else the matter is `open`.
        """
        fixed, growing = self.answers.fixed.verdict, self.answers.growing.verdict
        if fixed == growing:
            return fixed
        return "growing precision" if growing == "yes" else "open"


@final
@dataclass(frozen=True, eq=False)
class Judgment:
    """All that can be said of a language; each attribute is computed when first read.

    A monoid over its limit never hides what is decided without it.

    Attributes:
        language: the language that was judged.
        analysis: its algebra.
    """

    language: Language
    analysis: Analysis

    @cached_property
    def facts(self) -> Facts:
        """What the rules ask about the language."""
        return Facts(self.language, self.analysis)

    @property
    def star_free(self) -> bool | None:
        """Whether the language is star-free; None if it is not regular."""
        return self.facts.star_free

    @property
    def witness(self) -> CounterWitness | None:
        """The hidden modular counter of a regular language that is not star-free."""
        return None if self.star_free is not False else self.analysis.witness

    @property
    def monoid_size(self) -> int:
        """The number of elements of the syntactic monoid.

        Raises:
            NotRegularError: the language is not regular.
            LimitError: the monoid is over its limit.
        """
        return self.analysis.monoid_size

    @property
    def classes(self) -> Mapping[str, ClassVerdict]:
        """Class name -> whether the language is in it, with a witness when it is not."""
        return self.analysis.classes

    @property
    def groups(self) -> GroupSummary:
        """The groups in the syntactic monoid."""
        return self.analysis.groups

    @cached_property
    def table(self) -> list[Cell]:
        """The answers of every family of architectures."""
        return [Cell(item, item.rule(self.facts)) for item in ARCHITECTURES]

    def cell(self, name: str) -> Cell:
        """Return the cell of the family called `name`, or that has the model `name`, and no other.

        Raises:
            KeyError: no family has that name, or that model.
        """
        for item in ARCHITECTURES:
            if name == item.name or name in item.models:
                return Cell(item, item.rule(self.facts))
        raise KeyError(name)


def judge(language: Language | DFA | str, *, monoid_limit: int = MONOID_LIMIT) -> Judgment:
    """Return what can be said of `language`: its algebra, and the verdict on each architecture.

    A string is a name of the catalogue, an automaton's file or an expression.

    Example:
        >>> judgment = judge("(aa)*")
        >>> judgment.star_free, judgment.witness.word, judgment.monoid_size
        (False, ('a',), 2)
        >>> judgment.cell("Mamba").verdict, judgment.cell("LSTM").verdict
        ('no', 'yes')
    """
    if isinstance(language, str):
        language = language_from_text(language)
    elif isinstance(language, DFA):
        language = Language.from_dfa(language)
    return Judgment(language, analyze(language, monoid_limit=monoid_limit))
