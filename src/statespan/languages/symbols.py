"""Alphabets, words, and the mark END."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias, final

from statespan.errors import SymbolError

__all__ = [
    "END",
    "Alphabet",
    "End",
    "NextSymbols",
    "Word",
    "check_alphabet",
    "check_word",
    "is_single_character",
    "read_word",
    "show_symbols",
    "show_word",
    "sort_next_symbols",
    "to_word",
]


@final
class End:
    """The class of `END`, which has no other instance."""

    _instance: End | None = None

    def __new__(cls) -> End:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return "END"

    def __reduce__(self) -> str:
        return "END"


END: Final = End()
"""What stands in a set of next symbols when the word may end here. It is no string."""

Alphabet: TypeAlias = tuple[str, ...]
Word: TypeAlias = str | Sequence[str]
NextSymbols: TypeAlias = frozenset[str | End]


def check_alphabet(symbols: Iterable[str]) -> Alphabet:
    """Return `symbols` as an ordered tuple.

    Raises:
        SymbolError: no symbol, one that is no nonempty string, or one that comes twice.
    """
    if isinstance(symbols, (set, frozenset)):
        raise SymbolError("an alphabet has an order: give a list or a tuple of symbols, not a set.")
    alphabet = tuple(symbols)
    if not alphabet:
        raise SymbolError("an alphabet needs at least one symbol, got none.")
    for index, symbol in enumerate(alphabet):
        if not isinstance(symbol, str) or not symbol:
            raise SymbolError(
                f"a symbol is a nonempty string, got {symbol!r} as symbol {index} of the alphabet."
            )
        if symbol in alphabet[:index]:
            raise SymbolError(f"the symbol {symbol!r} comes twice in the alphabet.")
    return alphabet


def is_single_character(alphabet: Alphabet) -> bool:
    """Return whether every symbol is one character, so that a word can be a string."""
    return all(len(symbol) == 1 for symbol in alphabet)


def check_word(word: Word, alphabet: Alphabet) -> None:
    """Check that every symbol of `word` is in `alphabet`.

    Raises:
        SymbolError: a symbol is not; the message names it and its position (from 0).
    """
    if set(word) <= set(alphabet):
        return
    known = set(alphabet)
    position = next(index for index, symbol in enumerate(word) if symbol not in known)
    hint = ""
    if isinstance(word, str) and not is_single_character(alphabet):
        hint = " Symbols here have several characters: give the word as a sequence of symbols."
    raise SymbolError(
        f"the symbol {word[position]!r} at position {position} is not in the alphabet "
        f"({show_symbols(alphabet)})."
        f"{hint}"
    )


def to_word(symbols: Sequence[str], alphabet: Alphabet) -> Word:
    """Return `symbols` as a string where the alphabet allows it, else as a tuple."""
    return "".join(symbols) if is_single_character(alphabet) else tuple(symbols)


def read_word(text: str, alphabet: Alphabet) -> Word:
    """Return the word that `text` spells; symbols of several characters may have blanks between.

    At each place the longest symbol that stands there is taken.

    Raises:
        SymbolError: no symbol stands at some place.

    >>> read_word("(1 2)(1 3)", ("(1 2)", "(1 3)"))
    ('(1 2)', '(1 3)')
    """
    if is_single_character(alphabet):
        return text
    symbols: list[str] = []
    longest_first = sorted(alphabet, key=len, reverse=True)
    position = 0
    while position < len(text):
        found = next((s for s in longest_first if text.startswith(s, position)), None)
        if found is not None:
            symbols.append(found)
            position += len(found)
        elif text[position].isspace():
            position += 1
        else:
            raise SymbolError(
                f"no symbol of the alphabet ({show_symbols(alphabet)}) stands at position "
                f"{position} of {text!r}."
            )
    return tuple(symbols)


def show_symbols(symbols: Sequence[str]) -> str:
    """Return symbols as text, with a middle dot between where a symbol itself has a blank."""
    separator = " · " if any(" " in symbol for symbol in symbols) else " "
    listed = separator.join(symbols[:20])
    return f"{listed} … ({len(symbols)} in all)" if len(symbols) > 20 else listed


def show_word(word: Word) -> str:
    """Return `word` as text for people: ε when empty, else its symbols.

    >>> show_word(""), show_word("ab"), show_word(("(a", "a)")), show_word(("(1 2)", "()"))
    ('ε', 'ab', '(a a)', '(1 2) · ()')
    """
    if len(word) == 0:
        return "ε"
    if isinstance(word, str):
        return word
    return (" · " if any(" " in symbol for symbol in word) else " ").join(word)


def sort_next_symbols(symbols: NextSymbols, alphabet: Alphabet) -> list[str]:
    """Return the members of a set of next symbols as text, in alphabet order, END last."""
    listed = [symbol for symbol in alphabet if symbol in symbols]
    return [*listed, repr(END)] if END in symbols else listed
