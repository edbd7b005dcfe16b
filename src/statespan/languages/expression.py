r"""Regular expressions of the field, and their automata.

Grammar, loosest first::

    expression  = intersection ("|" intersection)*
    intersection = sequence ("&" sequence)*
    sequence    = factor*                        (nothing at all is the empty word)
    factor      = "~" factor | atom postfix*     (so ~a* is the complement of a*)
    postfix     = "*" | "+" | "?" | "{m}" | "{m,}" | "{m,n}" | "{,n}"
    atom        = "(" expression ")" | "." | "<name>" | "\" character | character

`.` is any one symbol of the alphabet and `~` the complement among all words over it, so both
depend on the alphabet. Blanks are symbols like any other character, unless they stand in `<…>`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from statespan.errors import ExpressionError, LimitError
from statespan.languages.automaton import DFA, complement, determinize, minimize, product
from statespan.languages.scanner import MAX_NESTED, Scanner, choose_alphabet
from statespan.languages.symbols import Alphabet

__all__ = ["Expression", "dfa_from_expression", "expression_symbols", "parse_expression"]

MAX_REPEAT = 10_000
TOO_DEEP = "parentheses and repetitions are nested too deeply"
MAX_NFA_STATES = 1_000_000
OPERATORS = frozenset("|&~*+?{}().<>\\")


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol."""

    name: str


@dataclass(frozen=True, slots=True)
class AnySymbol:
    """Any one symbol of the alphabet."""


