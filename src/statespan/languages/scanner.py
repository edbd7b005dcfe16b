"""What the readers of expressions and of formulas share: a place in a text, symbols, errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from statespan.errors import ExpressionError, SymbolError
from statespan.languages.symbols import Alphabet, check_alphabet

__all__ = ["MAX_NESTED", "Scanner", "choose_alphabet"]

MAX_NESTED: Final = 60


@dataclass(slots=True)
class Scanner:
    """A text, the position in it, and how deep it is nested there."""

    text: str
    position: int = 0
    depth: int = 0

    def error(self, message: str, position: int | None = None) -> ExpressionError:
        """Return the error that points at `position`, by default the present one."""
        where = self.position if position is None else position
        return ExpressionError(message, self.text, where)

    def peek(self) -> str:
        """Return the next character, "" at the end."""
        return self.text[self.position : self.position + 1]

    def take(self, operator: str) -> bool:
        """Go past `operator` if it stands here; return whether it did."""
        self.peek()
        if not self.text.startswith(operator, self.position):
            return False
        self.position += len(operator)
        return True

    def escaped(self, opened: int) -> str:
        """Return the character behind the backslash at `opened`."""
        character = self.text[self.position : self.position + 1]
        if not character:
            raise self.error("a backslash needs a character after it", opened)
        self.position += 1
        return character

    def named(self, opened: int) -> str:
        """Return the name that the `<` at `opened` begins."""
        closed = self.text.find(">", self.position)
        if closed < 0:
            raise self.error("this '<' is never closed", opened)
        name = self.text[self.position : closed]
        if not name:
            raise self.error("a symbol's name between < and > is empty", opened)
        self.position = closed + 1
        return name


def choose_alphabet(
    used: set[str], alphabet: Sequence[str] | None, *, kind: str, text: str
) -> Alphabet:
    """Return `alphabet`, or the symbols used, sorted; `kind` and `text` are for the messages.

    Raises:
        SymbolError: a symbol is used that is not in `alphabet`, or none and there is no `alphabet`.
    """
    if alphabet is None and not used:
        raise SymbolError(f"the {kind} {text!r} uses no symbol: give `alphabet` too.")
    symbols = check_alphabet(sorted(used) if alphabet is None else alphabet)
    for symbol in sorted(used - set(symbols)):
        raise SymbolError(
            f"the {kind} {text!r} uses the symbol {symbol!r}, which is not in the given alphabet "
            f"({' '.join(symbols)})."
        )
    return symbols
