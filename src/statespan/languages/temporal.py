r"""Past-time linear temporal logic: another way to write a star-free language.

Grammar, loosest first::

    formula     = disjunction ("->" formula)?
    disjunction = conjunction ("|" conjunction)*
    conjunction = since ("&" since)*
    since       = unary ("S" unary)*               (to the left: a S b S c is (a S b) S c)
    unary       = ("!" | "Y" | "O" | "H") unary | atom
    atom        = "(" formula ")" | "true" | "false" | "first" | "<name>" | "\" character
                | character

A formula speaks of a position of a word. A symbol holds where it stands; `first` holds at the
first position. `Y f` (yesterday): there is a previous position and f holds there. `O f` (once): f
holds here or at an earlier position. `H f` (historically): f holds here and at all earlier
positions. `f S g` (since): g holds here or earlier, and f at every position after that one.

A nonempty word is in the language if the formula holds at its last position. The empty word has
no position; it is in the language if the formula holds before any symbol was read, where symbols,
`first`, Y, O and S are false, `true` and H are true, and `!`, `&`, `|`, `->` mean what they always
do. So `!a` holds of the empty word, and `!a & O true` does not.

Blanks are skipped. The characters ``Y O H S ! & | - > ( ) < \`` and blanks are symbols only in
`<…>` or after a backslash; so are the words true, false and first, where they stand alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from statespan.languages.automaton import DFA, determinize, minimize
from statespan.languages.scanner import MAX_NESTED, Scanner, choose_alphabet

__all__ = ["Formula", "dfa_from_temporal", "formula_symbols", "parse_temporal"]


@dataclass(frozen=True, slots=True)
class Atom:
    """The symbol `name` stands here."""

    name: str


@dataclass(frozen=True, slots=True)
class Constant:
    """True or false."""

    value: bool


@dataclass(frozen=True, slots=True)
class First:
    """This is the first position."""


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Formula


@dataclass(frozen=True, slots=True)
class And:
    """Both parts hold."""

    left: Formula
    right: Formula


@dataclass(frozen=True, slots=True)
class Or:
    """One of the parts holds."""

    left: Formula
    right: Formula


@dataclass(frozen=True, slots=True)
class Yesterday:
    """There is a previous position, and the part holds there."""

    part: Formula


@dataclass(frozen=True, slots=True)
class Once:
    """The part holds here or at an earlier position."""

    part: Formula


@dataclass(frozen=True, slots=True)
class Historically:
    """The part holds here and at all earlier positions."""

    part: Formula


@dataclass(frozen=True, slots=True)
class Since:
    """`right` holds here or at an earlier position, and `left` at every position after it."""

    left: Formula
    right: Formula


Formula: TypeAlias = (
    Atom | Constant | First | Not | And | Or | Yesterday | Once | Historically | Since
)

_WORDS: dict[str, Formula] = {"true": Constant(True), "false": Constant(False), "first": First()}
_PREFIXES: dict[str, Callable[[Formula], Formula]] = {
    "!": Not,
    "Y": Yesterday,
    "O": Once,
    "H": Historically,
}
_WORD = re.compile(r"\w+")


def parse_temporal(text: str) -> Formula:
    """Return the syntax tree of the formula `text`.

    Raises:
        ExpressionError: `text` does not parse; the message points at the position.

    Example:
        >>> parse_temporal("Y a")
        Yesterday(part=Atom(name='a'))
    """
    parser = _Parser(text)
    formula = parser.formula()
    if (character := parser.peek()) == ")":
        raise parser.error("this closing parenthesis was never opened")
    if character:
        raise parser.error("an operator (& | -> S) is missing before this")
    return formula


@dataclass(slots=True)
class _Parser(Scanner):
    def peek(self) -> str:
        while self.text[self.position : self.position + 1].isspace():
            self.position += 1
        return self.text[self.position : self.position + 1]

    def formula(self) -> Formula:
        opened = self.position
        self.depth += 1
        if self.depth > MAX_NESTED:
            raise self.error(f"formulas are nested more than {MAX_NESTED} deep", opened)
        left = self.disjunction()
        if self.take("->"):
            left = Or(Not(left), self.formula())
        self.depth -= 1
        return left

    def disjunction(self) -> Formula:
        left = self.conjunction()
        while self.take("|"):
            left = Or(left, self.conjunction())
        return left

    def conjunction(self) -> Formula:
        left = self.since()
        while self.take("&"):
            left = And(left, self.since())
        return left

    def since(self) -> Formula:
        left = self.unary()
        while self.take("S"):
            left = Since(left, self.unary())
        return left

    def unary(self) -> Formula:
        prefixes: list[Callable[[Formula], Formula]] = []
        while (character := self.peek()) in _PREFIXES and character:
            if len(prefixes) == MAX_NESTED:
                raise self.error(f"more than {MAX_NESTED} prefixes stand in a row")
            prefixes.append(_PREFIXES[character])
            self.position += 1
        formula = self.atom()
        for prefix in reversed(prefixes):
            formula = prefix(formula)
        return formula

    def atom(self) -> Formula:
        character = self.peek()
        opened = self.position
        word = _WORD.match(self.text, opened)
        if word is not None and word[0] in _WORDS:
            self.position = word.end()
            return _WORDS[word[0]]
        self.position += 1
        match character:
            case "":
                raise self.error("something is missing here: a symbol or a formula", opened)
            case "(":
                formula = self.formula()
                if not self.take(")"):
                    raise self.error("this parenthesis is never closed", opened)
                return formula
            case "<":
                return Atom(self.named(opened))
            case "\\":
                return Atom(self.escaped(opened))
            case "S" | "&" | "|" | "-" | ")":
                raise self.error(f"a formula is missing before {character!r}", opened)
            case ">":
                raise self.error("'>' closes nothing (as a symbol: \\>)", opened)
        return Atom(character)


def _parts(formula: Formula) -> tuple[Formula, ...]:
    match formula:
        case Atom() | Constant() | First():
            return ()
        case Not(part) | Yesterday(part) | Once(part) | Historically(part):
            return (part,)
        case And(left, right) | Or(left, right) | Since(left, right):
            return (left, right)


def _subformulas(formula: Formula) -> list[Formula]:
    """Return all subformulas without repeats, parts before wholes."""
    seen: dict[Formula, None] = {}

    def visit(part: Formula) -> None:
        if part not in seen:
            for inner in _parts(part):
                visit(inner)
            seen[part] = None

    visit(formula)
    return list(seen)


def formula_symbols(formula: Formula) -> set[str]:
    """Return the symbols that are written in `formula`."""
    return {part.name for part in _subformulas(formula) if isinstance(part, Atom)}


def dfa_from_temporal(text: str, alphabet: Sequence[str] | None = None) -> DFA:
    """Return the minimal automaton of the words whose last position satisfies the formula `text`.

    A state of the automaton is the truth of each subformula at the last position. The alphabet is
    the symbols used, sorted, unless `alphabet` is given.

    Raises:
        ExpressionError: `text` does not parse.
        SymbolError: `text` uses a symbol outside `alphabet`, or none at all without `alphabet`.
        LimitError: the automaton has more than 200,000 states before it is made minimal.

    Example:
        >>> dfa_from_temporal("!(O (b & Y b)) & O true", "ab").num_states
        4
    """
    formula = parse_temporal(text)
    symbols = choose_alphabet(formula_symbols(formula), alphabet, kind="formula", text=text)
    order = _subformulas(formula)
    place = {part: index for index, part in enumerate(order)}

    def step(state: _State, symbol: int) -> _State:
        return _State(True, _truths(order, place, state, symbols[symbol]))

    start = _State(False, _truths(order, place, None, None))
    return minimize(determinize(symbols, start, step, lambda state: state.truths[-1]))


@dataclass(frozen=True, slots=True)
class _State:
    """The truth of each subformula at the last position, if there is one, or before any symbol."""

    has_position: bool
    truths: tuple[bool, ...]


def _truths(
    order: Sequence[Formula],
    place: dict[Formula, int],
    before: _State | None,
    symbol: str | None,
) -> tuple[bool, ...]:
    """Return the truth of each formula of `order` at the position after `before`.

    `before` and `symbol` are None for the truth before any symbol.
    """
    here: list[bool] = []

    def earlier(part: Formula) -> bool:
        return before is not None and before.truths[place[part]]

    for formula in order:
        inner: Iterator[bool] = (here[place[part]] for part in _parts(formula))
        match formula:
            case Atom(name):
                value = name == symbol
            case Constant(constant):
                value = constant
            case First():
                value = before is not None and not before.has_position
            case Not():
                value = not next(inner)
            case And():
                value = all(inner)
            case Or():
                value = any(inner)
            case Yesterday(part):
                value = before is not None and before.has_position and earlier(part)
            case Once():
                value = before is not None and (next(inner) or earlier(formula))
            case Historically():
                value = before is None or (next(inner) and earlier(formula))
            case Since():
                left, right = inner
                value = before is not None and (right or (left and earlier(formula)))
        here.append(value)
    return tuple(here)