@dataclass(frozen=True, slots=True)
class Sequenced:
    """One part after the other; the empty word when there is none."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Union:
    """At least one of the parts."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Intersection:
    """All of the parts."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Complement:
    """Every word over the alphabet but those of the part."""

    part: Expression


@dataclass(frozen=True, slots=True)
class Repeat:
    """The part, `low` to `high` times; any number from `low` on when `high` is None."""

    part: Expression
    low: int
    high: int | None


Expression: TypeAlias = Symbol | AnySymbol | Sequenced | Union | Intersection | Complement | Repeat


def parse_expression(text: str) -> Expression:
    """Return the syntax tree of `text`.

    Raises:
        ExpressionError: `text` does not parse; the message points at the position.
    """
    parser = _Parser(text)
    try:
        tree = parser.expression()
    except RecursionError:
        raise parser.error(TOO_DEEP) from None
    if parser.position < len(text):
        raise parser.error("this closing parenthesis was never opened")
    return tree


@dataclass(slots=True)
class _Parser(Scanner):
    def expression(self) -> Expression:
        parts = [self.intersection()]
        while self.take("|"):
            parts.append(self.intersection())
        return parts[0] if len(parts) == 1 else Union(tuple(parts))

    def intersection(self) -> Expression:
        parts = [self.sequence()]
        while self.take("&"):
            parts.append(self.sequence())
        return parts[0] if len(parts) == 1 else Intersection(tuple(parts))

    def sequence(self) -> Expression:
        parts: list[Expression] = []
        while (character := self.peek()) and character not in "|&)":
            parts.append(self.factor())
        return parts[0] if len(parts) == 1 else Sequenced(tuple(parts))

    def factor(self) -> Expression:
        negations = 0
        while self.take("~"):
            negations += 1
        tree = self.atom()
        repetitions = 0
        while (repeated := self.postfix(tree)) is not None:
            tree = repeated
            repetitions += 1
            if repetitions > MAX_NESTED:
                raise self.error(f"more than {MAX_NESTED} repetitions stand in a row")
        return Complement(tree) if negations % 2 else tree

    def postfix(self, tree: Expression) -> Expression | None:
        bounds = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if (character := self.peek()) in bounds and character:
            self.position += 1
            return Repeat(tree, *bounds[character])
        return Repeat(tree, *self.counts()) if character == "{" else None

    def counts(self) -> tuple[int, int | None]:
        opened = self.position
        closed = self.text.find("}", opened)
        if closed < 0:
            raise self.error("this brace is never closed")
        first, comma, last = self.text[opened + 1 : closed].partition(",")
        numbers = [first.strip(), last.strip()] if comma else [first.strip()]
        valid = any(numbers) and all(
            n == "" or (n.isascii() and n.isdigit() and len(n) < 10) for n in numbers
        )
        if not valid:
            raise self.error("a repetition is {m}, {m,}, {m,n} or {,n} with whole numbers")
        low = int(numbers[0] or 0)
        high = (int(numbers[1]) if numbers[1] else None) if comma else low
        if high is not None and high < low:
            raise self.error(f"a repetition needs m ≤ n, got {low} and {high}")
        if max(low, high or 0) > MAX_REPEAT:
            raise self.error(f"a repetition count is at most {MAX_REPEAT}")
        self.position = closed + 1
        return low, high

    def atom(self) -> Expression:
        opened = self.position
        character = self.peek()
        if not character:
            raise self.error("something is missing here: a symbol, '.' or a group")
        self.position += 1
        match character:
            case "(":
                return self.group(opened)
            case ".":
                return AnySymbol()
            case "<":
                return Symbol(self.named(opened))
            case "\\":
                return Symbol(self.escaped(opened))
            case "*" | "+" | "?" | "{":
                raise self.error(f"{character!r} has nothing to repeat", opened)
            case "|" | "&" | ")":
                raise self.error(f"a symbol is missing before {character!r}", opened)
            case "}" | ">":
                raise self.error(
                    f"{character!r} closes nothing (as a symbol: \\{character})", opened
                )
        return Symbol(character)

    def group(self, opened: int) -> Expression:
        self.depth += 1
        if self.depth > MAX_NESTED:
            raise self.error(f"parentheses are nested more than {MAX_NESTED} deep", opened)
        tree = self.expression()
        self.depth -= 1
        if not self.take(")"):
            raise self.error("this parenthesis is never closed", opened)
        return tree


def expression_symbols(tree: Expression) -> set[str]:
    """Return the symbols that are written in `tree`."""
    match tree:
        case Symbol(name):
            return {name}
        case AnySymbol():
            return set()
        case Complement(part) | Repeat(part):
            return expression_symbols(part)
        case Sequenced(parts) | Union(parts) | Intersection(parts):
            return set().union(*map(expression_symbols, parts))


def dfa_from_expression(text: str, alphabet: Sequence[str] | None = None) -> DFA:
    """Return the minimal automaton of the words that `text` describes.

    The alphabet is the symbols used, sorted, unless `alphabet` is given.

    Raises:
        ExpressionError: `text` does not parse.
        SymbolError: `text` uses a symbol outside `alphabet`, or none at all without `alphabet`.
        LimitError: an automaton on the way has more than 200,000 states.
    """
    tree = parse_expression(text)
    try:
        used = expression_symbols(tree)
    except RecursionError:
        raise ExpressionError(TOO_DEEP, text, 0) from None
    symbols = choose_alphabet(used, alphabet, kind="expression", text=text)
    try:
        return _dfa(tree, symbols)
    except RecursionError:
        raise ExpressionError(TOO_DEEP, text, 0) from None


@dataclass(slots=True)
class _NFA:
    """Edges by state: `on[state][symbol id]` and the spontaneous ones."""

    alphabet: Alphabet
    on: list[dict[int, list[int]]] = field(default_factory=list)
    spontaneous: list[list[int]] = field(default_factory=list)

    def state(self) -> int:
        if len(self.on) >= MAX_NFA_STATES:
            raise LimitError(f"the expression needs more than {MAX_NFA_STATES:,} states.")
        self.on.append({})
        self.spontaneous.append([])
        return len(self.on) - 1

    def link(self, source: int, target: int) -> None:
        self.spontaneous[source].append(target)

    def read(self, source: int, symbol: int, target: int) -> None:
        self.on[source].setdefault(symbol, []).append(target)

    def closure(self, states: Iterator[int]) -> frozenset[int]:
        seen = set(states)
        frontier = list(seen)
        while frontier:
            fresh = [s for s in self.spontaneous[frontier.pop()] if s not in seen]
            seen.update(fresh)
            frontier.extend(fresh)
        return frozenset(seen)


def _dfa(tree: Expression, alphabet: Alphabet) -> DFA:
    match tree:
        case Complement(part):
            return minimize(complement(_dfa(part, alphabet)))
        case Intersection(parts):
            result = _dfa(parts[0], alphabet)
            for part in parts[1:]:
                both = product(result, _dfa(part, alphabet), lambda left, right: left and right)
                result = minimize(both)
            return result
    nfa = _NFA(alphabet)
    start, end = nfa.state(), nfa.state()
    _build(nfa, tree, start, end)
    return minimize(
        determinize(
            alphabet,
            nfa.closure(iter((start,))),
            lambda states, symbol: nfa.closure(
                target for state in states for target in nfa.on[state].get(symbol, ())
            ),
            lambda states: end in states,
        )
    )


def _build(nfa: _NFA, tree: Expression, start: int, end: int) -> None:
    """Add edges to `nfa` so that exactly the words of `tree` lead from `start` to `end`."""
    match tree:
        case Symbol(name):
            nfa.read(start, nfa.alphabet.index(name), end)
        case AnySymbol():
            for symbol in range(len(nfa.alphabet)):
                nfa.read(start, symbol, end)
        case Sequenced(parts):
            for part in parts:
                following = nfa.state()
                _build(nfa, part, start, following)
                start = following
            nfa.link(start, end)
        case Union(parts):
            for part in parts:
                first, last = nfa.state(), nfa.state()
                nfa.link(start, first)
                _build(nfa, part, first, last)
                nfa.link(last, end)
        case Repeat(part, low, high):
            _build_repeat(nfa, part, low, high, start, end)
        case Complement() | Intersection():
            _embed(nfa, _dfa(tree, nfa.alphabet), start, end)


def _build_repeat(
    nfa: _NFA, part: Expression, low: int, high: int | None, start: int, end: int
) -> None:
    for _ in range(low if high is not None else max(0, low - 1)):
        following = nfa.state()
        _build(nfa, part, start, following)
        start = following
    if high is None:
        loop, back = nfa.state(), nfa.state()
        nfa.link(start, loop)
        _build(nfa, part, loop, back)
        nfa.link(back, loop)
        nfa.link(back, end)
        if low == 0:
            nfa.link(start, end)
        return
    for _ in range(high - low):
        nfa.link(start, end)
        following = nfa.state()
        _build(nfa, part, start, following)
        start = following
    nfa.link(start, end)


def _embed(nfa: _NFA, dfa: DFA, start: int, end: int) -> None:
    states = [nfa.state() for _ in dfa.transitions]
    nfa.link(start, states[dfa.start])
    for source, row in enumerate(dfa.transitions):
        for symbol, target in enumerate(row):
            nfa.read(states[source], symbol, states[target])
    for state in dfa.accepting:
        nfa.link(states[state], end)
