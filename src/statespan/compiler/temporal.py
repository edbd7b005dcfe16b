"""From a formula of past-time temporal logic to a cascade, operator by operator.

An operator that looks back is a memory of one bit: S, O and H remember whether they hold, and Y
remembers whether its part does. After a symbol, what a formula says is a function of the symbol
and of what its memories held before it, so a memory is driven by the symbol and the earlier bits
of the memories inside its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, final

from statespan.compiler.assembly import assemble, labels_of_states
from statespan.compiler.cascade import Cascade
from statespan.compiler.encoding import Encoding
from statespan.compiler.realization import Realization, realize
from statespan.compiler.simplification import simplify
from statespan.compiler.work import SEARCH_STEPS, Work
from statespan.errors import LimitError
from statespan.languages.automaton import DFA
from statespan.languages.temporal import (
    And,
    Atom,
    Constant,
    First,
    Formula,
    Historically,
    Not,
    Once,
    Or,
    Since,
    Yesterday,
    dfa_from_temporal,
    parse_temporal,
)

__all__ = ["cascade_from_temporal"]

MEMORY_LIMIT = 50_000

Memories: TypeAlias = tuple[bool, ...]
"""The bit of each memory, and last whether the whole formula holds."""


def cascade_from_temporal(formula: str, alphabet: Sequence[str] | None = None) -> Cascade:
    """Return a cascade of the words whose last position satisfies `formula`.

    A component for each operator that looks back, fewer where they turn out to be needless. The
    alphabet is the symbols used, sorted, unless `alphabet` is given. See
    `statespan.languages.temporal` for the grammar.

    Raises:
        ExpressionError: `formula` does not parse.
        SymbolError: `formula` uses a symbol outside `alphabet`, or none at all without `alphabet`.
        LimitError: its memories reach more than 50,000 values, or need too many terms.

    Example:
        >>> cascade = cascade_from_temporal("!(O (b & Y b)) & O true", "ab")
        >>> cascade.num_levels
        2
    """
    dfa = dfa_from_temporal(formula, alphabet)
    encoding = _encode(_Memory(parse_temporal(formula)), dfa)
    work = Work(SEARCH_STEPS)
    found: Realization | None = None
    for candidate in (encoding.without(len(encoding.sizes) - 1), encoding):
        found = found or realize(candidate, moves="none", limit=MEMORY_LIMIT, work=work)
    assert found is not None, "a memory is a function of the symbol and of earlier bits"
    best = simplify(found, moves="none", limit=MEMORY_LIMIT, work=work)
    return assemble(dfa, best, [[letter] for letter in range(len(dfa.alphabet))])


def _encode(memory: _Memory, dfa: DFA) -> Encoding:
    """Return the memories of a formula as an encoding; a node is what they hold."""
    _, labels = labels_of_states(dfa)
    start = memory.start()
    ids = {start: 0}
    order = [(start, dfa.start)]
    targets: list[list[int]] = []
    for held, state in order:
        row = []
        for letter, symbol in enumerate(dfa.alphabet):
            following = memory.step(held, symbol)
            if following not in ids:
                if len(order) >= MEMORY_LIMIT:
                    raise LimitError(
                        f"the memories of the formula reach more than {MEMORY_LIMIT:,} values."
                    )
                ids[following] = len(order)
                order.append((following, dfa.transitions[state][letter]))
            row.append(ids[following])
        targets.append(row)
    rows = [tuple(map(int, held)) for held, _ in order]
    return Encoding(targets, [labels[state] for _, state in order], rows)


@final
class _Memory:
    """The memories of a formula, those of parts before those of wholes."""

    def __init__(self, formula: Formula) -> None:
        self.formula = formula
        self.place: dict[Formula, int] = {}
        self._collect(formula)

    def _collect(self, formula: Formula) -> None:
        match formula:
            case Not(part) | Yesterday(part) | Once(part) | Historically(part):
                self._collect(part)
            case And(left, right) | Or(left, right) | Since(left, right):
                self._collect(left)
                self._collect(right)
            case Atom() | Constant() | First():
                pass
        if isinstance(formula, First | Yesterday | Once | Historically | Since):
            self.place.setdefault(formula, len(self.place))

    def start(self) -> Memories:
        """Return what is held before any symbol."""
        bits = [isinstance(formula, Historically) for formula in self.place]
        before = (*bits, False)
        return (*bits, self._holds_at_start(self.formula, before))

    def _holds_at_start(self, formula: Formula, before: Memories) -> bool:
        match formula:
            case Not(part):
                return not self._holds_at_start(part, before)
            case And(left, right):
                return self._holds_at_start(left, before) and self._holds_at_start(right, before)
            case Or(left, right):
                return self._holds_at_start(left, before) or self._holds_at_start(right, before)
            case Constant(value):
                return value
            case _:
                return isinstance(formula, Historically)

    def step(self, before: Memories, symbol: str) -> Memories:
        """Return what is held after `symbol`."""
        bits = []
        for formula in self.place:
            match formula:
                case First():
                    bits.append(True)
                case Yesterday(part):
                    bits.append(self._holds(part, before, symbol))
                case _:
                    bits.append(self._holds(formula, before, symbol))
        return (*bits, self._holds(self.formula, before, symbol))

    def _holds(self, formula: Formula, before: Memories, symbol: str) -> bool:
        """Return whether a formula holds after `symbol`, from what was held before it."""

        def holds(part: Formula) -> bool:
            return self._holds(part, before, symbol)

        match formula:
            case Atom(name):
                return name == symbol
            case Constant(value):
                return value
            case First():
                return not before[self.place[formula]]
            case Not(part):
                return not holds(part)
            case And(left, right):
                return holds(left) and holds(right)
            case Or(left, right):
                return holds(left) or holds(right)
            case Yesterday():
                return before[self.place[formula]]
            case Once(part):
                return before[self.place[formula]] or holds(part)
            case Historically(part):
                return before[self.place[formula]] and holds(part)
            case Since(left, right):
                return holds(right) or (before[self.place[formula]] and holds(left))
